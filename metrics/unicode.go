package metrics

import (
	"fmt"
	"iter"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
	"github.com/clipperhouse/uax29/v2/words"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"distilvit/internal/script"
)

// WordRule says how captions are split into words to be scored.
type WordRule string

const (
	// RougeScoreWords are rouge_score's for ROUGE (a-z and 0-9 only, stemmed as English is) and the
	// Penn Treebank's for all other scores: what published numbers for English are made of.
	RougeScoreWords WordRule = "rouge_score"
	// UnicodeWords are UnicodeTokenize's, for every score.
	UnicodeWords WordRule = "unicode"
)

// lostLetters is the share of references' letters from which ChooseWords takes UnicodeWords.
// Languages of a-z lose less (Dutch some 0.2 %, English captions with a café or two far less),
// those with letters of their own more (Italian 1 %, German 2 %, French 3 %, Vietnamese a quarter).
const lostLetters = 0.005

// ChooseWords chooses by references: UnicodeWords where rouge_score would throw away more than
// 0.5 % of their letters and digits, those that are not a-z or 0-9 in lower case. lost is that
// share, 0 to 1.
func ChooseWords(references iter.Seq[string]) (rule WordRule, lost float64) {
	var letters Letters
	for text := range references {
		letters.Add(text)
	}
	lost = letters.Foreign()
	if lost > lostLetters {
		return UnicodeWords, lost
	}
	return RougeScoreWords, lost
}

// Letters counts letters and digits of texts in NFC.
type Letters struct{ all, foreign int }

// Add counts those of a text.
func (l *Letters) Add(text string) {
	for _, r := range norm.NFC.String(text) {
		switch {
		case r < utf8.RuneSelf && (isASCIILetter(r) || r >= '0' && r <= '9'):
			l.all++
		case r >= utf8.RuneSelf && isLetter(r):
			l.all++
			l.foreign++
		}
	}
}

// Foreign is the share of those that are not a-z or 0-9 in lower case, 0 to 1.
func (l *Letters) Foreign() float64 { return float64(l.foreign) / float64(max(l.all, 1)) }

// ReferencesOf are all references of predictions.
func ReferencesOf(predictions []Prediction) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, p := range predictions {
			for _, text := range p.References {
				if !yield(text) {
					return
				}
			}
		}
	}
}

func isASCIILetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func isLetter(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }

// UnicodeTokenize splits a caption of any language into words: those of UAX #29, "Unicode Text
// Segmentation", that have a letter or digit, in NFC and case-folded. Scripts that put no spaces
// between words give their characters instead, with the marks that stand on them, as sacrebleu's
// tokenizer zh does for Han: Han, Hiragana, Katakana, Thai, Lao, Khmer and Myanmar. There is no
// stemming.
func UnicodeTokenize(text string) []string {
	text = norm.NFC.String(cases.Fold().String(norm.NFC.String(text)))
	var out []string
	for w := words.FromString(text); w.Next(); {
		out = appendWord(out, w.Value())
	}
	return out
}

// appendWord takes a segment, cut at the characters of scripts without spaces.
func appendWord(out []string, segment string) []string {
	add := func(word string) {
		for _, r := range word {
			if isLetter(r) {
				out = append(out, word)
				return
			}
		}
	}
	begun := 0 // of a part in other scripts
	for c := graphemes.FromString(segment); c.Next(); {
		first, _ := utf8.DecodeRuneInString(c.Value())
		if script.Spaceless(first) {
			add(segment[begun:c.Start()])
			add(c.Value())
			begun = c.End()
		}
	}
	add(segment[begun:])
	return out
}

// WordsFor is the rule that a setting asks for: rouge_score, unicode, or, where it is auto or
// empty, what ChooseWords takes for the references of predictions. note tells people why that is
// UnicodeWords, and is empty otherwise.
func WordsFor(setting string, predictions []Prediction) (rule WordRule, note string) {
	if setting != "" && setting != "auto" {
		return WordRule(setting), ""
	}
	rule, lost := ChooseWords(ReferencesOf(predictions))
	if rule == UnicodeWords {
		note = fmt.Sprintf("captions are scored on Unicode's words, since rouge_score would throw away "+
			"%.1f%% of the "+
			"references' letters; such scores cannot be compared with rouge_score's or pycocoevalcap's "+
			"(words: rouge_score gives those)", 100*lost)
	}
	return rule, note
}
