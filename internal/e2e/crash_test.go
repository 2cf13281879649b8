package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
	"distilvit/track"
)

// crashSteps are the steps of an epoch of crashConfig: 960 pictures, 16 a step.
const crashSteps = 60

// crashConfig has epochs long enough to be disturbed between two checkpoints, of a network of one
// layer: with XLA each new trainer compiles its graphs again.
func crashConfig() map[string]any {
	return tinyConfig(map[string]any{
		"dataset": []any{map[string]any{"kind": "shapes", "shapes": map[string]any{
			"train": 960, "validation": 16, "test": 16, "max_objects": 2, "image_size": 32,
		}}},
		"model": map[string]any{"hidden_size": 64, "encoder_layer": 1, "decoder_layer": 1},
		"track": map[string]any{"tensorboard": true},
		"train": map[string]any{
			"epochs": 3, "checkpoint_steps": 7, "micro_batch_size": 8,
			"augment": map[string]any{"shift": 0.1, "color": 0.1},
		},
	})
}

// A run whose trainer, and then whose whole process, is killed in mid-epoch, and
// that is then interrupted by Ctrl-C, ends with the weights of an undisturbed run.
func TestKilledRunEndsBitIdentical(t *testing.T) {
	config := writeConfig(t, t.TempDir(), crashConfig())
	undisturbed := trainUndisturbed(t, config, "crash")

	data := filepath.Join(t.TempDir(), "data")
	args := []string{"run", "-f", config, "--id", "crash", "--data", data, "-o", "json"}

	run := start(t, nil, args...)
	awaitCheckpoint(t, run, data, "crash", 1, crashSteps)
	killTrainer(t, run)
	awaitCheckpoint(t, run, data, "crash", crashSteps+1, crashSteps)
	killEverything(t, run)

	run = start(t, nil, args...)
	awaitCheckpoint(t, run, data, "crash", 2*crashSteps+1, crashSteps)
	run.Signal(syscall.SIGINT)
	require.Equal(t, 1, run.Wait())
	require.Contains(t, run.Stderr.String(), "the same command goes on")

	again := distilvit(t, args...)
	require.Zero(t, again.code, again.stderr)
	require.Equal(t, undisturbed, weightsDigest(t, data, "crash"))

	curve, err := track.ReadEventFile(
		filepath.Join(data, "tensorboard", "crash", "events.out.tfevents.0000000001.distilvit"))
	require.NoError(t, err)
	var all []int64
	for step := range int64(3 * crashSteps) {
		all = append(all, step+1)
	}
	require.Equal(t, all, stepsOf(curve, "train/loss"), "TensorBoard's live file")
	require.Equal(t, []int64{crashSteps, 2 * crashSteps, 3 * crashSteps}, stepsOf(curve, "eval/loss"))
}

// Adapters go on bit for bit, too, and so does training on a frozen encoder's features in the place of pixels: the trainer
// is killed while it encodes and in the first epoch, the whole process in the second.
func TestKilledRunOfAdaptersEndsBitIdentical(t *testing.T) {
	weights, _, _ := publishedModel(t)
	for name, train := range map[string]map[string]any{
		"pixels": {"lora": map[string]any{"r": 4, "lora_dropout": 0.1, "target_modules": "all-linear"}},
		"features": {
			"lora":     map[string]any{"r": 4, "lora_dropout": 0.1, "target_modules": []string{"decoder"}},
			"features": "float32", "feature_views": 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := crashConfig()
			config["backend"], config["model"] = "go", map[string]any{"weights": weights}
			maps.Copy(config["train"].(map[string]any), train)
			config["train"].(map[string]any)["epochs"] = 2
			config["export"].(map[string]any)["dtypes"] = []string{"fp32"}
			file, id := writeConfig(t, t.TempDir(), config), "adapters-on-"+name
			undisturbed := trainUndisturbed(t, file, id)

			data := filepath.Join(t.TempDir(), "data")
			args := []string{"run", "-f", file, "--id", id, "--data", data, "-o", "json"}
			run := start(t, nil, args...)
			if name == "features" {
				awaitActivity(t, run, data, id, "EncodeShard")
				run.Await("a trainer that encodes", func() bool { return len(run.Trainers()) > 0 })
				killTrainer(t, run)
			}
			awaitCheckpoint(t, run, data, id, 1, crashSteps)
			killTrainer(t, run)
			awaitCheckpoint(t, run, data, id, crashSteps+1, crashSteps)
			killEverything(t, run)
			succeed(t, args...)
			require.Equal(t, undisturbed, weightsDigest(t, data, id))
		})
	}
}

func trainUndisturbed(t *testing.T, config, id string) string {
	t.Helper()
	data, _ := sharedStack(t)
	succeed(t, "run", "-f", config, "--id", id, "--data", data, "-o", "json")
	return weightsDigest(t, data, id)
}

// weightsDigest is the SHA-256 of a run's published weights.
func weightsDigest(t *testing.T, data, run string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	succeed(t, "get", run, dir, "--data", data)
	return fileDigest(t, filepath.Join(dir, "model.safetensors"))
}

// fileDigest is the SHA-256 of a file.
func fileDigest(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	digest := sha256.Sum256(raw)
	return hex.EncodeToString(digest[:])
}

// awaitCheckpoint waits for a checkpoint of step least or later well within its epoch, so that what is done
// next strikes within an epoch, and returns the number of that epoch. A test that came too late for one takes the next.
func awaitCheckpoint(t *testing.T, run *testenv.Process, data, id string, least, epochSteps int) (epoch int) {
	t.Helper()
	run.Await("a checkpoint of step "+strconv.Itoa(least)+" or later, within an epoch", func() bool {
		newest := newestCheckpoint(data, id)
		epoch = newest/epochSteps + 1
		return newest >= least && newest%epochSteps > 0 && 4*(newest%epochSteps) <= 3*epochSteps
	})
	return epoch
}

// newestCheckpoint is the highest step of a run with a manifest in the object store's files.
func newestCheckpoint(data, id string) int {
	step, _ := newestManifest(data, id)
	return step
}

// newestManifest is that step and its manifest's path.
func newestManifest(data, id string) (newest int, file string) {
	all, _ := filepath.Glob(
		filepath.Join(data, "*", "objects", "distilvit", "runs", id, "checkpoints", "*", "*", "manifest.json"),
	)
	for _, path := range all {
		if step, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && step > newest {
			newest, file = step, path
		}
	}
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
