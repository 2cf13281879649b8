package trainer

import (
	"context"
	"errors"
	"slices"
	"sync"

	"distilvit/dataset"
)

// arrivals are the shards of a train command, some of which come while it runs.
type arrivals struct {
	mu      sync.Mutex
	pairs   []dataset.ShardPair
	there   []chan struct{} // by shard, closed once its files are there
	left    int             // shards that are to come
	stopped chan struct{}   // closed when nobody waits any more
}

// errStopped is what a wait ends with once the epoch is to be stopped.
var errStopped = errors.New("stopped while waiting for a shard")

// newArrivals takes a command's shards, of which those with names are there.
func newArrivals(pairs []dataset.ShardPair) *arrivals {
	a := &arrivals{
		pairs: slices.Clone(pairs), left: len(pairs), there: make([]chan struct{}, len(pairs)),
		stopped: make(chan struct{}),
	}
	for i, pair := range pairs {
		a.there[i] = make(chan struct{})
		if pair.Tokens != "" {
			a.add(ShardArgs{Index: i, Pair: pair})
		}
	}
	return a
}

// add says where a shard is; once is enough.
func (a *arrivals) add(s ShardArgs) {
	if a == nil || s.Index < 0 || s.Index >= len(a.pairs) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if closed(a.there[s.Index]) {
		return
	}
	a.pairs[s.Index] = s.Pair
	a.left--
	close(a.there[s.Index])
}

// stop ends all waits.
func (a *arrivals) stop() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !closed(a.stopped) {
		close(a.stopped)
	}
}

// missing is how many shards are to come.
func (a *arrivals) missing() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.left
}

// await is the loader's: it answers where a shard is once it is there.
func (a *arrivals) await(ctx context.Context, shard int) (dataset.ShardPair, error) {
	if !closed(a.there[shard]) {
		select {
		case <-a.there[shard]:
		case <-a.stopped:
			return dataset.ShardPair{}, errStopped
		case <-ctx.Done():
			return dataset.ShardPair{}, ctx.Err()
		}
	}
	return a.pairs[shard], nil // written before the channel was closed
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
