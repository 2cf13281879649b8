package activities

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"distilvit/pipeline"
)

// beatEvery is how often an activity shows that it lives, by a timer, whatever
// it is doing.
const beatEvery = 2 * time.Second

// errStopping is the cause of a context that ends because the worker does.
var errStopping = errors.New("the worker is stopping")

// pulse holds what the next heartbeat says. Details are a pipeline.Heartbeat
// with what a later attempt needs beside it.
type pulse struct {
	mu     sync.Mutex
	beat   pipeline.Heartbeat
	resume map[string][]byte
}

// pulseKey is where the context of an activity's work has its pulse.
type pulseKey struct{}

// details is a heartbeat's payload: whoever reads a pipeline.Heartbeat can read it.
type details struct {
	pipeline.Heartbeat
	Resume map[string][]byte `json:"resume,omitempty"`
}

// set changes what the next heartbeat says.
func (p *pulse) set(change func(*pipeline.Heartbeat)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.beat)
}

// progress says how much of the phase is done.
func (p *pulse) progress(phase string, done, total int64, message string) {
	p.set(func(b *pipeline.Heartbeat) { b.Phase, b.Done, b.Total, b.Message = phase, done, total, message })
}

// keep stores what a later attempt goes on from.
func (p *pulse) keep(name string, state []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resume == nil {
		p.resume = map[string][]byte{}
	}
	p.resume[name] = state
}

func (p *pulse) details() details {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := details{Heartbeat: p.beat}
	if len(p.resume) > 0 {
		d.Resume = make(map[string][]byte, len(p.resume))
		for k, v := range p.resume {
			d.Resume[k] = v
		}
	}
	return d
}

// run gives an activity's work a heartbeat, a context that also ends when the
// worker stops, and its error the type that workflows act on. The heartbeat
// goes on until work returns, also after its context's end: saving takes time.
func run[T any](ctx context.Context, work func(ctx context.Context, p *pulse) (T, error)) (T, error) {
	p := &pulse{}
	var d details
	if activity.HasHeartbeatDetails(ctx) && activity.GetHeartbeatDetails(ctx, &d) == nil {
		p.resume = d.Resume
	}
	stop := activity.GetWorkerStopChannel(ctx)
	beat := context.WithoutCancel(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	finished := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(finished)
	wg.Go(func() {
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		activity.RecordHeartbeat(beat, p.details())
		for {
			select {
			case <-tick.C:
				activity.RecordHeartbeat(beat, p.details())
			case <-stop:
				cancel(errStopping)
				stop = nil
			case <-finished:
				return
			}
		}
	})
	v, err := work(context.WithValue(ctx, pulseKey{}, p), p)
	if err != nil {
		activity.RecordHeartbeat(beat, p.details()) // goes with the error to the next attempt
		var none T
		return none, applicationError(ctx, err)
	}
	return v, nil
}
