package activities

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// open hands out the run's trainer, warm where it can be.
func (a *Activities) open(ctx context.Context, p *pulse, w pipeline.Work) (*trainer.Lease, error) {
	dir, err := a.modelDir(ctx, w.Model, true)
	if err != nil {
		return nil, err
	}
	choice, err := a.choose(w.Backend)
	if err != nil {
		return nil, a.elsewhere(ctx, pipeline.DeviceQueue, err)
	}
	choice = choice.Computing(w.Train.Precision == pipeline.PrecisionTF32, w.Train.Deterministic)
	return a.Pool.Open(ctx, w.Run, trainer.OpenArgs{
		ModelDir: dir, Backend: choice, Seed: w.Seed, Train: optimisation(w),
		Augment: augment(w.Train.Augment),
	}, func(e trainer.Event) { p.follow(e) })
}

// choose finds a run's backend on this machine.
func (a *Activities) choose(kind string) (backend.Choice, error) {
	o := a.Backend
	o.Kind = kind
	c, err := backend.Choose(o)
	if err != nil {
		return c, &typed{pipeline.InvalidInput, err}
	}
	return c, nil
}

// follow shows the trainer's events in the heartbeat.
func (p *pulse) follow(e trainer.Event) {
	p.set(func(b *pipeline.Heartbeat) {
		switch e.Event {
		case trainer.EventPhase:
			b.Phase, b.Message = e.Phase, e.Message
		case trainer.EventProgress:
			b.Phase, b.Message, b.Done, b.Total = e.Phase, e.Message, e.Done, e.Total
		case trainer.EventStep:
			s := e.Step
			b.Phase, b.Message = trainer.PhaseTrain, ""
			b.Step, b.Done, b.Total = s.Step, s.EpochStep, s.EpochSteps
			b.Loss, b.Rate, b.Waited = s.MeanLoss, s.Rate, s.Waited
		}
	})
}

// shardObjects are a stored shard and its tokens.
type shardObjects struct {
	index          int // of the dataset's shard
	pixels, tokens layout.Object
	features       layout.Object     // zero: pixels are needed
	references     bool              // captions are needed, too, which stand beside pixels
	teacher        layout.Object     // what a teacher says; zero: nothing
	pair           dataset.ShardPair // without files
}

// shards lists what a split consists of.
func (a *Activities) shards(ctx context.Context, w pipeline.Work, split string) ([]shardObjects, error) {
	pairs, err := artifact.Pairs(ctx, a.Store, w.Dataset.Manifest, w.Tokens.Manifest, split)
	if err != nil {
		return nil, err
	}
	var shards []shardObjects
	for _, p := range pairs {
		pair := dataset.ShardPair{Rows: p.Pictures.Rows, Weight: weight(w.Dataset.Weights, p.Pictures)}
		shards = append(shards, shardObjects{
			index: p.Pictures.Index, pixels: p.Pictures.Object, tokens: p.Tokens.Object, pair: pair,
		})
	}
	if len(shards) == 0 {
		return nil, invalid("dataset %s has no %s pictures", w.Dataset.Manifest, split)
	}
	return shards, nil
}

// pairs fetches a split's shards with their tokens into the local cache, where
// they stay until release is called.
func (a *Activities) pairs(
	ctx context.Context, p *pulse, w pipeline.Work, split string,
) (pairs []dataset.ShardPair, release func(), err error) {
	shards, err := a.shards(ctx, w, split)
	if err != nil {
		return nil, nil, err
	}
	return a.fetched(ctx, p, shards, split)
}

// fetched is pairs of given shards.
func (a *Activities) fetched(
	ctx context.Context, p *pulse, shards []shardObjects, split string,
) (pairs []dataset.ShardPair, release func(), err error) {
	order := make([]int, len(shards))
	for i := range order {
		order[i] = i
	}
	p.progress("fetch", 0, int64(len(shards)), split)
	f := a.fetch(ctx, shards, order)
	pairs = make([]dataset.ShardPair, len(shards))
	for s := range f.there {
		pairs[s.Index] = s.Pair
		p.set(func(b *pipeline.Heartbeat) { b.Done++ })
	}
	if f.err != nil {
		f.end()
		return nil, nil, f.err
	}
	return pairs, f.end, nil
}

// state is a checkpoint as the trainer takes it; its files are fetched unless
// the trainer holds it already or this machine has a copy.
func (a *Activities) state(
	ctx context.Context, p *pulse, t *trainer.Lease, m record.CheckpointManifest, dir string,
) (trainer.State, error) {
	s := trainer.State{Branch: m.Branch, Step: m.Step}
	if t.Holds(m.Branch, m.Step) {
		return s, nil
	}
	s.Dir = filepath.Join(dir, fmt.Sprintf("from-%d-%d", m.Branch, m.Step))
	if a.local(m, s.Dir) {
		return s, nil
	}
	p.progress("fetch", 0, 0, "checkpoint of step "+strconv.FormatInt(m.Step, 10))
	return s, artifact.Fetch(ctx, a.Store, m.Files, s.Dir)
}

// differences lists the entries in which two fingerprints differ, but for those left out.
func differences(was, is map[string]string, but ...string) []string {
	var out []string
	for _, k := range slices.Compact(slices.Sorted(func(yield func(string) bool) {
		for _, m := range []map[string]string{was, is} {
			for k := range m {
				if !yield(k) {
					return
				}
			}
		}
	})) {
		if was[k] != is[k] && !slices.Contains(but, k) {
			out = append(out, fmt.Sprintf("%s %q, now %q", k, was[k], is[k]))
		}
	}
	return out
}
