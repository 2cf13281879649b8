package metrics

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// PTBTokenize splits captions into words as pycocoevalcap does before BLEU,
// CIDEr, METEOR and its ROUGE-L: Stanford CoreNLP 3.4.1's PTBTokenizer with
// -preserveLines -lowerCase, then pycocoevalcap's punctuation is left out.
//
// As there, the captions are one text with a line for each, and a few rules look
// beyond the end of a line: "the letter C." keeps its period or not according to
// the first word of the caption after it. So give the captions in the order of
// their file. The rules are in ptb_rules.go; they are derived from the token
// classes of edu/stanford/nlp/process/PTBLexer.flex.
//
// What differs: a caption is always one line here, whatever line-breaking
// characters it holds (there a carriage return in a caption shifts every caption
// after it by one); an SGML tag does not go on in the next line; and letters are
// those of this program's Unicode version, where the lexer drops the ones that
// Unicode has got since version 4.0.
func PTBTokenize(captions []string) [][]string {
	lines := make([]string, len(captions))
	for i, caption := range captions {
		lines[i] = ptbNewlines.Replace(caption)
	}
	after := followingLines(lines)
	out := make([][]string, len(captions))
	for i, line := range lines {
		tokens := ptbLine(line, after[i])
		out[i] = slices.DeleteFunc(tokens, func(t string) bool { return ptbPunctuation[t] })
	}
	return out
}

var ptbNewlines = strings.NewReplacer("\n", " ", "\r", " ", "\v", " ", "\f", " ",
	"\u2028", " ", "\u2029", " ")

// ptbPunctuation is pycocoevalcap's list, less the brackets in it: they are in
// capitals, and the tokens it is held against are in lower case.
var ptbPunctuation = map[string]bool{
	"''": true, "'": true, "``": true, "`": true, ".": true, "?": true, "!": true, ",": true, ":": true,
	"-": true, "--": true, "...": true, ";": true,
}

// followingLines gives for each line what the rules may see after it: everything
// to the end of the next line that is not blank.
func followingLines(lines []string) []string {
	after := make([]string, len(lines))
	for i := len(lines) - 2; i >= 0; i-- {
		next := lines[i+1]
		after[i] = "\n" + next
		if strings.Trim(next, " \t") == "" {
			after[i] += after[i+1]
		} else if i+2 < len(lines) {
			after[i] += "\n"
		}
	}
	return after
}

// ptbLine splits a line into lower-case tokens, punctuation among them.
func ptbLine(line, after string) []string {
	text := line + after
	var tokens []string
	for at := 0; at < len(line); {
		if n := plainWord(text[at:]); n > 0 {
			tokens = append(tokens, text[at:at+n])
			at += n
			continue
		}
		token, n := ptbToken(text[at:])
		if token != "" {
			tokens = append(tokens, ptbLower(token))
		}
		at += n
	}
	return tokens
}

// ptbLower is Java's toLowerCase: unlike strings.ToLower it knows that a sigma
// ends a word and that a dotted I becomes two characters.
func ptbLower(token string) string {
	if strings.IndexFunc(token, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return strings.ToLower(token)
	}
	return cases.Lower(language.Und).String(token)
}

// plainWord gives the length of the word of at least two lower-case letters that
// text starts with, where no rule can see anything else in it: a blank follows,
// or a period or comma and a blank, and it is neither an abbreviation nor a word
// that is split. Nearly every word of a caption is one, and the rules are slow.
func plainWord(text string) int {
	n := 0
	for n < len(text) && text[n] >= 'a' && text[n] <= 'z' {
		n++
	}
	if n < 2 || n == len(text) || ptbNotPlain()[text[:n]] {
		return 0
	}
	rest := text[n:]
	if rest[0] == '.' || rest[0] == ',' {
		rest = rest[1:]
	}
	if rest == "" || rest[0] == ' ' || rest[0] == '\n' {
		return n
	}
	return 0
}

// ptbNotPlain holds the words that rules name. A word too many costs time only.
var ptbNotPlain = sync.OnceValue(func() map[string]bool {
	words := map[string]bool{}
	for _, list := range ptbNamedWords {
		for _, word := range strings.Fields(list) {
			words[strings.ToLower(word)] = true
		}
	}
	return words
})

// ptbToken gives the token that text starts with, and the length it takes. The
// rule that sees furthest wins, what it only looks ahead at included; of two that
// see equally far the first. The token is empty where that text is no token.
func ptbToken(text string) (token string, n int) {
	furthest := 0
	var best *ptbRule
	rules := ptbRules()
	for i := range rules {
		r := &rules[i]
		if !r.first[text[0]] {
			continue
		}
		if m := r.re.FindStringSubmatchIndex(text); m != nil && m[1] > furthest {
			furthest, best, n = m[1], r, m[3]
		}
	}
	if best == nil { // no rule knows the character: it is dropped
		_, size := utf8.DecodeRuneInString(text)
		return "", size
	}
	return best.make(text[:n])
}

// ptbRule is a kind of token.
type ptbRule struct {
	re    *regexp.Regexp // the token is the first group, lookahead follows it
	first [256]bool      // bytes that can start it
	make  func(text string) (token string, n int)
}
