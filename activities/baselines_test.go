package activities

import (
	"fmt"
	"slices"
	"testing"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/metrics"
	"distilvit/pipeline"
)

// Asked about the training pictures themselves, the nearest picture is each itself, in whichever shard it is.
func TestBaselinesGiveTheCaptionsOfTheNearestAndTheMostFrequent(t *testing.T) {
	b := newBench(t)
	w, _ := b.work("run", tinyConfig())
	m, err := artifact.ReadDataset(t.Context(), b.Store, w.Dataset.Manifest)
	check(t, err)
	counts := map[string]int{}
	var asked []metrics.Prediction
	for _, s := range ofSplit(m.Shards, dataset.Train) {
		for row, err := range b.captionRows(t.Context(), s) {
			check(t, err)
			for _, c := range row.Captions {
				counts[c]++
			}
			asked = append(asked, metrics.Prediction{
				ImageID: row.ID, Caption: "x", References: row.Captions[:1], TokenIDs: []int32{1},
			})
		}
	}
	in := pipeline.EvaluateInput{Work: w, Split: pipeline.SplitTrain}
	got, err := b.baselines(t.Context(), in, asked, metrics.RougeScoreWords)
	check(t, err)
	if got.Trained != 40 || got.Nearest.Samples != 40 || got.Nearest.ExactMatch != 100 || got.Nearest.GenLen != 0 {
		t.Errorf("nearest: %+v", got)
	}
	for caption, n := range counts {
		if n > counts[got.Caption] {
			t.Errorf("%q occurs %d times, %q %d times", caption, n, got.Caption, counts[got.Caption])
		}
	}
	if got.Commonest.Distinct != 100./40 || got.Commonest.Commonest != 100 {
		t.Errorf("the most frequent caption: %+v", got.Commonest)
	}
	if asked[0].Caption != "x" || asked[0].TokenIDs == nil {
		t.Error("the model's captions were changed")
	}
	again, err := b.baselines(t.Context(), in, asked, metrics.RougeScoreWords)
	if check(t, err); *again != *got {
		t.Errorf("another time: %+v, not %+v", again, got)
	}
	if _, err := b.baselines(t.Context(), in, append(asked, asked[0]), metrics.RougeScoreWords); err == nil {
		t.Error("more captions than pictures")
	}
}

func TestBaselinesLookAtShardsSpreadEvenly(t *testing.T) {
	var all []record.Shard
	for i := range 25 {
		all = append(all, record.Shard{Index: i, Rows: 1000 - i%2})
	}
	for _, c := range []struct {
		shards, rows int
		want         string
	}{
		{25, 1 << 30, fmt.Sprint(indices(all))},
		{25, 10_000, "[0 2 5 7 10 12 15 17 20 22]"},
		{25, 10, "[0]"}, {1, 10, "[0]"}, {0, 10, "[]"}, {3, 3000, "[0 1 2]"},
	} {
		if got := fmt.Sprint(indices(spreadShards(all[:c.shards], c.rows))); got != c.want {
			t.Errorf("%d shards, %d rows: %s, want %s", c.shards, c.rows, got, c.want)
		}
	}
}

func indices(shards []record.Shard) []int {
	out := make([]int, len(shards))
	for i, s := range shards {
		out[i] = s.Index
	}
	return slices.Clip(out)
}
