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

// maxLengths are what FitMaxLength chooses from: label tokens a caption has at most.
var maxLengths = []int{32, 48, 64, 96, 128}

// maxCut is the share of captions that FitMaxLength leaves to be cut.
const maxCut = 0.001

// FitMaxLength chooses how many label tokens captions have at most, for captions counted by their number of
// them, end token included: the first of 32, 48, 64, 96 and 128 that cuts at most one caption in a thousand,
// else 128, and never more than the decoder has positions; 0 positions: not known.
func FitMaxLength(counts map[int]int, positions int) int {
	total := 0
	for _, n := range counts {
		total += n
	}
	fit := 0
	for _, fit = range maxLengths {
		cut := 0
		for length, n := range counts {
			if length > fit {
				cut += n
			}
		}
		if float64(cut) <= maxCut*float64(total) {
			break
		}
	}
	if positions > 0 {
		fit = min(fit, positions)
	}
	return fit
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
