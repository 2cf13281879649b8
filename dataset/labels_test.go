package dataset

import (
	"slices"
	"testing"
)

func TestLabelsEndOnceOrArePaddedWithEnds(t *testing.T) {
	for _, c := range []struct {
		name      string
		ids, want []int32
		pad, cut  bool
	}{
		{"shorter", []int32{1, 2}, []int32{1, 2, 9}, false, false},
		{"nothing", nil, []int32{9}, false, false},
		{"as long with the end", []int32{1, 2, 3}, []int32{1, 2, 3, 9}, false, false},
		{"longer", []int32{1, 2, 3, 4}, []int32{1, 2, 3, 9}, false, true},
		{"padded", []int32{1, 2}, []int32{1, 2, 9, 9}, true, false},
		{"nothing but padding", nil, []int32{9, 9, 9, 9}, true, false},
		{"as long without an end", []int32{1, 2, 3, 4}, []int32{1, 2, 3, 4}, true, false},
		{"longer, without an end", []int32{1, 2, 3, 4, 5}, []int32{1, 2, 3, 4}, true, true},
	} {
		got, cut := Labels{End: 9, MaxLength: 4, Pad: c.pad}.Of(c.ids)
		if !slices.Equal(got, c.want) || cut != c.cut {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, got, cut, c.want, c.cut)
		}
	}
}

func TestMaxLengthIsFittedToAllButOneCaptionInAThousand(t *testing.T) {
	for _, c := range []struct {
		counts          map[int]int
		positions, want int
	}{
		{nil, 64, 32},
		{map[int]int{12: 500, 32: 500}, 64, 32},
		{map[int]int{12: 999, 33: 1}, 64, 32},
		{map[int]int{12: 998, 33: 1, 200: 1}, 64, 48},
		{map[int]int{12: 5, 48: 5}, 0, 48},
		{map[int]int{12: 5, 49: 5}, 0, 64},
		{map[int]int{128: 1}, 0, 128},
		{map[int]int{12: 5, 500: 5}, 0, 128},
		{map[int]int{12: 5, 500: 5}, 64, 64},
		{map[int]int{12: 5}, 24, 24},
	} {
		if got := FitMaxLength(c.counts, c.positions); got != c.want {
			t.Errorf("%v, %d positions: %d, want %d", c.counts, c.positions, got, c.want)
		}
	}
}
