package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
)

// crashSteps are the steps of an epoch of crashConfig: 960 pictures, 16 a step.
const crashSteps = 60

// crashConfig has epochs long enough to be disturbed between two checkpoints.
func crashConfig() map[string]any {
	return tinyConfig(map[string]any{
		"dataset": []any{map[string]any{"kind": "shapes", "shapes": map[string]any{
			"train": 960, "validation": 16, "test": 16, "max_objects": 2, "image_size": 32,
		}}},
		"model": map[string]any{"hidden_size": 64},
		"train": map[string]any{"epochs": 3, "checkpoint_steps": 7, "micro_batch_size": 8, "augment": map[string]any{"shift": 0.1, "color": 0.1}},
	})
}

// A run whose trainer, and then whose whole process, is killed in mid-epoch, and
// that is then interrupted by Ctrl-C, ends with the weights of an undisturbed run.
func TestKilledRunEndsBitIdentical(t *testing.T) {
	config := writeConfig(t, t.TempDir(), crashConfig())
	undisturbed := trainUndisturbed(t, config)

	data := filepath.Join(t.TempDir(), "data")
	args := []string{"run", "-f", config, "--id", "crash", "--data", data, "-o", "json"}

	run := start(t, nil, args...)
	awaitCheckpoint(t, run, data, 1, crashSteps)
	killTrainer(t, run)
	awaitCheckpoint(t, run, data, crashSteps+1, crashSteps)
	killEverything(t, run)

	run = start(t, nil, args...)
	awaitCheckpoint(t, run, data, 2*crashSteps+1, crashSteps)
	run.Signal(syscall.SIGINT)
	require.Equal(t, 1, run.Wait())
	require.Contains(t, run.Stderr.String(), "the same command goes on")

	again := distilvit(t, args...)
	require.Zero(t, again.code, again.stderr)
	require.Equal(t, undisturbed, weightsDigest(t, data, "crash"))
}

func trainUndisturbed(t *testing.T, config string) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	succeed(t, "run", "-f", config, "--id", "crash", "--data", data, "-o", "json")
	return weightsDigest(t, data, "crash")
}

// weightsDigest is the SHA-256 of a run's published weights.
func weightsDigest(t *testing.T, data, run string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	succeed(t, "get", run, dir, "--data", data)
	raw, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	digest := sha256.Sum256(raw)
	return hex.EncodeToString(digest[:])
}

// awaitCheckpoint waits for a checkpoint of step least or later and makes sure
// that its epoch is not over.
func awaitCheckpoint(t *testing.T, run *testenv.Process, data string, least, epochSteps int) {
	t.Helper()
	newest := 0
	run.Await("a checkpoint of step "+strconv.Itoa(least), func() bool {
		newest = newestCheckpoint(data)
		return newest >= least
	})
	require.NotZero(t, newest%epochSteps, "checkpoint %d ends its epoch: the test came too late to disturb it", newest)
}

// newestCheckpoint is the highest step with a manifest in the object store's files.
func newestCheckpoint(data string) int {
	step, _ := newestManifest(data)
	return step
}

// newestManifest is that step and its manifest's path.
func newestManifest(data string) (newest int, file string) {
	_ = filepath.WalkDir(data, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Base(path) == "manifest.json" && strings.Contains(path, "/checkpoints/") {
			if step, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && step > newest {
				newest, file = step, path
			}
		}
		return nil
	})
	return newest, file
}

// killTrainer kills the run's trainer child.
func killTrainer(t *testing.T, run *testenv.Process) {
	t.Helper()
	pids := run.Trainers()
	require.NotEmpty(t, pids, "the run has no trainer child")
	require.NoError(t, syscall.Kill(pids[0], syscall.SIGKILL))
}

// killEverything kills the process; its children must go with it.
func killEverything(t *testing.T, run *testenv.Process) {
	t.Helper()
	orphans := run.Children()
	require.NotEmpty(t, orphans)
	run.Kill()
	for _, pid := range orphans {
		testenv.Await(t, "the children's end", func() bool { return testenv.Gone(pid) })
	}
}
