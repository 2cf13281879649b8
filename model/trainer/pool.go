package trainer

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"distilvit/internal/backend"
)

// Options of a Pool.
type Options struct {
	Exe     string        // program to start; it must call Main or Serve
	Args    []string      // default: trainer
	Environ []string      // of the children, before what the backend adds
	LogDir  string        // a log file per child that writes one
	Devices []int         // the devices of the pool, on which one run trains at a time; default device 0
	Health  *Health       // counts what happens to them; nil: nobody counts
	Idle    time.Duration // an unused warm trainer ends after this; default 15 min
	Limits  Limits

	Watch func(DeviceState) // is told what the devices do; nil: nobody needs to know
}

// DeviceState is what a pool's devices do.
type DeviceState int

const (
	Idle   DeviceState = iota // no caller holds them; a warm child may
	Busy                      // a caller holds them
	Failed                    // they have failed too often
)

// Pool keeps the devices of one slot: at most one child computes on them, and
// stays warm for its run. It hands the child to one caller at a time.
type Pool struct {
	o    Options
	mu   sync.Mutex
	runs map[string]*slot // one at most
}

// slot is a run's child, in use or warm.
type slot struct {
	args  OpenArgs
	child *Process
	lease *Lease // nil: warm and unused
	idle  *time.Timer
}

// Lease is a child in the hands of one caller, who must Release it.
type Lease struct {
	*Process
	pool *Pool
	run  string
}

// NewPool makes a pool; no child starts before the first Open.
func NewPool(o Options) *Pool {
	if o.Args == nil {
		o.Args = []string{"trainer"}
	}
	if len(o.Devices) == 0 {
		o.Devices = []int{0}
	}
	if o.Idle == 0 {
		o.Idle = 15 * time.Minute
	}
	if o.Watch == nil {
		o.Watch = func(DeviceState) {}
	}
	return &Pool{o: o, runs: map[string]*slot{}}
}

// Open hands out the run's warm child if it was opened with equal args, else a
// fresh one. A caller who still holds the run's child is an older attempt that
// Temporal gave up: that child is killed. An unused child of another run makes
// room. Devices out of service are an OutOfService error.
func (p *Pool) Open(ctx context.Context, run string, a OpenArgs, on func(Event)) (*Lease, error) {
	if err := p.o.Health.refuse(p.o.Devices); err != nil {
		return nil, err
	}
	l, warm, err := p.take(run, &a)
	if err != nil {
		return nil, err
	}
	p.o.Watch(Busy)
	if warm {
		return l, nil
	}
	if _, err := l.Do(ctx, Command{Do: DoOpen, Open: &a}, on); err != nil {
		l.Kill()
		l.Release()
		return nil, err
	}
	return l, nil
}

// take answers the run's child and whether it is open already; it sets the backend's devices.
func (p *Pool) take(run string, a *OpenArgs) (l *Lease, warm bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l = &Lease{pool: p, run: run}
	a.Backend.Devices = p.o.Devices
	if s := p.runs[run]; s != nil {
		if s.lease == nil && s.child.Alive() && reflect.DeepEqual(s.args, *a) {
			s.idle.Stop()
			s.lease, l.Process = l, s.child
			return l, true, nil
		}
		p.end(run)
	}
	if err = p.makeRoom(); err != nil {
		return nil, false, err
	}
	l.Process, err = p.start("trainer-"+run, a.Backend)
	if err != nil {
		return nil, false, err
	}
	p.runs[run] = &slot{args: *a, child: l.Process, lease: l}
	return l, false, nil
}

// Do runs one command as Process.Do does, and tells the devices' health how it went.
func (l *Lease) Do(ctx context.Context, c Command, on func(Event)) (Event, error) {
	health, devices := l.pool.o.Health, l.pool.o.Devices
	e, err := l.Process.Do(ctx, c, func(e Event) {
		if e.Event == EventCheckpoint {
			health.worked(devices)
		}
		on(e)
	})
	if err == nil && c.Do == DoEvaluate {
		health.worked(devices)
	}
	if ctx.Err() != nil || !l.held() {
		return e, err // whoever ended it, the device is not to blame
	}
	if err = health.failed(devices, err); isOutOfService(err) {
		l.pool.o.Watch(Failed)
	}
	return e, err
}

func isOutOfService(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == OutOfService
}

// held: nobody took the child from us.
func (l *Lease) held() bool {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	s := l.pool.runs[l.run]
	return s != nil && s.lease == l
}

// Release gives the child back: warm if it lives, forgotten if not.
func (l *Lease) Release() {
	p := l.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.runs[l.run]
	if s == nil || s.lease != l {
		return // it was taken from us
	}
	s.lease = nil
	p.o.Watch(Idle)
	if !s.child.Alive() {
		p.end(l.run)
		return
	}
	s.idle = time.AfterFunc(p.o.Idle, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.runs[l.run] == s && s.lease == nil {
			p.end(l.run)
		}
	})
}

// Once runs one command in a child of its own, which ends with it. It takes no
// device.
func (p *Pool) Once(
	ctx context.Context, name string, b backend.Choice, c Command, on func(Event),
) (Event, error) {
	child, err := p.start(name, b)
	if err != nil {
		return Event{}, err
	}
	defer child.Close()
	return child.Do(ctx, c, on)
}

// PID is the process id of the run's child; 0 where it has none.
func (p *Pool) PID(run string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.runs[run]; s != nil && s.child.Alive() {
		return s.child.PID()
	}
	return 0
}

// CloseRun ends the run's child, if there is one.
func (p *Pool) CloseRun(run string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(run)
}

// Close ends every child.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for run := range p.runs {
		p.end(run)
	}
}

// end closes and forgets the run's child, or kills it in the hands of an older caller. The caller holds p.mu.
func (p *Pool) end(run string) {
	s := p.runs[run]
	if s == nil {
		return
	}
	delete(p.runs, run)
	if s.idle != nil {
		s.idle.Stop()
	}
	if s.lease != nil {
		s.child.Kill()
		return
	}
	s.child.Close()
}

// makeRoom ends another run's child that nobody uses. The caller holds p.mu.
func (p *Pool) makeRoom() error {
	for run, s := range p.runs {
		if s.lease != nil {
			return errorf(DeviceLost, "%s: in use by run %s", backend.Names(p.o.Devices), run)
		}
		p.end(run)
	}
	return nil
}

func (p *Pool) start(name string, b backend.Choice) (*Process, error) {
	child, err := start(p.o.Exe, p.o.Args, slices.Concat(p.o.Environ, backend.Env(b)),
		filepath.Join(p.o.LogDir, name+logSuffix), p.o.Limits)
	if err != nil {
		return nil, &Error{Kind: DeviceLost, Message: err.Error()}
	}
	return child, nil
}
