package activities

import (
	"fmt"
	"slices"
	"strings"

	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/report"
)

// shownWords bounds a list of words in a card's cell.
const shownWords = 20

// decoding says in plain words how a model's generation_config.json has captions made; decode
// is the text of token ids.
func decoding(o model.GenerateOptions, decode func(ids []int32) string) []report.Pair {
	how := "greedy: the likeliest token each time"
	if o.NumBeams > 1 {
		how = fmt.Sprintf("beam search, %d beams", o.NumBeams)
	}
	pairs := []report.Pair{{Name: "Decoding", Value: fmt.Sprintf("%s, at most %d tokens with the start token",
		how, o.MaxLength)}}
	say := func(asked bool, name, format string, args ...any) {
		if asked {
			pairs = append(pairs, report.Pair{Name: name, Value: fmt.Sprintf(format, args...)})
		}
	}
	each := func(ids []int32) (texts []string) {
		for _, id := range ids {
			texts = append(texts, decode([]int32{id}))
		}
		return texts
	}
	var banned []string
	for _, word := range o.BadWordsIDs {
		banned = append(banned, decode(word))
	}
	banned = append(banned, each(o.SuppressTokens)...)
	say(o.MinLength > 0, "Shortest caption", "%d tokens", o.MinLength)
	say(len(banned) > 0, "Never said", "%s", quotedWords(banned))
	say(len(o.BeginSuppressTokens) > 0, "Never said first", "%s", quotedWords(each(o.BeginSuppressTokens)))
	if first := o.ForcedBOSTokenID; first != nil {
		say(true, "Always said first", "%s", quotedWords(each([]int32{*first})))
	}
	say(len(o.ForcedEOSTokenID) > 0, "Ends at the longest", "%s", quotedWords(each(o.ForcedEOSTokenID)))
	say(o.NoRepeatNGramSize == 1, "Repeats", "no token comes twice")
	say(o.NoRepeatNGramSize > 1, "Repeats", "no %d tokens in a row come twice", o.NoRepeatNGramSize)
	say(o.RepetitionPenalty != 0 && o.RepetitionPenalty != 1, "Repetition penalty",
		"%g: above 1 makes tokens that came less likely, below 1 more", o.RepetitionPenalty)
	return pairs
}

// deviations says what versions of Transformers.js make of it otherwise.
func deviations(c *model.Config, o model.GenerateOptions) (pairs []report.Pair) {
	for _, d := range onnx.Deviations(c, o) {
		pairs = append(pairs, report.Pair{
			Name: "In Transformers.js " + strings.Join(d.Versions, " and "), Value: d.Key + " " + d.What,
		})
	}
	return pairs
}

// quotedWords lists words once each, in order; a word alone and the same within a caption are one.
func quotedWords(words []string) string {
	var shown []string
	for _, w := range words {
		if w = fmt.Sprintf("%q", strings.TrimSpace(w)); !slices.Contains(shown, w) {
			shown = append(shown, w)
		}
	}
	more := len(shown) - shownWords
	if more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(shown[:shownWords], ", "), more)
	}
	return strings.Join(shown, ", ")
}
