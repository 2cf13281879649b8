package model

import (
	"math"
	"slices"
)

// LogitsProcessor changes the scores [vocab] of the token that follows ids, the start token first.
type LogitsProcessor func(ids []int32, scores []float32)

// LogitsProcessor is what generate() of transformers 4.57 does to the scores of these options, in
// its order (GenerationMixin._get_logits_processor); nil where it does nothing.
func (o *GenerateOptions) LogitsProcessor(c *Config) LogitsProcessor {
	var list []LogitsProcessor
	add := func(asked bool, p LogitsProcessor) {
		if asked {
			list = append(list, p)
		}
	}
	ends := o.Ends(c)
	add(o.RepetitionPenalty != 0 && o.RepetitionPenalty != 1, func(ids []int32, scores []float32) {
		penalise(scores, ids, float32(o.RepetitionPenalty))
	})
	add(o.NoRepeatNGramSize > 0, func(ids []int32, scores []float32) {
		forbidRepeats(scores, ids, o.NoRepeatNGramSize)
	})
	add(len(o.BadWordsIDs) > 0, badWords(o.BadWordsIDs, ends))
	add(o.MinLength > 0, func(ids []int32, scores []float32) {
		if len(ids) < o.MinLength {
			forbid(scores, ends)
		}
	})
	add(o.ForcedBOSTokenID != nil, func(ids []int32, scores []float32) {
		if len(ids) == 1 {
			force(scores, *o.ForcedBOSTokenID)
		}
	})
	add(len(o.ForcedEOSTokenID) > 0, func(ids []int32, scores []float32) {
		if len(ids) == o.MaxLength-1 {
			force(scores, o.ForcedEOSTokenID...)
		}
	})
	add(len(o.SuppressTokens) > 0, func(_ []int32, scores []float32) {
		forbid(scores, o.SuppressTokens)
	})
	begin := 1 // ids before the token at which nothing of begin_suppress_tokens may come
	if o.ForcedBOSTokenID != nil {
		begin = 2
	}
	add(len(o.BeginSuppressTokens) > 0, func(ids []int32, scores []float32) {
		if len(ids) == begin {
			forbid(scores, o.BeginSuppressTokens)
		}
	})
	if list == nil {
		return nil
	}
	return func(ids []int32, scores []float32) {
		for _, p := range list {
			p(ids, scores)
		}
	}
}

var impossible = float32(math.Inf(-1))

func forbid(scores []float32, ids []int32) {
	for _, id := range ids {
		scores[id] = impossible
	}
}

// force leaves only these ids possible.
func force(scores []float32, ids ...int32) {
	for i := range scores {
		scores[i] = impossible
	}
	for _, id := range ids {
		scores[id] = 0
	}
}

// penalise is RepetitionPenaltyLogitsProcessor (Keskar et al., CTRL, 2019).
func penalise(scores []float32, ids []int32, penalty float32) {
	for i, id := range ids {
		switch {
		case slices.Contains(ids[:i], id): // each once
		case scores[id] < 0:
			scores[id] *= penalty
		default:
			scores[id] /= penalty
		}
	}
}

// forbidRepeats is NoRepeatNGramLogitsProcessor: what followed an earlier
// occurrence of the last size-1 ids may not follow them again.
func forbidRepeats(scores []float32, ids []int32, size int) {
	if len(ids)+1 < size {
		return
	}
	last := ids[len(ids)-(size-1):]
	for i := 0; i+size <= len(ids); i++ {
		if slices.Equal(ids[i:i+size-1], last) {
			scores[ids[i+size-1]] = impossible
		}
	}
}

// badWords is NoBadWordsLogitsProcessor: the last id of a word may not follow the others. As there,
// an end token by itself may come, and a word needs as many ids before its last as it has itself.
func badWords(words []TokenIDs, ends []int32) LogitsProcessor {
	var single []int32
	longer := map[int32][]TokenIDs{} // by the last id but one
	for _, word := range words {
		n := len(word)
		switch {
		case n == 1 && !slices.Contains(ends, word[0]):
			single = append(single, word[0])
		case n > 1:
			longer[word[n-2]] = append(longer[word[n-2]], word)
		}
	}
	return func(ids []int32, scores []float32) {
		forbid(scores, single)
		for _, word := range longer[ids[len(ids)-1]] {
			n := len(word)
			if n <= len(ids) && slices.Equal(word[:n-1], ids[len(ids)-n+1:]) {
				scores[word[n-1]] = impossible
			}
		}
	}
}
