package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// loadVocabMerges reads the files of the slow tokenizer: vocab.json,
// merges.txt and, where it exists, added_tokens.json.
func loadVocabMerges(dir string, special specialNames) (*Tokenizer, error) {
	path := filepath.Join(dir, "vocab.json")
	p := parts{eos: special.eos()}
	if err := readJSON(path, &p.vocab); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("tokenizer %s: neither tokenizer.json nor vocab.json", dir)
		}
		return nil, err
	}
	if len(p.vocab) == 0 {
		return nil, fmt.Errorf("tokenizer %s: no tokens", path)
	}
	mergesPath := filepath.Join(dir, "merges.txt")
	text, err := readFile(mergesPath)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || strings.HasPrefix(line, "#version") {
			continue
		}
		pair, err := splitMerge(line)
		if err != nil {
			return nil, fmt.Errorf("tokenizer %s: line %d: %w", mergesPath, i+1, err)
		}
		p.merges = append(p.merges, pair)
	}
	var extra map[string]int32
	if err := readJSON(filepath.Join(dir, "added_tokens.json"), &extra); err != nil &&
		!errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	p.added = legacyAdded(p.vocab, extra, special)
	t, err := build(p)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", dir, err)
	}
	return t, nil
}

// legacyAdded lists the added tokens: those of added_tokens.json, and of the
// vocabulary those that the configuration names.
func legacyAdded(vocab, extra map[string]int32, special specialNames) []addedToken {
	names := special.all()
	var added []addedToken
	for content, id := range extra {
		isSpecial := slices.Contains(names, content)
		added = append(
			added, addedToken{ID: id, Content: content, Special: isSpecial, Normalized: !isSpecial},
		)
	}
	for _, content := range names {
		id, ok := vocab[content]
		if _, twice := extra[content]; ok && !twice {
			added = append(added, addedToken{ID: id, Content: content, Special: true})
		}
	}
	slices.SortFunc(added, func(a, b addedToken) int {
		if a.ID != b.ID {
			return int(a.ID) - int(b.ID)
		}
		return strings.Compare(a.Content, b.Content)
	})
	return added
}

// specialNames are the special tokens a directory's configuration names, by role.
type specialNames map[string]string

var specialRoles = []string{"bos_token", "eos_token", "unk_token", "pad_token"}

func (s specialNames) eos() string {
	if name := s["eos_token"]; name != "" {
		return name
	}
	return EndOfText
}

func (s specialNames) all() []string {
	names := []string{s.eos()}
	for _, role := range specialRoles {
		if name := s[role]; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// readSpecialNames reads tokenizer_config.json and special_tokens_map.json;
// the former wins.
func readSpecialNames(dir string) (specialNames, error) {
	names := specialNames{}
	for _, file := range []string{"tokenizer_config.json", "special_tokens_map.json"} {
		var entries map[string]json.RawMessage
		err := readJSON(filepath.Join(dir, file), &entries)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, role := range specialRoles {
			if names[role] == "" {
				names[role] = tokenContent(entries[role])
			}
		}
	}
	return names, nil
}

// tokenContent reads a special token: a string, or an object with content.
func tokenContent(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var object struct {
		Content string `json:"content"`
	}
	if json.Unmarshal(raw, &object) == nil {
		return object.Content
	}
	return ""
}

func readJSON(path string, v any) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("tokenizer %s: %w", path, err)
	}
	return nil
}
