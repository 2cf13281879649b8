package workflows

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.temporal.io/sdk/temporal"

	"distilvit/pipeline"
)

// corrupt is how an activity says which objects are broken.
func corrupt(keys ...string) error {
	return temporal.NewApplicationErrorWithOptions("bytes do not match their digest", pipeline.Corrupt,
		temporal.ApplicationErrorOptions{
			Details: []any{pipeline.Broken{Keys: keys}},
		})
}

// warned runs a run to its end and answers the warnings it is published with.
func warned(t *testing.T, w *world) []string {
	t.Helper()
	if _, err := start(t, w, config(t)); err != nil {
		t.Fatalf("%v; calls %s", err, w.without())
	}
	return w.inputs["Publish"].(pipeline.PublishInput).Warnings
}

func TestBrokenShardIsPreparedAgainAndTrainingGoesOn(t *testing.T) {
	for _, stage := range []string{"TrainEpoch", "Evaluate", "Export", "Publish"} {
		w := newWorld()
		w.fail = failing(stage, corrupt("datasets/d/s.parquet", "tokens/t/s.parquet"))
		warnings := warned(t, w)
		if got := w.inputs["DropBroken"].(pipeline.DropBrokenInput); got.Run != "r" || len(got.Keys) != 2 {
			t.Errorf("%s: %+v", stage, got)
		}
		if w.count["PlanPrepare"] != 2 || w.count["PlanTokenize"] != 2 || w.count["Download"] != 1 ||
			w.count["TrainEpoch"] < 3 || w.count["TrainEpoch"] > 4 {
			t.Errorf("%s: calls %s", stage, w.without())
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0],
			"removed and made again: datasets/d/s.parquet, tokens/t/s.parquet") {
			t.Errorf("%s: warnings %q", stage, warnings)
		}
	}
}

func TestBrokenSourceIsDownloadedAgain(t *testing.T) {
	w := newWorld()
	w.fail = failing("PrepareShard", corrupt("sources/s/a.zip"))
	warned(t, w)
	if w.count["Download"] != 2 || w.count["PlanPrepare"] != 2 || w.count["DropBroken"] != 1 {
		t.Errorf("calls: %s", w.without())
	}
	// The shard has to be prepared again, for which the source is broken too.
	w = newWorld()
	w.fail = func(name string, call int) error {
		switch {
		case name == "TrainEpoch" && call == 2:
			return corrupt("datasets/d/s.parquet")
		case name == "PrepareShard" && call == 4:
			return corrupt("sources/s/a.zip")
		}
		return nil
	}
	if warnings := warned(t, w); len(warnings) != 1 {
		t.Errorf("warnings %q", warnings)
	}
	if w.count["Download"] != 2 || w.count["DropBroken"] != 2 || w.count["TrainEpoch"] != 4 {
		t.Errorf("calls: %s", w.without())
	}
}

func TestBrokenWeightsAreStoredAgain(t *testing.T) {
	w := newWorld()
	w.fail = failing("TrainEpoch", corrupt("weights/model/model.safetensors"))
	warned(t, w)
	if w.count["BuildModel"] != 2 || w.count["Download"] != 2 {
		t.Errorf("calls: %s", w.without())
	}
}

func TestBrokenBestCheckpointIsTrainedAgain(t *testing.T) {
	for _, stage := range []string{"Evaluate", "Export"} {
		w := newWorld()
		w.scores = []float64{10, 30, 20} // the best is that of epoch 2
		best := "runs/r/checkpoints/1/200/manifest.json"
		w.lost = []string{best}
		w.fail = func(name string, call int) error {
			switch {
			case name == stage && (stage == "Export" && call == 1 || stage == "Evaluate" && call == 4):
				return corrupt("runs/r/blobs/b")
			case name == "TrainEpoch" && call == 4: // the end of epoch 1 cannot be read either
				return typed(pipeline.Corrupt, "no complete checkpoint at the end of epoch 1")
			}
			return nil
		}
		warnings := warned(t, w)
		var epochs []string
		for _, e := range w.epochs[3:] {
			epochs = append(epochs, fmt.Sprint(e.Epoch))
			if e.Best == nil || e.Best.Manifest != best {
				t.Errorf("%s: %+v may prune what it makes", stage, e)
			}
		}
		if got := strings.Join(epochs, " "); got != "1 0 1" {
			t.Errorf("%s: epochs trained again: %s", stage, got)
		}
		if w.count["PlanPrepare"] != 1 || !slices.ContainsFunc(warnings, func(s string) bool {
			return strings.Contains(s, "runs/r/blobs/b")
		}) {
			t.Errorf("%s: warnings %q, calls %s", stage, warnings, w.without())
		}
	}
}

func TestCheckpointsThatCannotBeReadAreTrainedAgain(t *testing.T) {
	w := newWorld()
	w.fail = failing("TrainEpoch", nil, nil, typed(pipeline.Corrupt, "checkpoint 200: sha256 differs"))
	warnings := warned(t, w)
	if len(w.epochs) != 5 || w.epochs[3].Epoch != 1 || w.epochs[4].Epoch != 2 || w.count["DropBroken"] != 0 {
		t.Errorf("calls: %s", w.without())
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "trained again from an older checkpoint") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestDataThatBreaksOverAndOverFailsTheRun(t *testing.T) {
	w := newWorld()
	w.fail = func(name string, _ int) error {
		if name == "TrainEpoch" {
			return corrupt("datasets/d/s.parquet")
		}
		return nil
	}
	if _, err := start(t, w, config(t)); errorType(err) != pipeline.Corrupt ||
		w.count["DropBroken"] != maxMends {
		t.Errorf("%v after %d", err, w.count["DropBroken"])
	}
}
