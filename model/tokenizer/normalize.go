package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// normalizer changes text before it is split.
type normalizer func(text string) string

// newNormalizers makes the normalizers of a component of tokenizer.json, in their order.
func newNormalizers(c *component) ([]normalizer, error) {
	if c == nil {
		return nil, nil
	}
	switch c.Type {
	case "Sequence":
		var all []normalizer
		for _, part := range c.Normalizers {
			some, err := newNormalizers(part)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
		return all, nil
	case "NFC":
		return []normalizer{norm.NFC.String}, nil
	case "NFD":
		return []normalizer{norm.NFD.String}, nil
	case "NFKC":
		return []normalizer{norm.NFKC.String}, nil
	case "NFKD":
		return []normalizer{norm.NFKD.String}, nil
	case "Lowercase":
		return []normalizer{lowercase}, nil
	case "Prepend":
		return []normalizer{func(text string) string {
			if text == "" {
				return ""
			}
			return c.Prepend + text
		}}, nil
	case "Replace":
		if c.Pattern.String == "" {
			return nil, errors.New("normalizer Replace has a regular expression; only a text is supported")
		}
		return []normalizer{strings.NewReplacer(c.Pattern.String, c.Content).Replace}, nil
	}
	return nil, fmt.Errorf("normalizer is %s; NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace and Sequence "+
		"of these are supported", c.kind())
}

// normalize is a text as the tokens are looked for in it.
func (t *Tokenizer) normalize(text string) string {
	for _, n := range t.normalizers {
		text = n(text)
	}
	return text
}

// lowercase maps each character by itself, as Rust's char::to_lowercase does.
func lowercase(text string) string {
	var out strings.Builder
	for _, r := range text {
		if r == 'İ' { // the one that becomes two
			out.WriteString("i̇")
			continue
		}
		out.WriteRune(lower(r))
	}
	return out.String()
}

// lower knows the letters that Unicode 16 added, which Go's tables (15.0) do not.
func lower(r rune) rune {
	switch {
	case r == 0x1c89 || r == 0xa7cc || r == 0xa7da:
		return r + 1
	case r == 0xa7cb:
		return 0x264
	case r == 0xa7dc:
		return 0x19b
	case 0x10d50 <= r && r <= 0x10d65:
		return r + 0x20
	}
	return unicode.ToLower(r)
}
