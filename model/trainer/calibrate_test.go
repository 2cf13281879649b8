package trainer

import (
	"reflect"
	"slices"
	"testing"

	"distilvit/dataset"
	"distilvit/model"
)

// Pictures to calibrate with are so many as asked for, the same each time, spread over the shards and in their order;
// their captions are those of the token shards, in a pruned vocabulary's ids.
func TestCalibrationChoosesTheSamePictures(t *testing.T) {
	pair, _ := testShards(t)
	whole := network{config: &model.Config{Decoder: model.GPT2Config{NPositions: testLength}}}
	a := ExportArgs{Calibrate: 20, Shards: []dataset.ShardPair{pair}}
	got, err := whole.choose(t.Context(), a, a.Calibrate)
	check(t, err)
	if len(got) != 20 {
		t.Fatalf("%d pictures, want 20", len(got))
	}
	again, err := whole.choose(t.Context(), a, a.Calibrate)
	check(t, err)
	if !reflect.DeepEqual(got, again) {
		t.Error("other pictures the second time")
	}
	place, late := 0, 0
	at := 0
	for b, err := range dataset.Sequential(t.Context(), a.Shards, 1, 0) {
		check(t, err)
		if at < len(got) && slices.Equal(b.Pixels, got[at].pixels) {
			if want := b.Tokens[0][0]; !slices.Equal(got[at].captions[0], want[:min(len(want), testLength)]) {
				t.Errorf("picture %d has the caption %v, want %v", place, got[at].captions[0], want)
			}
			if at++; place >= testRows/2 {
				late++
			}
		}
		place++
	}
	if at != len(got) || late < 4 {
		t.Errorf("%d of %d pictures found in their order, %d in the second half", at, len(got), late)
	}

	pruned := whole
	pruned.kept = []int32{3, 9, 20}
	if got := pruned.narrowed([]int32{9, 4, 20, 3}); !slices.Equal(got, []int32{1, 2, 0}) {
		t.Errorf("in a pruned vocabulary %v, want [1 2 0]", got)
	}
	a.Calibrate = 1000
	if got, err = whole.choose(t.Context(), a, a.Calibrate); err != nil || len(got) != testRows {
		t.Errorf("%d pictures of %d, %v", len(got), testRows, err)
	}
}

// The decoder is given the start token and all but the last token of each caption; the rest is not real.
func TestCalibrationReadsCaptionsAsTheDecoderDoes(t *testing.T) {
	batch := []shown{
		{pixels: []uint8{1, 2}, captions: [][]int32{{7, 8, 9}, {5}}}, {pixels: []uint8{3, 4}, captions: [][]int32{{6, 9}}},
	}
	want := model.Observed{
		Pixels: []uint8{1, 2, 3, 4},
		IDs:    []int32{99, 7, 8, 99, 5, 0, 99, 6, 0, 0, 0, 0},
		Real:   []float32{1, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0},
	}
	got := observed(batch, 2, 3, 99)
	for i, real := range got.Real {
		if real == 0 {
			got.IDs[i] = want.IDs[i] // whatever
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
