package activities

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"distilvit/dataset"
	"distilvit/model/trainer"
	"distilvit/storage/layout"
)

// fetchLimit is how many shards are fetched at once.
const fetchLimit = 4

// fetching lets training begin before all shards are here: it brings them into the local cache in the
// background. They stay there until end.
type fetching struct {
	a      *Activities
	cancel context.CancelFunc
	there  chan trainer.ShardArgs // each shard that is there; closed when none will come
	over   chan struct{}          // closed just before there
	err    error                  // why not all came; valid once over is closed

	mu   sync.Mutex
	held []layout.Object
}

// fetch starts a fetching of the shards whose indexes order lists, in that order.
func (a *Activities) fetch(ctx context.Context, shards []shardObjects, order []int) *fetching {
	ctx, cancel := context.WithCancel(ctx)
	f := &fetching{
		a: a, cancel: cancel, there: make(chan trainer.ShardArgs, len(order)), over: make(chan struct{}),
	}
	go func() {
		defer close(f.there)
		defer close(f.over)
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(fetchLimit)
		for _, i := range order {
			g.Go(func() error {
				pair, err := f.pair(ctx, shards[i])
				if err == nil {
					f.there <- trainer.ShardArgs{Index: i, Pair: pair}
				}
				return err
			})
		}
		f.err = g.Wait()
	}()
	return f
}

// wait waits until all shards are there, or one cannot be had.
func (f *fetching) wait() error {
	<-f.over
	return f.err
}

// pair is a shard with its files.
func (f *fetching) pair(ctx context.Context, s shardObjects) (pair dataset.ShardPair, err error) {
	pair = s.pair
	if s.features.Key != "" {
		if pair.Features, err = f.path(ctx, s.features); err != nil {
			return pair, err
		}
	}
	if s.features.Key == "" || s.references {
		if pair.Pixels, err = f.path(ctx, s.pixels); err != nil {
			return pair, err
		}
	}
	if pair.Tokens, err = f.path(ctx, s.tokens); err == nil && s.teacher.Key != "" {
		pair.Teacher, err = f.path(ctx, s.teacher)
	}
	return pair, err
}

func (f *fetching) path(ctx context.Context, o layout.Object) (string, error) {
	path, err := f.a.Cache.Path(ctx, f.a.Store, o)
	if err == nil {
		f.mu.Lock()
		f.held = append(f.held, o)
		f.mu.Unlock()
	}
	return path, err
}

// end stops what is still under way and lets go of the files. Once is enough.
func (f *fetching) end() {
	f.cancel()
	for range f.there { // until nothing is under way
	}
	for _, o := range f.held {
		f.a.Cache.Release(o)
	}
	f.held = nil
}
