package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

// GenerateOptions say how captions are decoded. Names and meanings are those of
// Hugging Face's GenerationConfig; lengths count the start token.
type GenerateOptions struct {
	MaxLength     int           `json:"max_length"`     // tokens at most; 0: 20
	MinLength     int           `json:"min_length"`     // tokens at least before the end token
	NumBeams      int           `json:"num_beams"`      // 0 or 1: greedy
	EarlyStopping EarlyStopping `json:"early_stopping"` // when a search ends before max_length
	// pictures at once; 0: as many as there are, at most 32
	BatchSize int `json:"-"`

	// captions of each picture, one after the other, the best first: those of the num_beams that a search ends with.
	// 0 or 1: the best alone
	NumReturnSequences int `json:"-"`

	// Step, if there is one, is called after each token with the ids so far of every picture of the batch
	// under way, without the start token; a search has none to show before its end and gives nil. Its error
	// ends the work and is returned.
	Step func(ids [][]int32) error `json:"-"`

	// a beam's score is divided by its length to this power; 1 is usual
	LengthPenalty float64 `json:"length_penalty"`

	// What may follow; logits_process.go applies it.

	// so many tokens in a row come once; 0: off
	NoRepeatNGramSize int        `json:"no_repeat_ngram_size"`
	RepetitionPenalty float64    `json:"repetition_penalty"`        // see penalise; 0 or 1: off
	BadWordsIDs       []TokenIDs `json:"bad_words_ids,omitempty"`   // sequences that never come
	SuppressTokens    TokenIDs   `json:"suppress_tokens,omitempty"` // never come

	// do not come first, or with a forced first token second
	BeginSuppressTokens TokenIDs `json:"begin_suppress_tokens,omitempty"`

	ForcedBOSTokenID *int32   `json:"forced_bos_token_id,omitempty"` // comes first; nil: any
	ForcedEOSTokenID TokenIDs `json:"forced_eos_token_id,omitempty"` // one is the last of max_length tokens

	// any ends a caption; none: the config's
	EOSTokenID          TokenIDs `json:"eos_token_id,omitempty"`
	DecoderStartTokenID *int32   `json:"decoder_start_token_id,omitempty"` // nil: the config's
}

// Policy are the options that say which tokens may follow, without lengths, search and special tokens.
func (o *GenerateOptions) Policy() GenerateOptions {
	return GenerateOptions{
		NoRepeatNGramSize: o.NoRepeatNGramSize, RepetitionPenalty: o.RepetitionPenalty,
		BadWordsIDs: o.BadWordsIDs, SuppressTokens: o.SuppressTokens,
		BeginSuppressTokens: o.BeginSuppressTokens, ForcedBOSTokenID: o.ForcedBOSTokenID,
		ForcedEOSTokenID: o.ForcedEOSTokenID,
	}
}

// TokenIDs are one id or several.
type TokenIDs []int32

// UnmarshalJSON reads a number or a list of numbers.
func (t *TokenIDs) UnmarshalJSON(b []byte) error {
	var one int32
	if err := json.Unmarshal(b, &one); err == nil && string(b) != "null" {
		*t = TokenIDs{one}
		return nil
	}
	var list []*int32
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	*t = nil
	for _, id := range list {
		if id == nil {
			return errors.New("null is no token id")
		}
		*t = append(*t, *id)
	}
	return nil
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

// Limits of what a file may ask for, whatever the network: they bound memory and time.
const (
	maxLength   = maxSize
	maxBeams    = 256
	maxPower    = 100     // of length_penalty, either sign
	minPenalty  = 0.01    // of repetition_penalty
	maxPenalty  = 100     // of it, too
	maxEnds     = 16      // ids of eos_token_id and of forced_eos_token_id
	maxBadWords = 100_000 // sequences
	maxBadIDs   = maxSize // ids of all of them
)

// bounds reports values outside of the limits.
func (o *GenerateOptions) bounds() error {
	var errs []error
	for _, n := range []struct {
		key          string
		value, limit int
	}{
		{"max_length", o.MaxLength, maxLength}, {"min_length", o.MinLength, maxLength},
		{"num_beams", o.NumBeams, maxBeams}, {"no_repeat_ngram_size", o.NoRepeatNGramSize, maxLength},
	} {
		if n.value < 0 || n.value > n.limit {
			errs = append(errs, fmt.Errorf("%s is %d; must be from 0 to %d", n.key, n.value, n.limit))
		}
	}
	if errs != nil {
		return oneLine(errs)
	}
	ids := 0
	for _, word := range o.BadWordsIDs {
		if ids += len(word); len(word) == 0 {
			return errors.New("bad_words_ids has an empty list; must be lists of token ids")
		}
	}
	for _, n := range []struct {
		key          string
		count, limit int
	}{
		{"eos_token_id", len(o.EOSTokenID), maxEnds},
		{"forced_eos_token_id", len(o.ForcedEOSTokenID), maxEnds},
		{"suppress_tokens", len(o.SuppressTokens), maxSize},
		{"begin_suppress_tokens", len(o.BeginSuppressTokens), maxSize},
		{"bad_words_ids", len(o.BadWordsIDs), maxBadWords}, {"bad_words_ids", ids, maxBadIDs},
	} {
		if n.count > n.limit {
			return fmt.Errorf("%s has %d ids; must be at most %d", n.key, n.count, n.limit)
		}
	}
	penalty := o.RepetitionPenalty
	switch {
	case !(math.Abs(o.LengthPenalty) <= maxPower):
		return fmt.Errorf("length_penalty is %g; must be from %d to %d", o.LengthPenalty, -maxPower, maxPower)
	case penalty != 0 && !(penalty >= minPenalty && penalty <= maxPenalty):
		return fmt.Errorf("repetition_penalty is %g; must be from %g to %d", penalty, minPenalty, maxPenalty)
	}
	return o.idsBelow(maxSize, "what any vocabulary has")
}

// idsBelow reports the first token id that is not from 0 to below size.
func (o *GenerateOptions) idsBelow(size int, what string) error {
	one := func(id *int32) TokenIDs {
		if id == nil {
			return nil
		}
		return TokenIDs{*id}
	}
	lists := []struct {
		key string
		ids TokenIDs
	}{
		{"eos_token_id", o.EOSTokenID}, {"decoder_start_token_id", one(o.DecoderStartTokenID)},
		{"suppress_tokens", o.SuppressTokens}, {"begin_suppress_tokens", o.BeginSuppressTokens},
		{"forced_bos_token_id", one(o.ForcedBOSTokenID)}, {"forced_eos_token_id", o.ForcedEOSTokenID},
	}
	for _, word := range o.BadWordsIDs {
		lists = append(lists, struct {
			key string
			ids TokenIDs
		}{"bad_words_ids", word})
	}
	for _, list := range lists {
		for _, id := range list.ids {
			if id < 0 || int(id) >= size {
				return fmt.Errorf("%s has the token id %d; must be from 0 to below %s, %d",
					list.key, id, what, size)
			}
		}
	}
	return nil
}

// Validate reports the first value that cannot work with a network.
func (o *GenerateOptions) Validate(c *Config) error {
	if err := o.bounds(); err != nil {
		return err
	}
	switch {
	case o.MaxLength < 2 || o.MaxLength > c.Positions():
		return fmt.Errorf("max_length is %d; must be from 2 to the decoder's %d positions",
			o.MaxLength, c.Positions())
	case o.MinLength > o.MaxLength:
		return fmt.Errorf("min_length is %d; must be from 0 to max_length %d", o.MinLength, o.MaxLength)
	case 2*o.NumBeams > c.VocabSize():
		return fmt.Errorf("num_beams is %d; must be from 1 to half of vocab_size %d",
			o.NumBeams, c.VocabSize())
	case o.EarlyStopping != StopHopeless && o.EarlyStopping != StopFull && o.EarlyStopping != StopNever:
		return fmt.Errorf("early_stopping is %q; must be true, never or empty", string(o.EarlyStopping))
	case len(c.PromptIDs) > 0 && o.Start(c) != int32(c.DecoderStartTokenID):
		return fmt.Errorf("decoder_start_token_id is %d; must be the %d behind which the prompt stands", o.Start(c),
			c.DecoderStartTokenID)
	}
	return o.idsBelow(c.VocabSize(), "vocab_size")
}

// Start is the id that captions start with.
func (o *GenerateOptions) Start(c *Config) int32 {
	if o.DecoderStartTokenID != nil {
		return *o.DecoderStartTokenID
	}
	return int32(c.DecoderStartTokenID)
}

// Ends are the ids that end a caption, at least one.
func (o *GenerateOptions) Ends(c *Config) []int32 {
	if len(o.EOSTokenID) > 0 {
		return slices.Clone(o.EOSTokenID)
	}
	return []int32{int32(c.EOSTokenID)}
}

// ShowStep calls Step, if there is one; rows have so many ids in front that it does not get.
func (o *GenerateOptions) ShowStep(rows [][]int32, without int) error {
	if o.Step == nil {
		return nil
	}
	ids := make([][]int32, len(rows))
	for i, row := range rows {
		ids[i] = row[without:]
	}
	return o.Step(ids)
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
