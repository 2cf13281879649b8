package trainer

import (
	"context"
	"errors"
	"slices"
	"testing"

	"distilvit/dataset"
)

func TestTrainerTakesShardsAsTheyComeAndLeavesInTimeWithoutThem(t *testing.T) {
	l := newLab(t, backends(t)[0])
	p := l.lease("run")
	want := l.epoch(p, 0, State{}, "all")

	nameless := []dataset.ShardPair{{Rows: l.shard.Rows}}
	c := l.train(0, State{}, "late")
	c.Train.Shards = nameless
	var got Checkpoint
	_, err := p.Do(t.Context(), c, func(e Event) {
		switch {
		case e.Event == EventCheckpoint:
			got = *e.Saved
		case e.Event == EventPhase && e.Phase == PhaseTrain && got.Dir == "":
			check(t, p.Shard(ShardArgs{Index: 0, Pair: l.shard}))
			check(t, p.Shard(ShardArgs{Index: 0, Pair: l.shard})) // twice is once
			check(t, p.Shard(ShardArgs{Index: 1, Pair: l.shard})) // there is none
		}
	})
	check(t, err)
	same(t, "with a shard that came late", want, got)

	c = l.train(1, State{Branch: 1, Step: got.State.Step}, "never")
	c.Train.Shards = nameless
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := errors.New("the shard cannot be had")
	e, err := p.Do(ctx, c, func(e Event) {
		if e.Event == EventCheckpoint {
			t.Errorf("nothing was done, but saved: %+v", *e.Saved)
		}
		if e.Event == EventPhase && e.Phase == PhaseTrain {
			cancel(ended)
		}
	})
	if !errors.Is(err, ended) || e.Trained == nil || !e.Trained.Stopped || e.Trained.Step != got.State.Step {
		t.Fatalf("%v, %v", e, err)
	}
	if !p.Holds(1, got.State.Step) {
		t.Error("the trainer that waited lost its state")
	}
	p.Release()
}

func TestArrivalsCountWhatIsToCome(t *testing.T) {
	pairs := []dataset.ShardPair{{Rows: 1}, {Rows: 2, Pixels: "p", Tokens: "t"}, {Rows: 3}}
	a := newArrivals(pairs)
	if n := a.missing(); n != 2 {
		t.Errorf("%d of 2 are to come", n)
	}
	there := dataset.ShardPair{Rows: 3, Pixels: "x", Tokens: "y"}
	a.add(ShardArgs{Index: 2, Pair: there})
	a.stop()
	a.stop()
	got, err := a.await(t.Context(), 2)
	if err != nil || got != there || a.missing() != 1 {
		t.Errorf("%+v, %v, %d to come", got, err, a.missing())
	}
	if _, err := a.await(t.Context(), 0); !errors.Is(err, errStopped) {
		t.Errorf("a wait that was stopped ends with %v", err)
	}
	if !slices.Equal(pairs, []dataset.ShardPair{{Rows: 1}, {Rows: 2, Pixels: "p", Tokens: "t"}, {Rows: 3}}) {
		t.Error("the command's shards are changed")
	}
}
