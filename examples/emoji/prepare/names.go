package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Shares of the emoji, not of the pictures.
const (
	testShare       = 0.08
	validationShare = 0.05
)

// splitOf places an emoji by its name without skin tones.
func splitOf(base string) string {
	sum := sha256.Sum256([]byte("emoji example: " + base))
	switch share := float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32); {
	case share < testShare:
		return "test"
	case share < testShare+validationShare:
		return "validation"
	}
	return "train"
}

// emoji is one drawing: an emoji in one skin tone, or without one.
type emoji struct {
	Base    string // name in plain words, without the skin tone
	Caption string // the same with it
	Image   string // file name
}

func readEmoji(path string) ([]emoji, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	type variation struct {
		Image string `json:"image"`
	}
	var entries []struct {
		Name  string               `json:"name"`
		Image string               `json:"image"`
		Skins map[string]variation `json:"skin_variations"`
	}
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var all []emoji
	for _, e := range entries {
		base := plainWords(e.Name)
		if base == "" || e.Image == "" {
			return nil, fmt.Errorf("%s: %+v has no name or image", path, e)
		}
		all = append(all, emoji{Base: base, Caption: base, Image: e.Image})
		tones := make([]string, 0, len(e.Skins))
		for tone := range e.Skins {
			tones = append(tones, tone)
		}
		sort.Strings(tones)
		for _, tone := range tones {
			words, err := skinTone(tone)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", path, e.Name, err)
			}
			all = append(all, emoji{Base: base, Caption: base + " " + words, Image: e.Skins[tone].Image})
		}
	}
	return all, nil
}

var toneNames = map[string]string{
	"1F3FB": "light skin tone",
	"1F3FC": "medium light skin tone",
	"1F3FD": "medium skin tone",
	"1F3FE": "medium dark skin tone",
	"1F3FF": "dark skin tone",
}

// skinTone says a variation's key, one tone or two, in words.
func skinTone(key string) (string, error) {
	var words []string
	for part := range strings.SplitSeq(key, "-") {
		name, ok := toneNames[part]
		if !ok {
			return "", fmt.Errorf("unknown skin tone %q", key)
		}
		words = append(words, name)
	}
	return strings.Join(words, " and "), nil
}

// plainWords writes a name in lower-case letters a-z and digits: no accents, a
// space for everything else, and words for the signs that are a key's whole name.
func plainWords(name string) string {
	name = strings.NewReplacer("KEYCAP: *", "keycap asterisk", "&", " and ").Replace(name)
	var out strings.Builder
	for _, r := range norm.NFKD.String(name) {
		switch r = unicode.ToLower(r); {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			out.WriteRune(r)
		case unicode.Is(unicode.Mn, r) || r == '.': // accents; U.S. is "us"
		default:
			out.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(out.String()), " ")
}
