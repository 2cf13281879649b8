package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const logSuffix = ".log"

// closeLimit is how long an idle child may take to end by itself.
const closeLimit = 5 * time.Second

// Limits is how long a child may go without a sign of life.
type Limits struct {
	Long       time.Duration // compiling, loading, saving, captioning a batch; default 10 min
	Step       time.Duration // a training step; default 60 s, or StepFactor medians where that is more
	StepFactor float64       // default 20; until a step has not compiled, 3 times the one that did
	Stop       time.Duration // from being asked to stop to having saved; default 60 s
}

func (l Limits) withDefaults() Limits {
	if l.Long == 0 {
		l.Long = 10 * time.Minute
	}
	if l.Step == 0 {
		l.Step = 60 * time.Second
	}
	if l.StepFactor == 0 {
		l.StepFactor = 20
	}
	if l.Stop == 0 {
		l.Stop = 60 * time.Second
	}
	return l
}

// Process is a child as its parent sees it. One command runs at a time.
type Process struct {
	cmd      *exec.Cmd
	commands *os.File
	log      *tail
	limits   Limits
	oomKills int64 // before it started

	events chan Event
	gone   chan struct{} // closed when the child is reaped
	quit   chan struct{} // closed when nobody listens to events any more
	once   sync.Once

	mu          sync.Mutex
	position    State             // what the child's trainer holds, Dir unused; Branch -1: not known
	fingerprint map[string]string // of its numerics, from ready on
}

// start runs exe as a child in a process group of its own that dies with us. Its
// log is the file logPath with the time in its name.
func start(exe string, args, environ []string, logPath string, limits Limits) (*Process, error) {
	log, err := openTail(strings.TrimSuffix(logPath,
		logSuffix) + time.Now().UTC().Format("-20060102T150405.000000") + logSuffix)
	if err != nil {
		return nil, err
	}
	commandsR, commandsW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	eventsR, eventsW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, log.Close(), commandsR.Close(), commandsW.Close())
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = environ
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{commandsR, eventsW}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 2 * time.Second

	p := &Process{
		cmd: cmd, commands: commandsW, log: log, limits: limits.withDefaults(), oomKills: oomKills(),
		events: make(chan Event), gone: make(chan struct{}), quit: make(chan struct{}),
		position: State{Branch: -1},
	}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent's-death signal when the thread that
		// forked ends, so that thread is ours until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		commandsR.Close()
		eventsW.Close()
		started <- err
		if err != nil {
			return
		}
		cmd.Wait() // its verdict is in cmd.ProcessState
		close(p.gone)
	}()
	if err := <-started; err != nil {
		commandsW.Close()
		eventsR.Close()
		log.Close()
		return nil, fmt.Errorf("start trainer: %w", err)
	}
	go p.read(eventsR)
	return p, nil
}

// read hands the child's events on; the channel closes at its end.
func (p *Process) read(r *os.File) {
	defer close(p.events)
	defer r.Close()
	d := json.NewDecoder(r)
	for {
		var e Event
		if err := d.Decode(&e); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				fmt.Fprintf(p.log, "trainer: unreadable event: %v\n", err)
			}
			return
		}
		select {
		case p.events <- e:
		case <-p.quit:
			return
		}
	}
}

// Do runs one command to its done event, giving every other event to on. When
// the context ends a training child is asked to save and stop, every other is
// killed; either way the context's cause comes back. After any error but the
// one of a stop in time the child is dead.
func (p *Process) Do(ctx context.Context, c Command, on func(Event)) (Event, error) {
	spans := newSpans(ctx, c, p.PID())
	e, err := p.do(ctx, c, func(e Event, phase string) { spans.note(phase, e) }, on)
	spans.end(err)
	return e, err
}

func (p *Process) do(ctx context.Context, c Command, noted func(e Event, phase string), on func(Event)) (Event, error) {
	if err := p.send(c); err != nil {
		return Event{}, p.end()
	}
	w := watchdog{limits: p.limits, phase: PhaseOpen}
	timer := time.NewTimer(w.limit())
	defer timer.Stop()
	cancelled, stopping := ctx.Done(), false
	for {
		var e Event
		alive := true
		select {
		case e, alive = <-p.events:
		case <-cancelled:
			cancelled = nil
			if c.Do != DoTrain || p.send(Command{Do: DoStop}) != nil {
				p.Kill()
				return Event{}, context.Cause(ctx)
			}
			stopping = true
			timer.Reset(p.limits.Stop)
			continue
		case <-timer.C:
			select {
			case e, alive = <-p.events: // it came while we were busy with the one before
			default:
				p.Kill()
				if stopping {
					return Event{}, context.Cause(ctx)
				}
				return Event{}, p.stalled(w)
			}
		}
		if !alive {
			return Event{}, p.end()
		}
		if w.note(e); !stopping {
			timer.Reset(w.limit())
		}
		noted(e, w.phase)
		switch e.Event {
		case EventReady:
			p.mu.Lock()
			p.fingerprint = e.Fingerprint
			p.mu.Unlock()
		case EventDone:
			p.moved(c, e)
			if stopping {
				return e, context.Cause(ctx)
			}
			return e, nil
		case EventError:
			p.Kill()
			return Event{}, p.reported(e)
		}
		if on(e); !stopping {
			timer.Reset(w.limit())
		}
	}
}

// Checkpoint asks a training child to save after its present step.
func (p *Process) Checkpoint() error { return p.send(Command{Do: DoCheckpoint}) }

// Shard tells a training child where a shard is.
func (p *Process) Shard(s ShardArgs) error { return p.send(Command{Do: DoShard, Shard: &s}) }

// Holds tells whether the child's trainer has exactly this state.
func (p *Process) Holds(branch int, step int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.position.Branch >= 0 && p.position.Step == step && (p.position.Branch == branch || step == 0)
}

// Fingerprint is what the child's bits depend on.
func (p *Process) Fingerprint() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fingerprint
}

// moved keeps the position after a finished command.
func (p *Process) moved(c Command, e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.Open != nil:
		p.position = State{Branch: 0, Step: 0}
	case c.Train != nil && e.Trained != nil:
		p.position = State{Branch: c.Train.Branch, Step: e.Trained.Step}
	case c.Evaluate != nil:
		p.position = c.Evaluate.From
	}
}

func (p *Process) send(c Command) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commands.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err = p.commands.Write(append(b, '\n'))
	return err
}

// Alive tells whether the child still runs.
func (p *Process) Alive() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Close lets an idle child end by itself, as one does whose commands end, so that
// it can write what it has to, and kills it if it does not.
func (p *Process) Close() {
	p.commands.Close()
	select {
	case <-p.gone:
	case <-time.After(closeLimit):
	}
	p.Kill()
}

// Kill ends the child and everything it started, and waits for it.
func (p *Process) Kill() {
	if p.Alive() {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
	<-p.gone
	p.once.Do(func() { close(p.quit) })
	p.mu.Lock()
	p.position = State{Branch: -1}
	p.mu.Unlock()
	p.commands.Close()
	p.log.Close()
}

// end reaps a child whose events ended and says what its death was.
func (p *Process) end() error {
	select {
	case <-p.gone:
	case <-time.After(5 * time.Second): // it closed its events but lives
	}
	p.Kill()
	ws, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	now := oomKills()
	return p.logged(death(ws, p.log.Lines(), p.oomKills >= 0 && now > p.oomKills))
}

// logged names the log of a child that has failed, unless it wrote none.
func (p *Process) logged(e *Error) *Error {
	if p.log.Lines() != nil {
		e.Log = p.log.path
	}
	return e
}

func (p *Process) stalled(w watchdog) error {
	return p.logged(&Error{Kind: Stalled, Stderr: excerpt(p.log.Lines()),
		Message: fmt.Sprintf(
			"trainer gave no sign of life for %v while in phase %s", w.limit().Round(time.Second), w.phase,
		)})
}

// reported is the failure the child told before it went.
func (p *Process) reported(e Event) error {
	if e.Error == nil {
		return p.end()
	}
	return p.logged(&Error{Kind: Kind(e.Error.Type), Message: e.Error.Message})
}
