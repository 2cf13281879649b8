package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"

	"distilvit/artifact/record"
	"distilvit/internal/testenv"
	"distilvit/internal/testenv/temporaltest"
	"distilvit/pipeline"
)

// A run that SIGTERM stops in each of its stages, one after the other, goes on by the same command each time, and
// ends with the weights, the calibrated 4-bit file and the damage by layer of one that was left alone.
func TestRunStoppedInEveryStageEndsBitIdentical(t *testing.T) {
	config := writeConfig(t, t.TempDir(), tinyConfig(map[string]any{
		"backend": pipeline.BackendGo,
		"dataset": []any{map[string]any{"kind": "shapes", "shapes": map[string]any{
			"train": 64, "validation": 8, "test": 8, "test_unseen": 8, "max_objects": 2, "image_size": 32,
		}}},
		"model": map[string]any{"patch_size": 16, "encoder_layer": 1, "decoder_layer": 1},
		"train": map[string]any{"captions_per_picture": 1},
		"export": map[string]any{
			"dtypes": []string{"fp32", "q4"}, "pictures": 4, "calibrate": 4, "damage": 4, "mixed": true, "min_equal": 0,
		},
	}))
	trainUndisturbed(t, config, "stages")
	manifest := func(data string) record.ModelManifest {
		return decode[record.ModelManifest](t, succeed(t, "cat", "models/stages/stages-b1/manifest.json", "--data", data))
	}
	undisturbed, _ := sharedStack(t)
	want := manifest(undisturbed)
	require.Equal(t, 4, want.Calibration.Pictures)
	require.NotEmpty(t, want.Damage)
	data := filepath.Join(t.TempDir(), "data")
	args := []string{"run", "-f", config, "--id", "stages", "--data", data}
	for _, activity := range []string{"Download", "PrepareShard", "TrainEpoch", "Evaluate", "Export", "Publish"} {
		run := start(t, nil, args...)
		awaitActivity(t, run, data, "stages", activity)
		trainers := run.Trainers()
		run.Signal(syscall.SIGTERM)
		code := run.Wait()
		said := run.Stderr.String()
		require.Equal(t, 1, code, "at %s: %s", activity, said)
		require.Contains(t, said, "stopping: the trainer writes a checkpoint first", activity)
		require.Contains(t, said, "run stages is interrupted, not lost: the same command goes on from its newest checkpoint", activity)
		require.NotContains(t, said, "distilvit: ", activity) // an error would be
		for _, pid := range trainers {
			require.True(t, testenv.Gone(pid), "the trainer outlives the run's end at %s", activity)
		}
	}
	require.Regexp(t, `stages +interrupted`, succeed(t, "list", "--data", data))
	require.Contains(t, succeed(t, args...), "models/stages/stages-b1")
	got := manifest(data)
	for name, file := range want.Files {
		if name == "model.safetensors" || path.Dir(name) == "onnx" {
			require.Equal(t, file.SHA256, got.Files[name].SHA256, name)
		}
	}
	require.Contains(t, want.Files, "onnx/decoder_model_merged_q4.onnx")
	require.Equal(t, want.Damage, got.Damage)
}

// awaitActivity waits until a run on the stack that this process hosts has scheduled an activity of a name.
func awaitActivity(t *testing.T, run *testenv.Process, data, id, name string) {
	t.Helper()
	run.Await("the stack", func() bool { return strings.Contains(run.Stderr.String(), "run "+id+"; web UI") })
	raw, err := os.ReadFile(filepath.Join(data, "stack.json"))
	require.NoError(t, err)
	var stack struct {
		Temporal string `json:"temporal"`
	}
	require.NoError(t, json.Unmarshal(raw, &stack))
	c := temporaltest.Client(t, stack.Temporal)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	history := c.GetWorkflowHistory(ctx, id, "", true, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		event, err := history.Next()
		require.NoError(t, err, "%s: %s", name, run.Stderr.String())
		if event.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == name {
			return
		}
	}
	t.Fatalf("the run ended without %s: %s", name, run.Stderr.String())
}
