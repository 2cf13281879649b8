package dataset

import "slices"

// Labels says how a caption's token ids become the labels that a loss counts.
type Labels struct {
	End       int32 // ends a caption
	MaxLength int   // labels a caption, at most

	// Pad fills every caption up to MaxLength with End and cuts it there without one,
	// as mozilla/distilvit's train.py does (GPT-2's tokenizer with pad_token =
	// eos_token and padding="max_length"): the loss then counts the filling, too.
	Pad bool
}

// Of answers a caption's labels and whether tokens were cut off: the ids and one
// End, or with Pad exactly MaxLength labels.
func (l Labels) Of(ids []int32) (labels []int32, cut bool) {
	ends := 1
	if l.Pad {
		ends = max(0, l.MaxLength-len(ids))
	}
	kept := min(len(ids), l.MaxLength-ends)
	labels = append(slices.Clone(ids[:kept]), slices.Repeat([]int32{l.End}, ends)...)
	return labels, kept < len(ids)
}
