package model

import "fmt"

// NamedTokens are the ids that a config and options need to caption: those that start, begin, end and pad
// captions, a prompt's and those that are forced.
func NamedTokens(c *Config, o GenerateOptions) []int32 {
	ids := []int32{int32(c.DecoderStartTokenID), int32(c.BOSTokenID), int32(c.EOSTokenID), int32(c.PadTokenID)}
	ids = append(append(append(ids, o.Start(c)), o.Ends(c)...), o.ForcedEOSTokenID...)
	ids = append(ids, c.PromptIDs...)
	if o.ForcedBOSTokenID != nil {
		ids = append(ids, *o.ForcedBOSTokenID)
	}
	return ids
}

// Prune is a captioner with these tokens of its vocabulary only, ascending: row keep[i] of the table
// [vocabulary, width], and of an output layer of its own, becomes row i. All of NamedTokens must be kept. What
// options forbid and is left out cannot come any more, so it is left out of them, too. Other weights are
// shared with w.
func Prune(c *Config, w Weights, o GenerateOptions, keep []int32) (*Config, Weights, GenerateOptions, error) {
	to := make(map[int32]int32, len(keep))
	for i, id := range keep {
		if id < 0 || int(id) >= c.VocabSize() || i > 0 && id <= keep[i-1] {
			return nil, nil, o, fmt.Errorf("prune: token id %d; must ascend from 0 to below vocab_size %d", id,
				c.VocabSize())
		}
		to[id] = int32(i)
	}
	for _, id := range NamedTokens(c, o) {
		if _, ok := to[id]; !ok {
			return nil, nil, o, fmt.Errorf("prune: token id %d is left out, which the config or its options name", id)
		}
	}
	pruned, weights := *c, Weights{}
	pruned.SetVocabSize(len(keep))
	for _, id := range []*int{&pruned.DecoderStartTokenID, &pruned.BOSTokenID, &pruned.EOSTokenID, &pruned.PadTokenID} {
		*id = int(to[int32(*id)])
	}
	prompt := pruned.PromptIDs
	pruned.PromptIDs = nil
	for _, id := range prompt {
		pruned.PromptIDs = append(pruned.PromptIDs, to[id])
	}
	pruned.setImageToken()
	for name, t := range w {
		weights[name] = t
		if name == c.TableName() || name == c.HeadName() {
			weights[name] = t.rows(keep)
		}
	}
	return &pruned, weights, o.renamed(to), nil
}

// rows takes rows of a matrix.
func (t *Tensor) rows(numbers []int32) *Tensor {
	width := t.Shape[1]
	out := &Tensor{Shape: []int{len(numbers), width}, Data: make([]float32, 0, len(numbers)*width)}
	for _, n := range numbers {
		out.Data = append(out.Data, t.Data[int(n)*width:][:width]...)
	}
	return out
}

// renamed are the options with other ids; what names an id without one is left out.
func (o GenerateOptions) renamed(to map[int32]int32) GenerateOptions {
	list := func(ids TokenIDs) (out TokenIDs) {
		for _, id := range ids {
			if n, ok := to[id]; ok {
				out = append(out, n)
			}
		}
		return out
	}
	one := func(id *int32) *int32 {
		if id == nil {
			return nil
		}
		n := to[*id]
		return &n
	}
	words := o.BadWordsIDs
	o.BadWordsIDs = nil
	for _, word := range words {
		if n := list(word); len(n) == len(word) {
			o.BadWordsIDs = append(o.BadWordsIDs, n)
		}
	}
	o.SuppressTokens, o.BeginSuppressTokens = list(o.SuppressTokens), list(o.BeginSuppressTokens)
	o.ForcedBOSTokenID, o.DecoderStartTokenID = one(o.ForcedBOSTokenID), one(o.DecoderStartTokenID)
	o.ForcedEOSTokenID, o.EOSTokenID = list(o.ForcedEOSTokenID), list(o.EOSTokenID)
	return o
}
