package model

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// GenerateOptions say how captions are decoded. Names and meanings are those of
// Hugging Face's GenerationConfig; lengths count the start token.
type GenerateOptions struct {
	MaxLength         int           `json:"max_length"`           // tokens at most; 0: 20
	MinLength         int           `json:"min_length"`           // tokens at least before the end token
	NumBeams          int           `json:"num_beams"`            // 0 or 1: greedy
	LengthPenalty     float64       `json:"length_penalty"`       // a beam's score is divided by its length to this power; 1 is usual
	EarlyStopping     EarlyStopping `json:"early_stopping"`       // when a search ends before max_length
	NoRepeatNGramSize int           `json:"no_repeat_ngram_size"` // so many tokens in a row come once only; 0: off
	RepetitionPenalty float64       `json:"repetition_penalty"`   // scores of tokens that came are divided by it (multiplied where negative); 0 or 1: off
	BatchSize         int           `json:"-"`                    // pictures decoded at once; 0: as many as there are, at most 32

	EOSTokenID          TokenIDs `json:"eos_token_id,omitempty"`           // any of them ends a caption; none: the config's
	DecoderStartTokenID *int32   `json:"decoder_start_token_id,omitempty"` // nil: the config's
}

// TokenIDs are one id or several.
type TokenIDs []int32

// UnmarshalJSON reads a number or a list.
func (t *TokenIDs) UnmarshalJSON(b []byte) error {
	var one int32
	if err := json.Unmarshal(b, &one); err == nil && string(b) != "null" {
		*t = TokenIDs{one}
		return nil
	}
	return json.Unmarshal(b, (*[]int32)(t))
}

// EarlyStopping says when a beam search ends.
type EarlyStopping string

const (
	StopHopeless EarlyStopping = ""      // false: once no open beam can win if it ended now
	StopFull     EarlyStopping = "true"  // as soon as num_beams captions have ended
	StopNever    EarlyStopping = "never" // once no open beam can win at any length
)

// UnmarshalJSON reads true, false or "never".
func (e *EarlyStopping) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "false", "null":
		*e = StopHopeless
	case "true":
		*e = StopFull
	case `"never"`:
		*e = StopNever
	default:
		return fmt.Errorf("early_stopping is %s; must be true, false or \"never\"", b)
	}
	return nil
}

// MarshalJSON is the reverse.
func (e EarlyStopping) MarshalJSON() ([]byte, error) {
	switch e {
	case StopFull:
		return []byte("true"), nil
	case StopNever:
		return []byte(`"never"`), nil
	}
	return []byte("false"), nil
}

// DefaultGenerate are GenerationConfig's defaults: greedy, 20 tokens.
func DefaultGenerate() GenerateOptions {
	return GenerateOptions{MaxLength: 20, NumBeams: 1, LengthPenalty: 1, RepetitionPenalty: 1}
}

// Validate reports the first value that cannot work with a network.
func (o *GenerateOptions) Validate(c *Config) error {
	switch {
	case o.MaxLength < 2 || o.MaxLength > c.Decoder.NPositions:
		return fmt.Errorf("max_length is %d; must be from 2 to the decoder's %d positions", o.MaxLength, c.Decoder.NPositions)
	case o.MinLength < 0 || o.MinLength > o.MaxLength:
		return fmt.Errorf("min_length is %d; must be from 0 to max_length %d", o.MinLength, o.MaxLength)
	case o.NumBeams < 0 || 2*o.NumBeams > c.Decoder.VocabSize:
		return fmt.Errorf("num_beams is %d; must be from 1 to half of vocab_size %d", o.NumBeams, c.Decoder.VocabSize)
	case len(o.EOSTokenID) > maxEnds:
		return fmt.Errorf("eos_token_id has %d ids; must be at most %d", len(o.EOSTokenID), maxEnds)
	case math.IsNaN(o.LengthPenalty) || math.IsInf(o.LengthPenalty, 0):
		return fmt.Errorf("length_penalty is %g; must be finite", o.LengthPenalty)
	case o.EarlyStopping != StopHopeless && o.EarlyStopping != StopFull && o.EarlyStopping != StopNever:
		return fmt.Errorf("early_stopping is %q; must be true, never or empty", string(o.EarlyStopping))
	case o.NoRepeatNGramSize < 0:
		return fmt.Errorf("no_repeat_ngram_size is %d; must not be negative", o.NoRepeatNGramSize)
	case !(o.RepetitionPenalty >= 0) || math.IsInf(o.RepetitionPenalty, 0):
		return fmt.Errorf("repetition_penalty is %g; must not be negative", o.RepetitionPenalty)
	}
	for _, id := range append(o.ends(c), o.start(c)) {
		if id < 0 || int(id) >= c.Decoder.VocabSize {
			return fmt.Errorf("eos_token_id or decoder_start_token_id is %d; must be from 0 to below vocab_size %d", id, c.Decoder.VocabSize)
		}
	}
	return nil
}

// maxEnds bounds the ids that end a caption.
const maxEnds = 16

// start is the id that captions start with.
func (o *GenerateOptions) start(c *Config) int32 {
	if o.DecoderStartTokenID != nil {
		return *o.DecoderStartTokenID
	}
	return int32(c.DecoderStartTokenID)
}

// ends are the ids that end a caption, at least one.
func (o *GenerateOptions) ends(c *Config) []int32 {
	if len(o.EOSTokenID) > 0 {
		return slices.Clone(o.EOSTokenID)
	}
	return []int32{int32(c.EOSTokenID)}
}

// plain reports whether each next token is the likeliest one, nothing else asked.
func (o *GenerateOptions) plain() bool {
	return o.NumBeams <= 1 && o.MinLength == 0 && o.NoRepeatNGramSize == 0 && !o.penalises()
}

func (o *GenerateOptions) penalises() bool {
	return o.RepetitionPenalty != 0 && o.RepetitionPenalty != 1
}

// constrain changes the scores [vocab] of the token after ids as Hugging Face's
// logits processors do, in their order. ids begin with the start token.
func (o *GenerateOptions) constrain(scores []float32, ids, ends []int32) {
	if o.penalises() {
		penalise(scores, ids, float32(o.RepetitionPenalty))
	}
	if o.NoRepeatNGramSize > 0 {
		forbidRepeats(scores, ids, o.NoRepeatNGramSize)
	}
	if len(ids) < o.MinLength {
		for _, id := range ends {
			scores[id] = float32(math.Inf(-1))
		}
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
			scores[ids[i+size-1]] = float32(math.Inf(-1))
		}
	}
}

// likeliest is the index of the first greatest score.
func likeliest(scores []float32) int32 {
	best := 0
	for i, s := range scores {
		if s > scores[best] {
			best = i
		}
	}
	return int32(best)
}

// logSoftmax replaces logits by the logarithms of their probabilities.
func logSoftmax(x []float32) {
	top := slices.Max(x)
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v - top))
	}
	log := float32(math.Log(sum))
	for i := range x {
		x[i] = x[i] - top - log
	}
}
