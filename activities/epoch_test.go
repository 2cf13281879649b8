package activities

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.temporal.io/sdk/temporal"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// slowConfig trains one picture a step and saves each: time enough to interfere.
func slowConfig() pipeline.Config {
	c := tinyConfig()
	c.Train.BatchSize, c.Train.MicroBatchSize, c.Train.CheckpointSteps, c.Train.KeepCheckpoints = 1, 1, 1, 100
	c.Train.Epochs = 2
	return c
}

func wantType(t *testing.T, err error, kind, text string) {
	t.Helper()
	var e *temporal.ApplicationError
	if !errors.As(err, &e) || e.Type() != kind || !strings.Contains(e.Error(), text) {
		t.Fatalf("error %v, want type %s with %q", err, kind, text)
	}
}

// afterCheckpoint waits until the run has stored one, then acts.
func (b *bench) afterCheckpoint(run string, act func()) {
	go func() {
		for {
			points, err := b.checkpoints(run).List(b.Context(), 1)
			if err != nil {
				return
			}
			if len(points) > 0 {
				act()
				return
			}
			runtime.Gosched()
		}
	}()
}

// end is what a checkpoint consists of, by file.
func (b *bench) end(ref record.CheckpointRef) map[string]string {
	b.Helper()
	m, err := artifact.ReadCheckpoint(b.Context(), b.Store, ref.Manifest)
	check(b.T, err)
	out := map[string]string{}
	for name, o := range m.Files {
		out[name] = o.SHA256
	}
	return out
}

// A run with adapters that is extended on another machine, which has nothing of it, ends with the bytes of one whose trainer
// never stopped.
func TestAdaptersAreExtendedElsewhereBitExact(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	encoder, decoder := apart(t)
	c.Model = pipeline.ModelConfig{Encoder: encoder, Decoder: decoder}
	c.Train.LoRA = pipeline.LoRAConfig{R: 4, Alpha: 8, Dropout: 0.1, TargetModules: pipeline.Paths{"all-linear"}}
	c.Train.Parts = []pipeline.PartConfig{{Match: "decoder.cross_attention", Freeze: new(bool)}}
	w, _ := b.work("undivided", c.Resolve())
	extended := func(w pipeline.Work, b *bench, first pipeline.EpochResult) map[string]string {
		w.Branch, w.Extension = 2, &record.Extension{After: 1, Epochs: 1, Step: first.Checkpoint.Step}
		in := pipeline.EpochInput{Work: w, Epoch: 1, From: &first.Checkpoint}
		return b.end(do[pipeline.EpochResult](b, b.TrainEpoch, in).Checkpoint)
	}
	first := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	want := extended(w, b, first)
	check(t, b.CloseTrainer(t.Context(), w))
	w.Run = "divided"
	before := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	check(t, b.CloseTrainer(t.Context(), w))
	got := extended(w, b.elsewhere(), before)
	if !maps.Equal(want, got) || maps.Equal(want, b.end(first.Checkpoint)) {
		t.Errorf("extended elsewhere it ends with %v, undivided %v, not extended %v", got, want, b.end(first.Checkpoint))
	}
}

func TestEpochGoesOnBitExactAfterKillAndWorkerStop(t *testing.T) {
	b := newBench(t)
	c := slowConfig()
	w, _ := b.work("undisturbed", c)
	want := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	second := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{
		Work: w, Epoch: 1, From: &want.Checkpoint,
	})
	check(t, b.CloseTrainer(t.Context(), w))

	w.Run = "disturbed"
	b.afterCheckpoint(w.Run, func() { syscall.Kill(b.Pool.PID(w.Run), syscall.SIGKILL) })
	_, err := try[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	wantType(t, err, pipeline.DeviceLost, "signal killed")
	killedAt, err := b.checkpoints(w.Run).Newest(t.Context(), 1)
	check(t, err)
	if killedAt == nil || killedAt.Step >= want.Checkpoint.Step {
		t.Fatalf("killed at %v", killedAt)
	}
	got := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	if !maps.Equal(b.end(want.Checkpoint), b.end(got.Checkpoint)) || want.Loss != got.Loss {
		t.Errorf("after kill -9 epoch 1 ends with %v (loss %v), undisturbed %v (loss %v)",
			b.end(got.Checkpoint), got.Loss, b.end(want.Checkpoint), want.Loss)
	}

	// The worker stops in good order in the second epoch, another machine goes on.
	stop := make(chan struct{})
	b.env.SetWorkerStopChannel(stop)
	go func() {
		for { // until there is a newer one
			newest, err := b.checkpoints(w.Run).Newest(t.Context(), 1)
			if err != nil || newest.Step > got.Checkpoint.Step {
				break
			}
			runtime.Gosched()
		}
		close(stop)
	}()
	_, err = try[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{
		Work: w, Epoch: 1, From: &got.Checkpoint,
	})
	wantType(t, err, pipeline.Interrupted, "the worker is stopping")
	stopped, err := b.checkpoints(w.Run).Newest(t.Context(), 1)
	check(t, err)
	if stopped.Step <= got.Checkpoint.Step || stopped.Step >= second.Checkpoint.Step {
		t.Fatalf("stopped at %v", stopped)
	}
	other := &bench{T: t, s3: b.s3, Activities: newWorker(t, b.s3)}
	other.register()
	again := do[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{
		Work: w, Epoch: 1, From: &got.Checkpoint,
	})
	if !maps.Equal(b.end(second.Checkpoint), b.end(again.Checkpoint)) || second.Loss != again.Loss {
		t.Errorf("after the stop epoch 2 ends with %v, undisturbed %v",
			b.end(again.Checkpoint), b.end(second.Checkpoint))
	}
	if kept := b.keys("runs/disturbed/metrics/"); !slices.Equal(kept, []string{"0001-000001.jsonl", "0001-000002.jsonl"}) {
		t.Errorf("metrics kept: %v", kept)
	}
}

// A part of an epoch ends where it is told to, is found when it is asked for again, and the next one goes on.
func TestEpochInPartsEndsAsTheWholeOne(t *testing.T) {
	b := newBench(t)
	c := slowConfig()
	w, _ := b.work("whole", c)
	whole := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	check(t, b.CloseTrainer(t.Context(), w))

	w.Run = "parts"
	half := whole.Checkpoint.Step / 2
	first := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w, Until: half})
	if r := first.Checkpoint; r.Epoch != 0 || r.EpochStep != half || r.Step != half {
		t.Fatalf("the first part ends at %+v", r)
	}
	again := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w, Until: half})
	if again.Checkpoint != first.Checkpoint {
		t.Errorf("asked again it ends at %+v", again.Checkpoint)
	}
	rest := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	if !maps.Equal(b.end(whole.Checkpoint), b.end(rest.Checkpoint)) || whole.Loss != rest.Loss {
		t.Errorf("in parts it ends with %v, whole %v", b.end(rest.Checkpoint), b.end(whole.Checkpoint))
	}
	// What lies behind the end that is asked for is passed over.
	earlier := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w, Until: half - 1})
	if earlier.Checkpoint.Step != half-1 {
		t.Errorf("ends at %+v", earlier.Checkpoint)
	}
}

func TestBranchStartsFromItsCheckpointAndOldOnesArePruned(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	c.Train.Epochs, c.Train.KeepCheckpoints, c.Train.CheckpointSteps = 2, 2, 0
	w, _ := b.work("run", c)
	first := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	second := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w, Epoch: 1})

	w.Branch, w.Train.MicroBatchSize = 2, 4
	third := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{
		Work: w, Epoch: 1, From: &first.Checkpoint, Best: &second.Checkpoint,
	})
	w.Branch = 3
	fourth := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{
		Work: w, Epoch: 1, From: &first.Checkpoint,
	})
	if !maps.Equal(b.end(third.Checkpoint), b.end(fourth.Checkpoint)) {
		t.Errorf("the same epoch in two branches ends with %v and %v",
			b.end(third.Checkpoint), b.end(fourth.Checkpoint))
	}
	want := []string{"1/5/manifest.json", "2/10/manifest.json", "3/10/manifest.json"}
	if kept := b.keys("runs/run/checkpoints/"); !slices.Equal(kept, want) {
		t.Errorf("checkpoints %v, want %v", kept, want)
	}
	used := map[string]bool{}
	for _, key := range want {
		m, err := artifact.ReadCheckpoint(t.Context(), b.Store, "runs/run/checkpoints/"+key)
		check(t, err)
		for _, o := range m.Files {
			used[strings.TrimPrefix(o.Key, "runs/run/blobs/")] = true
		}
	}
	if there := b.keys("runs/run/blobs/"); len(there) != len(used) {
		t.Errorf("%d blobs, %d are used", len(there), len(used))
	}
	newest := do[record.Progress](b, b.FindProgress, pipeline.FindProgressInput{Run: "run", Branch: 3}).Newest
	if newest == nil || *newest != fourth.Checkpoint {
		t.Errorf("newest of branch 3 is %v", newest)
	}
}

func TestTrainingGoesOnWhileTheObjectStoreIsAway(t *testing.T) {
	b := newBench(t)
	w, _ := b.work("run", slowConfig())
	restarted := make(chan struct{})
	b.afterCheckpoint("run", func() {
		b.s3.KillAndRestart(t)
		close(restarted)
	})
	end := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	<-restarted
	if newest, err := b.checkpoints("run").Newest(t.Context(), 1); err != nil || newest == nil ||
		*newest != end.Checkpoint || end.Checkpoint.Step != 40 {
		t.Errorf("ended at %v; stored %v, %v", end.Checkpoint, newest, err)
	}
}

func TestNewestEndOfAnEpochIsKept(t *testing.T) {
	b := newBench(t)
	put := func(step int64, epoch int, epochStep int64) {
		path := filepath.Join(t.TempDir(), "weights")
		check(t, os.WriteFile(path, fmt.Append(nil, step), 0o644))
		o, err := b.Store.PutBlob(t.Context(), layout.Run("run").Blobs(), "", path)
		check(t, err)
		check(t, b.Store.Publish(t.Context(), layout.Run("run").Checkpoint(1, step), record.CheckpointManifest{
			Run: "run", Branch: 1, State: record.State{Step: step, Epoch: epoch, EpochStep: epochStep},
			Files: map[string]layout.Object{"weights": o},
		}))
	}
	for _, p := range [][3]int64{{10, 1, 0}, {20, 2, 0}, {22, 2, 2}, {24, 2, 4}, {26, 2, 6}} {
		put(p[0], int(p[1]), p[2])
	}
	check(t, artifact.Checkpoints{Store: b.Store, Run: "run"}.Prune(t.Context(), 2))
	want := []string{"20/manifest.json", "24/manifest.json", "26/manifest.json"}
	if kept := b.keys("runs/run/checkpoints/1/"); !slices.Equal(kept, want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
	if n := len(b.keys("runs/run/blobs/")); n != 3 {
		t.Errorf("%d blobs are left", n)
	}
}

// An attempt that a machine goes on with after the run went on elsewhere does
// not know the best checkpoint found meanwhile.
func TestOutdatedAttemptDoesNotPruneTheBest(t *testing.T) {
	b := newBench(t)
	put := func(step int64, epoch int) record.CheckpointRef {
		m := record.CheckpointManifest{
			Run: "run", Branch: 1, State: record.State{Step: step, Epoch: epoch},
			Files: map[string]layout.Object{},
		}
		check(t, b.Store.Publish(t.Context(), layout.Run("run").Checkpoint(1, step), m))
		return m.Ref()
	}
	put(10, 1)
	best, last := put(20, 2), put(30, 3)
	put(40, 4)
	do[struct{}](b, b.RecordProgress, pipeline.RecordProgressInput{Run: "run", Progress: record.Progress{
		Branch: 1, Best: &record.Best{Epoch: 2, Checkpoint: best}, Last: &last,
		Epochs: make([]record.EpochRecord, 3),
	}})
	check(t, artifact.Checkpoints{Store: b.Store, Run: "run"}.Prune(t.Context(), 1))
	want := []string{"20/manifest.json", "30/manifest.json", "40/manifest.json"}
	if kept := b.keys("runs/run/checkpoints/1/"); !slices.Equal(kept, want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
}

func TestOtherNumericsAndOtherTrainingAreRefused(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	c.Train.Epochs = 2
	w, _ := b.work("run", c)
	first := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	m, err := artifact.ReadCheckpoint(t.Context(), b.Store, first.Checkpoint.Manifest)
	check(t, err)

	m.Run, m.Fingerprint = "elsewhere", map[string]string{"backend": "cuda"}
	check(t, b.Store.Publish(t.Context(), layout.Run("elsewhere").Checkpoint(1, m.Step), m))
	w.Run = "elsewhere"
	_, err = try[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w, Epoch: 1})
	wantType(t, err, pipeline.NumericsChanged, `backend "cuda", now "go"`)
	from := m.Ref()
	w.Branch = 2
	_, err = try[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w, Epoch: 1, From: &from})
	wantType(t, err, pipeline.NumericsChanged, "allow_numerics_change")
	w.Train.AllowNumericsChange = true
	do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w, Epoch: 1, From: &from})

	w.Train.LearningRate *= 2
	_, err = try[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w, Epoch: 1, From: &from})
	wantType(t, err, pipeline.InvalidInput, "another training")
}

func TestOtherBytesForOneStepAreNondeterministic(t *testing.T) {
	b := newBench(t)
	w, _ := b.work("run", tinyConfig())
	want, err := training(w)
	check(t, err)
	// A checkpoint that is not complete is passed over, but its place is taken.
	check(t, b.Store.Publish(t.Context(), layout.Run("run").Checkpoint(1, 2), record.CheckpointManifest{
		Version: 1, Run: "run", Branch: 1, State: record.State{Step: 2, EpochStep: 2}, Training: want,
		Files: map[string]layout.Object{"model.safetensors": {Key: "runs/run/blobs/none", Size: 1}},
	}))
	_, err = try[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	wantType(t, err, pipeline.Nondeterministic, "runs/run/checkpoints/1/2/manifest.json")
}

func TestDivergedTrainingNamesStepAndExamples(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	c.Train.LearningRate, c.Train.WarmupFraction, c.Train.MaxGradNorm = 1e30, 0, 0
	w, _ := b.work("run", c)
	_, err := try[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	wantType(t, err, pipeline.Diverged, "step 2")
	if b.Pool.PID("run") != 0 {
		t.Error("the trainer that diverged lives")
	}
}
