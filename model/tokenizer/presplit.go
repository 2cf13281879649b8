package tokenizer

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitter gives the length in bytes of the first piece of a text that is not empty, and whether it
// is kept.
type splitter func(text string) (n int, kept bool)

// newSplitters makes what a pre_tokenizer of tokenizer.json splits by before its ByteLevel, which
// has to be its last part.
func newSplitters(c *component) (before []splitter, last *component, err error) {
	if c == nil {
		return nil, nil, errors.New("pre_tokenizer is none; only ByteLevel is supported")
	}
	switch c.Type {
	case "ByteLevel":
		return nil, c, nil
	case "Sequence":
		for _, part := range c.PreTokenizers {
			if last != nil {
				return nil, nil, fmt.Errorf("pre_tokenizer has %s after ByteLevel, which is not supported",
					part.kind())
			}
			some, end, err := newSplitters(part)
			if err != nil {
				return nil, nil, err
			}
			before, last = append(before, some...), end
		}
		return before, last, nil
	case "Digits":
		return []splitter{digits(c.IndividualDigits)}, nil, nil
	case "Split":
		s, err := newSplit(c)
		return []splitter{s}, nil, err
	}
	return nil, nil, fmt.Errorf("pre_tokenizer is %s; only ByteLevel is supported, with Digits and Split before it",
		c.kind())
}

// pieces splits a text by these splitters, one after the other.
func pieces(text string, by []splitter, emit func(piece string)) {
	if len(by) == 0 {
		emit(text)
		return
	}
	for text != "" {
		n, kept := by[0](text)
		if kept {
			pieces(text[:n], by[1:], emit)
		}
		text = text[n:]
	}
}

// digits cuts numbers off, or each of their characters.
func digits(each bool) splitter {
	isNumber := func(r rune) bool { return unicode.Is(unicode.N, r) || unicode.Is(newNumbers, r) }
	return func(text string) (int, bool) {
		r, n := utf8.DecodeRuneInString(text)
		if isNumber(r) && each {
			return n, true
		}
		end := strings.IndexFunc(text, func(other rune) bool { return isNumber(other) != isNumber(r) })
		if end < 0 {
			end = len(text)
		}
		return end, true
	}
}

// newSplit makes a pre_tokenizer Split whose matches are pieces; the stretches between them are,
// too, or are removed.
func newSplit(c *component) (splitter, error) {
	removed := c.Behavior == "Removed" && c.Invert // inverted: what is not matched
	if c.Behavior != "Isolated" && !removed {
		return nil, fmt.Errorf("pre_tokenizer Split has behavior %s (invert %v); Isolated is supported, and "+
			"Removed with invert true", c.Behavior, c.Invert)
	}
	source := regexp.QuoteMeta(c.Pattern.String)
	if c.Pattern.Regex != "" {
		source = c.Pattern.Regex
	}
	match, err := newPattern(source)
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer Split: %w", err)
	}
	return func(text string) (int, bool) {
		for i := 0; i < len(text); {
			n := match(text[i:])
			switch {
			case n > 0 && i == 0:
				return n, true
			case n > 0:
				return i, !removed
			}
			_, size := utf8.DecodeRuneInString(text[i:])
			i += size
		}
		return len(text), !removed
	}, nil
}

// The ends of the patterns of GPT-4, Llama 3, Qwen and others: white space, but for the last
// character of it before a word. Go's regexp has no (?!\S).
const spacesBeforeWord = `|\s+(?!\S)|\s+`

// newPattern answers the length of the match that begins a text, 0 where none does.
func newPattern(source string) (func(text string) int, error) {
	before, spaces := strings.CutSuffix(source, spacesBeforeWord)
	translated, err := translate(before)
	if err != nil {
		return nil, fmt.Errorf("pattern %.200s: %w", source, err)
	}
	re, err := regexp.Compile(`\A(?:` + translated + `)`)
	if err != nil {
		return nil, fmt.Errorf("pattern %.200s: not supported: %w", source, err)
	}
	return func(text string) int {
		if at := re.FindStringIndex(text); at != nil && at[1] > 0 {
			return at[1]
		}
		if kind, _ := classOf(text); spaces && kind == space {
			return spacesLength(text)
		}
		return 0
	}, nil
}

// whiteSpace, letters and numbers are what \s, \p{L} and \p{N} mean to tokenizers, within
// brackets. Go's \s is ASCII's, and its tables are older.
var (
	whiteSpace = classRanges(unicode.White_Space)
	letters    = `\p{L}` + classRanges(newLetters)
	numbers    = `\p{N}` + classRanges(newNumbers)
	upperCase  = `\p{Lu}\x{1c89}\x{a7cb}\x{a7cc}\x{a7da}\x{a7dc}\x{10d50}-\x{10d65}`
	lowerCase  = `\p{Ll}\x{1c8a}\x{a7cd}\x{a7db}\x{10d70}-\x{10d85}`
)

func classRanges(table *unicode.RangeTable) string {
	var out strings.Builder
	write := func(lo, hi, stride uint32) {
		for ; lo <= hi; lo += stride {
			end := lo
			if stride == 1 {
				end = hi
			}
			fmt.Fprintf(&out, `\x{%x}-\x{%x}`, lo, end)
			if stride == 1 {
				return
			}
		}
	}
	for _, r := range table.R16 {
		write(uint32(r.Lo), uint32(r.Hi), uint32(r.Stride))
	}
	for _, r := range table.R32 {
		write(r.Lo, r.Hi, r.Stride)
	}
	return out.String()
}

// translate writes a pattern of tokenizers' regular expressions as Go's. What means other things
// to the two, or only to one, is refused.
func translate(source string) (string, error) {
	var out strings.Builder
	inClass := false
	class := func(inner string) {
		if inClass {
			out.WriteString(inner)
		} else {
			out.WriteString("[" + inner + "]")
		}
	}
	for i := 0; i < len(source); i++ {
		switch rest := source[i:]; {
		case strings.HasPrefix(rest, `\s`):
			class(whiteSpace)
			i++
		case strings.HasPrefix(rest, `\S`) && !inClass:
			out.WriteString("[^" + whiteSpace + "]")
			i++
		case strings.HasPrefix(rest, `\p{L}`):
			class(letters)
			i += 4
		case strings.HasPrefix(rest, `\p{N}`):
			class(numbers)
			i += 4
		case strings.HasPrefix(rest, `\p{Lu}`):
			class(upperCase)
			i += 5
		case strings.HasPrefix(rest, `\p{Ll}`):
			class(lowerCase)
			i += 5
		case strings.HasPrefix(rest, `\d`):
			class(`\p{Nd}` + classRanges(newNumbers))
			i++
		case strings.HasPrefix(rest, `\p{`) || strings.HasPrefix(rest, `\P{`):
			out.WriteString(rest[:2])
			i++
		case source[i] == '\\' && len(rest) > 1 && strings.ContainsRune(`rntf/\.^$|()[]{}*+?-'"#&`, rune(rest[1])):
			out.WriteString(strings.TrimPrefix(rest[:2], `\/`))
			if rest[1] == '/' {
				out.WriteByte('/')
			}
			i++
		case source[i] == '\\':
			return "", fmt.Errorf(`\%.1s is not supported`, rest[1:])
		case strings.HasPrefix(rest, "(?") && !inClass && !strings.HasPrefix(rest, "(?:") &&
			!strings.HasPrefix(rest, "(?i:"):
			return "", fmt.Errorf("%.4s is not supported", rest)
		case source[i] == '[' && inClass:
			return "", errors.New("[ within [] is not supported")
		default:
			inClass = source[i] == '[' || inClass && source[i] != ']'
			out.WriteByte(source[i])
		}
	}
	return out.String(), nil
}
