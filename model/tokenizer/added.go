package tokenizer

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token found in the text before it is split into words, with
// the keys of tokenizer.json.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only where no word goes on before or behind it
	LStrip     bool   `json:"lstrip"`      // takes the white space before it
	RStrip     bool   `json:"rstrip"`      // takes the white space behind it
	Normalized bool   `json:"normalized"`  // matched after the others
	Special    bool   `json:"special"`     // left out by Decode with skipSpecial
}

// matcher finds added tokens: leftmost first, of those the longest.
type matcher struct {
	byFirst [256][]*addedToken // by first byte, longest first
	any     bool
}

// newMatcher finds the tokens that are matched before the text is normalized, or those matched
// after it as normalize makes them.
func newMatcher(tokens []addedToken, normalize normalizer) matcher {
	var m matcher
	for _, token := range tokens {
		a := &token
		if normalize != nil {
			a.Content = normalize(a.Content)
		}
		if a.Normalized == (normalize != nil) && a.Content != "" {
			m.byFirst[a.Content[0]] = append(m.byFirst[a.Content[0]], a)
			m.any = true
		}
	}
	for _, same := range m.byFirst {
		sort.SliceStable(same, func(i, j int) bool { return len(same[i].Content) > len(same[j].Content) })
	}
	return m
}

// split gives the text's parts in order: added tokens with their id, other
// text with noToken.
func (t *Tokenizer) split(text string, emit func(part string, id int32)) {
	t.addedMatcher[0].split(text, func(part string, id int32) {
		if id != noToken {
			emit(part, id)
			return
		}
		t.addedMatcher[1].split(t.normalize(part), emit)
	})
}

func (m *matcher) split(text string, emit func(part string, id int32)) {
	if !m.any {
		if text != "" {
			emit(text, noToken)
		}
		return
	}
	done := 0 // bytes emitted
	for i := 0; i < len(text); {
		a := m.at(text[i:])
		if a == nil {
			i++
			continue
		}
		start, stop := i, i+len(a.Content)
		i = stop
		if a.SingleWord && (endsWithWord(text[:start]) || startsWithWord(text[stop:])) {
			continue
		}
		if a.LStrip {
			start = max(len(strings.TrimRightFunc(text[:start], isSpace)), done)
		}
		if a.RStrip {
			stop = len(text) - len(strings.TrimLeftFunc(text[stop:], isSpace))
		}
		start = max(start, done)
		if start > done {
			emit(text[done:start], noToken)
		}
		emit(text[start:stop], a.ID)
		done = stop
		i = max(i, done)
	}
	if done < len(text) {
		emit(text[done:], noToken)
	}
}

func (m *matcher) at(text string) *addedToken {
	for _, a := range m.byFirst[text[0]] {
		if strings.HasPrefix(text, a.Content) {
			return a
		}
	}
	return nil
}

func isSpace(r rune) bool { return unicode.Is(unicode.White_Space, r) }

func endsWithWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

func startsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

// isWord is \w of Unicode's regular expressions.
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.Nl, unicode.Other_Alphabetic, unicode.M, unicode.Nd, unicode.Pc,
		unicode.Join_Control, newLetters)
}
