package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
	"distilvit/pipeline"
)

// statusAnswer is what this test reads of status -o json.
type statusAnswer struct {
	Status  string          `json:"status"`
	Details pipeline.Status `json:"details"`
}

// controlSteps are the steps of an epoch of controlConfig: 960 pictures, 8 a step.
const controlSteps = 120

// controlConfig has long epochs of little work. On XLA each new trainer would
// compile its graphs again.
func controlConfig() map[string]any {
	return tinyConfig(map[string]any{
		"backend": pipeline.BackendGo,
		"dataset": []any{map[string]any{"kind": "shapes", "shapes": map[string]any{
			"train": 960, "validation": 16, "test": 16, "test_unseen": 8, "max_objects": 2, "image_size": 32,
		}}},
		"model": map[string]any{"patch_size": 16, "encoder_layer": 1, "decoder_layer": 1},
		"train": map[string]any{
			"epochs": 3, "batch_size": 8, "captions_per_picture": 2, "checkpoint_steps": 7,
		},
	})
}

// A run that is paused and resumed by distilvit, whose epoch is then paused and
// reset by Temporal's own command line, that is extended while it is open, and whose
// stack is killed in the extension, ends with the weights of one that nobody touched and that was extended after
// its end.
func TestPausedResetAndExtendedRunEndsBitIdentical(t *testing.T) {
	temporal := testenv.Tool(t, "temporal")
	config := writeConfig(t, t.TempDir(), controlConfig())
	extend := []string{"--epochs", "1", "--learning-rate", "0.0005"}

	untouched, _ := sharedStack(t)
	succeed(t, "run", "-f", config, "--id", "r", "--data", untouched)
	refused := distilvit(t, "pause", "r", "--data", untouched)
	require.Equal(t, 1, refused.code)
	require.Contains(t, refused.stderr, "run r is not open: it is completed")
	succeed(t, append([]string{"extend", "r", "--data", untouched}, extend...)...)
	// The run is open again: the same command goes on with it.
	want := decode[pipeline.Result](
		t, succeed(t, "run", "-f", config, "--id", "r", "--data", untouched, "-o", "json"),
	)
	require.Equal(t, "r-b2", want.Version)

	data := filepath.Join(t.TempDir(), "data")
	stack, addresses := up(t, data)
	run := start(t, nil, "run", "-f", config, "--id", "r", "--data", data, "-o", "json")
	status := func() statusAnswer {
		return decode[statusAnswer](t, succeed(t, "status", "r", "--data", data, "-o", "json"))
	}
	command := func(args ...string) finished {
		return runCommand(
			t, nil, temporal, append(args, "--address", addresses.Temporal, "--workflow-id", "r")...,
		)
	}

	awaitCheckpoint(t, run, data, "r", 1, controlSteps)
	succeed(t, "pause", "r", "--data", data)
	again := distilvit(t, "pause", "r", "--data", data)
	require.Equal(t, 1, again.code)
	require.Contains(t, again.stderr, "run r is paused already")
	stack.Await("the trainer's end", func() bool { return len(stack.Trainers()) == 0 })
	require.True(t, status().Details.Paused)
	paused := newestCheckpoint(data, "r")
	succeed(t, append([]string{"extend", "r", "--data", data}, extend...)...)
	require.Equal(t, paused, newestCheckpoint(data, "r"), "the paused run went on")
	succeed(t, "resume", "r", "--data", data)

	second := fmt.Sprint("epoch-", awaitCheckpoint(t, run, data, "r", controlSteps+1, controlSteps))
	held := command("activity", "pause", "--activity-id", second)
	require.Zero(t, held.code, held.stdout+held.stderr)
	stack.AwaitEvery(time.Second, "the paused activity", func() bool {
		described := runCommand(t, nil, temporal, "workflow", "describe", "--address", addresses.Temporal,
			"--workflow-id", "r", "-o", "json")
		return strings.Contains(described.stdout, "PENDING_ACTIVITY_STATE_PAUSED")
	})
	freed := command("activity", "unpause", "--activity-id", second)
	require.Zero(t, freed.code, freed.stdout+freed.stderr)

	third := fmt.Sprint("epoch-", awaitCheckpoint(t, run, data, "r", 2*controlSteps+1, controlSteps))
	reset := command("activity", "reset", "--activity-id", third)
	require.Zero(t, reset.code, reset.stdout+reset.stderr)

	// Killed in the epoch that it was extended by, with all of the stack, it goes on with the next one.
	awaitCheckpoint(t, run, data, "r", 3*controlSteps+1, controlSteps)
	killEverything(t, stack)
	require.Equal(t, 1, run.Wait())
	stack, addresses = up(t, data)
	run = start(t, nil, "run", "-f", config, "--id", "r", "--data", data, "-o", "json")

	require.Zero(t, run.Wait(), run.Stderr.String())
	got := decode[pipeline.Result](t, run.Stdout.String())
	require.Equal(t, "r-b2", got.Version)
	require.Equal(t, weightsDigest(t, untouched, "r"), weightsDigest(t, data, "r"))
	require.Equal(t, lastCheckpoint(t, untouched), lastCheckpoint(t, data))

	// The whole run once more: everything is there already, the extension too.
	whole := command("workflow", "reset", "--type", "FirstWorkflowTask", "--reason", "once more",
		"--reapply-exclude", "All")
	require.Zero(t, whole.code, whole.stdout+whole.stderr)
	stack.AwaitEvery(
		time.Second, "the reset run's end", func() bool { return status().Status == "completed" },
	)
	require.Equal(t, weightsDigest(t, untouched, "r"), weightsDigest(t, data, "r"))
}

// lastCheckpoint is the manifest of a run's last step, which names the digests of
// weights and moments.
func lastCheckpoint(t *testing.T, data string) string {
	t.Helper()
	step, file := newestManifest(data, "r")
	require.Equal(t, 4*controlSteps, step)
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(raw)
}
