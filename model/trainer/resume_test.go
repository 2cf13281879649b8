package trainer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/model"
	"distilvit/model/train"
)

// lab trains one small model in children that may be killed.
type lab struct {
	*testing.T
	pool  *Pool
	open  OpenArgs
	shard dataset.ShardPair
	dir   string
}

func newLab(t *testing.T, choice backend.Choice) *lab {
	t.Helper()
	l := &lab{T: t, dir: t.TempDir()}
	l.shard, l.open.ModelDir = testShards(t)
	l.open.Backend, l.open.Seed = choice, 7
	l.open.Train = train.Config{
		BatchSize: 8, MicroBatchSize: 4, CaptionsPerPicture: 2, MaxLength: testLength, LearningRate: 1e-3,
		WeightDecay: 0.01,
		Beta1:       0.9, Beta2: 0.999, Epsilon: 1e-8, MaxGradNorm: 1, Dropout: 0.1, WarmupSteps: 2,
		TotalSteps: 16, Seed: 7,
	}
	if choice.Kind != backend.Go {
		l.open.Train.MicroBatchSize = 8 // one graph to compile, not two
	}
	l.open.Augment = dataset.Augment{Shift: 0.1, Color: 0.1}
	l.pool = NewPool(Options{Exe: testExe(t), Environ: os.Environ(), LogDir: l.dir})
	t.Cleanup(l.pool.Close)
	return l
}

// lease opens the run's child.
func (l *lab) lease(run string) *Lease {
	l.Helper()
	p, err := l.pool.Open(l.Context(), run, l.open, nothing)
	check(l.T, err)
	return p
}

// epoch trains one to its end and answers the last checkpoint.
func (l *lab) epoch(p *Lease, epoch int, from State, out string) Checkpoint {
	l.Helper()
	var last Checkpoint
	_, err := p.Do(l.Context(), l.train(epoch, from, out), func(e Event) {
		if e.Event == EventCheckpoint {
			last = *e.Saved
		}
	})
	check(l.T, err)
	return last
}

func (l *lab) train(epoch int, from State, out string) Command {
	out = filepath.Join(l.dir, out)
	check(l.T, os.MkdirAll(out, 0o755))
	return Command{Do: DoTrain, Train: &TrainArgs{
		Epoch: epoch, Branch: 1, From: from, Shards: []dataset.ShardPair{l.shard}, OutDir: out,
		CheckpointSteps: 1,
	}}
}

func state(c Checkpoint) State { return State{Branch: 1, Step: c.State.Step, Dir: c.Dir} }

// digests are those of a checkpoint's files.
func digests(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	out := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		check(t, err)
		sum := sha256.Sum256(b)
		out[e.Name()] = hex.EncodeToString(sum[:])
	}
	return out
}

func same(t *testing.T, what string, want, got Checkpoint) {
	t.Helper()
	if !maps.Equal(digests(t, want.Dir), digests(t, got.Dir)) {
		t.Errorf("%s: checkpoint of step %d is %v, undisturbed %v", what, got.State.Step, digests(t, got.Dir),
			digests(t, want.Dir))
	}
}

// adapted makes the lab train adapters of given weights, the decoder's cross-attention beside them whole.
func (l *lab) adapted() {
	l.Helper()
	c, err := model.ReadConfig(l.open.ModelDir)
	check(l.T, err)
	check(l.T, model.WriteWeights(filepath.Join(l.open.ModelDir, "model.safetensors"), model.Init(c, 3), nil))
	trained := false
	l.open.Train.Parts = []train.Part{{Match: "decoder.cross_attention", Freeze: &trained}}
	l.open.Train.LoRA = &model.LoRA{R: 4, Alpha: 16, Dropout: 0.1, TargetModules: []string{"all-linear"}}
}

// exported are the weights that an export of a checkpoint of adapters writes; the adapter it writes gives the same.
func (l *lab) exported(c Checkpoint) model.Weights {
	l.Helper()
	a := ExportArgs{
		ModelDir: l.open.ModelDir, Checkpoint: c.Dir, Frozen: c.State.Frozen, OutDir: l.TempDir(),
		LoRA: &Adapter{LoRA: *l.open.Train.LoRA},
	}
	n, _, err := readNetwork(a)
	check(l.T, err)
	files, err := n.writeAdapter(a)
	check(l.T, err)
	if !slices.Equal(files, []string{"adapter/adapter_config.json", "adapter/adapter_model.safetensors"}) {
		l.Errorf("the adapter is %v", files)
	}
	lora, adapter, err := model.ReadAdapter(filepath.Join(a.OutDir, AdapterDir), n.config)
	check(l.T, err)
	base, err := model.ReadWeights(a.ModelDir, n.config)
	check(l.T, err)
	maps.Copy(base, adapter)
	merged := lora.Merge(n.config, base)
	for name, x := range n.weights {
		if !slices.Equal(merged[name].Data, x.Data) {
			l.Errorf("%s of the adapter is another one", name)
		}
	}
	return n.weights
}

// What a trainer captions with are the weights that an export of the same checkpoint writes.
func TestAdaptersAreMergedAsTheyAreExported(t *testing.T) {
	l := newLab(t, backends(t)[0])
	l.adapted()
	p := l.lease("run")
	end := l.epoch(p, 0, State{}, "run")
	captions := l.evaluate(p, state(end))
	p.Release()
	w := l.exported(end)
	whole := newLab(t, backends(t)[0])
	whole.shard = l.shard
	whole.open.ModelDir = l.open.ModelDir
	check(t, model.WriteWeights(filepath.Join(l.open.ModelDir, "model.safetensors"), w, nil))
	p = whole.lease("merged")
	defer p.Release()
	if got := whole.evaluate(p, State{}); got != captions {
		t.Error("captions of the exported weights differ")
	}
}

func TestTrainerResumesBitExactAfterKill(t *testing.T) {
	type run struct {
		choice   backend.Choice
		adapters bool
	}
	var runs []run
	for _, choice := range backends(t) {
		runs = append(runs, run{choice, false})
	}
	for _, r := range append(runs, run{runs[len(runs)-1].choice, true}) {
		name := r.choice.Kind
		if r.adapters {
			name += " adapters"
		}
		t.Run(name, func(t *testing.T) {
			l := newLab(t, r.choice)
			if r.adapters {
				l.adapted()
			}
			// Killed in the middle of an epoch, once its first checkpoint stands.
			p := l.lease("run")
			var saved Checkpoint
			_, err := p.Do(t.Context(), l.train(0, State{}, "killed"), func(e Event) {
				if e.Event == EventCheckpoint && saved.Dir == "" {
					saved = *e.Saved
					syscall.Kill(p.PID(), syscall.SIGKILL)
				}
			})
			wantKind(t, err, DeviceLost, "signal killed")
			p.Release()
			if saved.State.Step != 1 || saved.State.EpochStep != 1 {
				t.Fatalf("killed at %+v", saved.State)
			}

			p = l.lease("run")
			first := l.epoch(p, 0, state(saved), "resumed")
			second := l.epoch(p, 1, state(first), "resumed")
			if second.State.Step != 16 || second.State.Epoch != 2 || second.State.EpochStep != 0 {
				t.Fatalf("end is %+v", second.State)
			}
			if names := slices.Sorted(maps.Keys(digests(t, second.Dir))); !slices.Contains(names,
				MetricsFile) || len(names) != 4 {
				t.Errorf("a checkpoint holds %v", names)
			}

			undisturbed := l.epoch(p, 0, State{}, "undisturbed")
			same(t, "after kill -9", undisturbed, first)
			same(t, "after kill -9, second epoch", l.epoch(p, 1, state(undisturbed), "undisturbed"), second)
			p.Release()
		})
	}
}

// A stop in mid-epoch, an evaluation between and another checkpoint loaded into
// a warm child change no bit either.
func TestWarmTrainerGoesOnBitExact(t *testing.T) {
	l := newLab(t, backends(t)[0])
	p := l.lease("undisturbed")
	first := l.epoch(p, 0, State{}, "undisturbed")
	want := l.epoch(p, 1, state(first), "undisturbed")
	captions := l.evaluate(p, state(want))
	p.Release()
	l.pool.CloseRun("undisturbed")

	p = l.lease("warm")
	got := l.epoch(p, 0, State{}, "warm")
	var saved Checkpoint
	ended := errors.New("asked to stop")
	e, err := stopped(l, p, l.train(1, state(got), "warm"), ended, &saved)
	if !errors.Is(err, ended) || e.Trained == nil || !e.Trained.Stopped {
		t.Fatalf("%v, %v", e, err)
	}
	at := State{Branch: 1, Step: saved.State.Step} // no Dir: the child must hold it
	l.evaluate(p, at)
	same(t, "stopped and gone on", want, l.epoch(p, 1, at, "warm"))
	if again := l.evaluate(p, State{Branch: 1, Step: 16}); again != captions {
		t.Errorf("captions of the same weights differ: %s, %s", again, captions)
	}
	same(t, "gone back to an epoch's end", want, l.epoch(p, 1, state(got), "back"))
	p.Release()
	if other := l.lease("warm"); other.Process != p.Process {
		t.Error("the warm child was not used again")
	}
}

// An epoch that is cut short ends as a whole one does, and the next one begins.
func TestShortEpochEndsAsAWholeOne(t *testing.T) {
	l := newLab(t, backends(t)[0])
	p := l.lease("run")
	defer p.Release()
	c := l.train(0, State{}, "short")
	c.Train.Steps = 3
	var end Checkpoint
	done, err := p.Do(t.Context(), c, func(e Event) {
		if e.Event == EventCheckpoint {
			end = *e.Saved
		}
	})
	check(t, err)
	if s := end.State; s.Step != 3 || s.Epoch != 1 || s.EpochStep != 0 || done.Trained.Stopped {
		t.Fatalf("end is %+v, %+v", s, done.Trained)
	}
	if next := l.epoch(p, 1, state(end), "next"); next.State.Step != 11 || next.State.Epoch != 2 {
		t.Errorf("the next one ends at %+v", next.State)
	}
}

// An epoch in parts, with evaluations between, is the epoch.
func TestEpochInPartsIsTheEpoch(t *testing.T) {
	l := newLab(t, backends(t)[0])
	p := l.lease("run")
	defer p.Release()
	part := func(from State, until int64) Checkpoint {
		c, end := l.train(0, from, "parts"), Checkpoint{}
		c.Train.Until, c.Train.CheckpointSteps = until, 0
		done, err := p.Do(t.Context(), c, func(e Event) {
			if e.Event == EventCheckpoint {
				end = *e.Saved
			}
		})
		check(t, err)
		if done.Trained.Stopped {
			t.Errorf("stopped at %+v", end.State)
		}
		return end
	}
	first := part(State{}, 3)
	if s := first.State; s.Step != 3 || s.Epoch != 0 || s.EpochStep != 3 {
		t.Fatalf("the first part ends at %+v", s)
	}
	l.evaluate(p, State{Branch: 1, Step: 3})
	end := part(State{Branch: 1, Step: 3}, 0)
	if s := end.State; s.Step != 8 || s.Epoch != 1 || s.EpochStep != 0 {
		t.Fatalf("the second part ends at %+v", s)
	}
	same(t, "in parts", l.epoch(p, 0, State{}, "whole"), end)
}

// stopped asks to stop before the first step has ended.
func stopped(l *lab, p *Lease, c Command, why error, saved *Checkpoint) (Event, error) {
	ctx, cancel := context.WithCancelCause(l.Context())
	cancel(why)
	return p.Do(ctx, c, func(e Event) {
		if e.Event == EventCheckpoint {
			*saved = *e.Saved
		}
	})
}

// evaluate answers the digest of the predictions.
func (l *lab) evaluate(p *Lease, from State) string {
	l.Helper()
	out := filepath.Join(l.dir, "predictions.jsonl")
	e, err := p.Do(l.Context(), Command{Do: DoEvaluate, Evaluate: &EvaluateArgs{
		From: from, Shards: []dataset.ShardPair{l.shard}, BatchSize: 8,
		Generate: model.GenerateOptions{MaxLength: testLength}, Limit: 12, Out: out,
	}}, nothing)
	check(l.T, err)
	if e.Evaluated.Pictures != 12 || e.Evaluated.Tokens < 100 || !(e.Evaluated.LossSum > 0) {
		l.Fatalf("evaluation %+v", *e.Evaluated)
	}
	b, err := os.ReadFile(out)
	check(l.T, err)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
