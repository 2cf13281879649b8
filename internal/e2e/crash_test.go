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

	run := start(t, cleanEnv(), program, args...)
	awaitCheckpoint(t, run, data, 1, crashSteps)
	killTrainer(t, run)
	awaitCheckpoint(t, run, data, crashSteps+1, crashSteps)
	killEverything(t, run)

	run = start(t, cleanEnv(), program, args...)
	awaitCheckpoint(t, run, data, 2*crashSteps+1, crashSteps)
	run.signal(syscall.SIGINT)
	require.Equal(t, 1, run.wait())
	require.Contains(t, run.stderr.String(), "the same command goes on")

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
func awaitCheckpoint(t *testing.T, run *process, data string, least, epochSteps int) {
	t.Helper()
	newest := 0
	eventually(t, "a checkpoint of step "+strconv.Itoa(least), run, func() bool {
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
func killTrainer(t *testing.T, run *process) {
	t.Helper()
	pid := trainer(t, run)
	require.NotZero(t, pid, "the run has no trainer child")
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}

// trainer is the process id of a trainer child; 0 where there is none.
func trainer(t *testing.T, run *process) int {
	t.Helper()
	for _, pid := range children(t, run.cmd.Process.Pid) {
		if command, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); err == nil && strings.HasSuffix(string(command), "\x00trainer\x00") {
			return pid
		}
	}
	return 0
}

// killEverything kills the process; its children must go with it.
func killEverything(t *testing.T, run *process) {
	t.Helper()
	orphans := children(t, run.cmd.Process.Pid)
	require.NotEmpty(t, orphans)
	run.signal(syscall.SIGKILL)
	require.Equal(t, -1, run.wait())
	// Not while run: it has ended, and its children take a moment longer.
	eventually(t, "the children's end", nil, func() bool {
		for _, pid := range orphans {
			if alive(pid) {
				return false
			}
		}
		return true
	})
}

// alive says whether a process exists and is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

// children are the process ids started by any thread of pid.
func children(t *testing.T, pid int) []int {
	t.Helper()
	lists, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	require.NoError(t, err)
	var pids []int
	for _, list := range lists {
		raw, err := os.ReadFile(list)
		if err != nil {
			continue // the thread is gone
		}
		for _, field := range strings.Fields(string(raw)) {
			child, err := strconv.Atoi(field)
			require.NoError(t, err)
			pids = append(pids, child)
		}
	}
	return pids
}
