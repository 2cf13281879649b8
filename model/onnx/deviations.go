package onnx

import (
	"fmt"
	"slices"
	"strings"

	"distilvit/model"
)

// Deviation is a key of generation_config.json that versions of Transformers.js decode otherwise than
// transformers and this program.
type Deviation struct {
	Versions []string // "2", "3", "4": as far as 2.17.2, 3.8.1 and 4.3.1 tell
	Key      string
	What     string // they do instead, a clause
}

func (d Deviation) String() string {
	return fmt.Sprintf("Transformers.js %s: %s %s", strings.Join(d.Versions, " and "), d.Key, d.What)
}

// Deviations are those that the options' captions may meet, in Transformers.js with the published
// generation_config.json; none for most options, and none of plain greedy search.
func Deviations(c *model.Config, o model.GenerateOptions) []Deviation {
	var list []Deviation
	add := func(asked bool, key, what string, versions ...string) {
		if asked {
			list = append(list, Deviation{versions, key, what})
		}
	}
	words := badWords(o, o.Ends(c))
	kept := slices.Concat(o.Ends(c), o.ForcedEOSTokenID)
	if o.ForcedBOSTokenID != nil {
		kept = append(kept, *o.ForcedBOSTokenID)
	}
	long := func(word model.TokenIDs) bool { return len(word) > 1 }
	started := func(word model.TokenIDs) bool { return long(word) && word[0] == o.Start(c) }
	add(slices.ContainsFunc(words, long), "bad_words_ids",
		"forbids the last token of a word of several tokens until the caption is longer than the word", "2")
	add(slices.ContainsFunc(words, started), "bad_words_ids",
		"takes the start token for the first of a word", "3", "4")
	add(o.RepetitionPenalty != 0 && o.RepetitionPenalty != 1, "repetition_penalty",
		"is applied as often as a token came", "2")
	add(len(o.ForcedEOSTokenID) > 0, "forced_eos_token_id", "is ignored", "2")
	add(len(o.BeginSuppressTokens) > 0, "begin_suppress_tokens", "is ignored", "2")
	suppressed := func(id int32) bool { return slices.Contains(o.SuppressTokens, id) }
	add(slices.ContainsFunc(kept, suppressed), "suppress_tokens",
		"lets the end token and forced tokens come", "2", "3")
	return list
}
