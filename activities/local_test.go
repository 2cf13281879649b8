package activities

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"distilvit/artifact"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// killTrainer kills the run's trainer and waits for its end.
func (b *bench) killTrainer(run string) {
	b.Helper()
	check(b.T, syscall.Kill(b.Pool.PID(run), syscall.SIGKILL))
	for b.Pool.PID(run) != 0 {
		runtime.Gosched()
	}
}

// A fresh trainer starts from the checkpoint on this machine, even while the
// object store's is gone; a damaged copy is not used.
func TestFreshTrainerTakesTheLocalCheckpointIfItIsWhole(t *testing.T) {
	b := newBench(t)
	w, _ := b.work("local", slowConfig())
	first := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	m, err := artifact.ReadCheckpoint(t.Context(), b.Store, first.Checkpoint.Manifest)
	check(t, err)

	if dir := t.TempDir(); !b.local(m, dir) {
		t.Fatal("no local copy of the epoch's end")
	}
	b.killTrainer(w.Run)
	kept := filepath.Join(t.TempDir(), "weights")
	check(t, b.Store.Fetch(t.Context(), m.Files[weightsFile], kept))
	check(t, b.Store.Remove(t.Context(), m.Files[weightsFile].Key))
	_, err = try[pipeline.EvaluateResult](b, b.Evaluate, pipeline.EvaluateInput{
		Work: w, Split: pipeline.SplitValidation, Checkpoint: first.Checkpoint,
		Evaluate: slowConfig().Evaluate,
	})
	check(t, err)

	b.killTrainer(w.Run)
	file := filepath.Join(b.localDir(w.Run), weightsFile)
	raw, err := os.ReadFile(file)
	check(t, err)
	raw[len(raw)-1] ^= 1
	check(t, os.WriteFile(file, raw, 0o644))
	if b.local(m, t.TempDir()) {
		t.Error("a copy with a flipped bit is used")
	}
	_, err = b.Store.PutBlob(t.Context(), layout.Run(w.Run).Blobs(), "", kept)
	check(t, err)
	second := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{
		Work: w, Epoch: 1, From: &first.Checkpoint,
	})
	if second.Checkpoint.Epoch != 2 {
		t.Errorf("%+v", second)
	}
	check(t, b.CloseTrainer(t.Context(), w))
	if _, err := os.Stat(b.localDir(w.Run)); !os.IsNotExist(err) {
		t.Errorf("the ended run's local checkpoint is still there: %v", err)
	}
}
