package activities

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"distilvit/artifact/record"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage"
)

const (
	// uploadPatience is how long training goes on while the object store does
	// not take checkpoints.
	uploadPatience = 15 * time.Minute
	// uploadFarewell is how long it may be retried once the activity is to end.
	uploadFarewell = time.Minute
)

// uploads stores checkpoints in the background, in order. One that waits is
// replaced by a newer one: only the newest is of use.
type uploads struct {
	a    *Activities
	ctx  context.Context // of the activity, whose end uploads outlive
	in   pipeline.EpochInput
	fail context.CancelCauseFunc // ends training

	mu      sync.Mutex
	waiting *trainer.Checkpoint
	closed  bool
	wake    chan struct{}
	done    chan struct{}
	last    record.CheckpointManifest
	damaged error // the newest was dropped, for this
	err     error
}

// startUploads begins; fail is called with the reason why it makes no sense to
// train on.
func startUploads(
	ctx context.Context, a *Activities, in pipeline.EpochInput, fail context.CancelCauseFunc,
) *uploads {
	u := &uploads{a: a, ctx: ctx, in: in, fail: fail, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go u.loop()
	return u
}

// add queues a local checkpoint, which becomes the run's local copy once it is
// stored.
func (u *uploads) add(c trainer.Checkpoint) {
	u.mu.Lock()
	if u.waiting != nil {
		os.RemoveAll(u.waiting.Dir)
	}
	u.waiting = &c
	u.mu.Unlock()
	u.signal()
}

func (u *uploads) signal() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// finish waits for what is queued and answers the newest stored checkpoint.
func (u *uploads) finish() (record.CheckpointManifest, error) {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.signal()
	<-u.done
	return u.last, u.err
}

func (u *uploads) loop() {
	defer close(u.done)
	for range u.wake {
		u.mu.Lock()
		c, closed := u.waiting, u.closed
		u.waiting = nil
		u.mu.Unlock()
		if c != nil && u.err == nil {
			m, err := u.store(*c)
			switch u.damaged = nil; {
			case isDamaged(err): // training itself is sound: the next one is stored
				activity.GetLogger(u.ctx).Warn("checkpoint is damaged on this machine and dropped",
					"step", c.State.Step, "error", err)
				u.damaged = err
			case err != nil:
				u.err = err
				u.fail(err)
			default:
				u.last = m
				u.prune()
				if err := u.a.keepLocal(u.in.Work.Run, c.Dir); err != nil {
					activity.GetLogger(u.ctx).Warn("no local copy of the checkpoint is kept",
						"step", c.State.Step, "error", err)
				}
			}
			os.RemoveAll(c.Dir)
		}
		if closed {
			return
		}
	}
}

// isDamaged: a local checkpoint is not what the trainer wrote.
func isDamaged(err error) bool {
	return errors.Is(err, storage.ErrDamaged) || errors.Is(err, fs.ErrNotExist)
}

// prune removes what the newest checkpoint makes superfluous; that it can be
// done later, too, makes it no reason to fail.
func (u *uploads) prune() {
	newest := u.last.Ref()
	err := u.a.checkpoints(u.in.Work.Run).Prune(
		context.WithoutCancel(u.ctx), max(1, u.in.Work.Train.KeepCheckpoints), u.in.Best, u.in.From, &newest)
	if err != nil {
		activity.GetLogger(u.ctx).Warn("old checkpoints are not pruned", "error", err)
	}
}

// store retries while the object store is away; training goes on meanwhile.
func (u *uploads) store(c trainer.Checkpoint) (record.CheckpointManifest, error) {
	w := u.in.Work
	of, err := training(w)
	if err != nil {
		return record.CheckpointManifest{}, err
	}
	ctx, deadline := context.WithoutCancel(u.ctx), time.Now().Add(uploadPatience)
	ended, begun := u.ctx.Done(), time.Now()
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		m, err := u.a.checkpoints(w.Run).Put(ctx, w.Branch, of, c)
		if err == nil {
			u.a.Telemetry.Stored(w.Run, time.Since(begun))
		}
		if err == nil || !errors.Is(err, storage.ErrUnavailable) || time.Now().After(deadline) {
			return m, err
		}
		activity.GetLogger(ctx).Warn("checkpoint is not stored yet", "step", c.State.Step, "error", err)
		select {
		case <-time.After(pause):
		case <-ended:
			ended, deadline = nil, time.Now().Add(uploadFarewell)
		}
	}
}
