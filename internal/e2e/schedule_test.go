package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// scheduleAnswer is what this test reads of schedule show -o json.
type scheduleAnswer struct {
	Skipped int `json:"skipped"`
	Turns   []struct {
		Status string `json:"status"`
		Left   bool   `json:"left"`
		pipeline.Turn
	} `json:"turns"`
}

// A schedule's first turn publishes, the next one finds nothing new; after the data has changed a run goes on from the
// published model, and publishes since it is better; with a margin that nothing reaches it does not.
func TestScheduleTrainsOnNewDataAndPublishesWhatIsBetter(t *testing.T) {
	data, _ := sharedStack(t)
	dir := t.TempDir()
	writePictures(t, dir, 24, 2)
	config := tinyConfig(map[string]any{
		"backend": pipeline.BackendGo,
		"dataset": []any{map[string]any{"kind": "folder", "captions": "captions.jsonl", "images": "images"}},
		"prepare": map[string]any{"validation_fraction": 0.2, "test_fraction": 0.2},
		"model":   map[string]any{"patch_size": 16, "encoder_layer": 1, "decoder_layer": 1},
		"train":   map[string]any{"epochs": 1, "learning_rate": 0.002, "captions_per_picture": 1, "metric_for_best_model": "eval_loss"},
		"export":  map[string]any{"dtypes": []string{"fp32"}, "pictures": 4},
	})
	set := func(more ...string) {
		args := []string{"schedule", "nightly", "-f", writeConfig(t, dir, config), "--cron", "0 3 1 1 *", "--data", data}
		succeed(t, append(args, more...)...)
	}
	show := func() scheduleAnswer {
		return decode[scheduleAnswer](t, succeed(t, "schedule", "show", "nightly", "--data", data, "-o", "json"))
	}
	turns := 0
	turn := func() (last pipeline.Turn) {
		t.Helper()
		succeed(t, "schedule", "trigger", "nightly", "--data", data)
		turns++
		shared.process.AwaitEvery(time.Second, "the turn's end", func() bool {
			seen := show()
			if len(seen.Turns) < turns {
				return false
			}
			last = seen.Turns[0].Turn
			require.NotEqual(t, "failed", seen.Turns[0].Status, last.Detail)
			return last.Outcome != ""
		})
		return last
	}
	latest := func() string {
		return decode[record.Latest](t, succeed(t, "cat", "models/nightly/latest", "--data", data)).Model
	}

	set()
	t.Cleanup(func() { distilvit(t, "schedule", "delete", "nightly", "--data", data) })
	first := turn()
	require.Equal(t, pipeline.TurnPublished, first.Outcome, first.Detail)
	require.Nil(t, first.Comparison)
	require.Equal(t, latest(), first.Model)
	unchanged := turn()
	require.Equal(t, pipeline.TurnUnchanged, unchanged.Outcome, unchanged.Detail)
	require.Equal(t, first.Run, unchanged.Run)

	writePictures(t, dir, 32, 2)
	second := turn()
	require.Equal(t, pipeline.TurnPublished, second.Outcome, second.Detail)
	require.Equal(t, latest(), second.Model)
	manifest := decode[record.ModelManifest](t, succeed(t, "cat", second.Model+"/manifest.json", "--data", data))
	require.Equal(t, second.Comparison, manifest.Comparison)
	require.Equal(t, first.Model, second.Comparison.With)
	require.Less(t, second.Comparison.Value, second.Comparison.Other, "eval_loss")
	require.NotEqual(t, manifest.Dataset, second.Comparison.Dataset, "the fixed pictures are the first version's")
	require.Contains(t, succeed(t, "status", second.Run, "--data", data), "better: eval_loss")

	set("--set", "publish.better_than.model=models/nightly", "--set", "publish.better_than.margin=1000")
	succeed(t, "schedule", "trigger", "nightly", "--data", data)
	third := turn() // asked for twice
	require.Equal(t, pipeline.TurnRejected, third.Outcome, third.Detail)
	require.Equal(t, second.Model, latest())
	require.Equal(t, second.Comparison.Dataset, third.Comparison.Dataset)
	require.Contains(t, succeed(t, "list", "--data", data), third.Run+"  rejected")
	seen := show()
	require.Equal(t, 1, seen.Skipped)
	require.Len(t, seen.Turns, turns)
	for i, want := range []pipeline.Turn{third, second, unchanged, first} {
		require.Equal(t, want, seen.Turns[i].Turn)
	}

	text := succeed(t, "schedule", "show", "nightly", "--data", data)
	for _, want := range []string{"1 skipped", "not better: eval_loss", "nothing has changed since run " + first.Run} {
		require.Contains(t, text, want)
	}
	require.Contains(t, text, "stored still, though nothing was published: "+third.Run)

	// A turn whose run fails tells which, and that it is left.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "images", "000-00.png"), []byte("no picture"), 0o644))
	set("--set", "prepare.max_bad_fraction=0")
	succeed(t, "schedule", "trigger", "nightly", "--data", data)
	turns++
	shared.process.AwaitEvery(time.Second, "the turn's failure", func() bool {
		seen = show()
		return len(seen.Turns) == turns && seen.Turns[0].Status == "failed"
	})
	require.True(t, seen.Turns[0].Left)
	require.True(t, seen.Turns[1].Left)
	require.False(t, seen.Turns[2].Left)
	failed := seen.Turns[0].Run
	require.Contains(t, succeed(t, "list", "--data", data), failed+"  failed")
	succeed(t, "rm", failed, "--data", data)
	require.NotContains(t, succeed(t, "schedule", "show", "nightly", "--data", data), failed)

	require.Contains(t, succeed(t, "schedule", "pause", "nightly", "--data", data), "schedule nightly is paused: paused")
	require.Contains(t, succeed(t, "schedule", "list", "--data", data), "nightly   models/nightly  0 3 1 1 * UTC  paused")
	succeed(t, "schedule", "delete", "nightly", "--data", data)
	oneLine(t, distilvit(t, "schedule", "show", "nightly", "--data", data), 1, "no such schedule: nightly")
	oneLine(t, distilvit(t, "schedule", "x", "-f", filepath.Join(dir, "config.json"), "--cron", "soon", "--data", data), 2,
		`--cron "soon"`)
}
