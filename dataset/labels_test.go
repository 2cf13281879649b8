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
