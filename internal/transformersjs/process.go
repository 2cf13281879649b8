package transformersjs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program in a process group of its own, which dies with this program and is killed whole.
type process struct {
	cmd  *exec.Cmd
	told tail
	gone chan struct{} // closed when it has ended; not before is err to be read
	err  error         // its verdict; nil: exit status 0
}

// start starts a program; what it says goes to told, but for a Stdout of its own.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, gone: make(chan struct{})}
	if cmd.Stderr = &p.told; cmd.Stdout == nil {
		cmd.Stdout = &p.told
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 2 * time.Second // for grandchildren that hold its output
	started := make(chan error)
	go func() {
		// The kernel sends the parent's-death signal when the thread that forked ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if started <- err; err == nil {
			p.err = cmd.Wait()
			close(p.gone)
		}
	}()
	return p, <-started
}

// kill ends the group; the process is gone when it returns.
func (p *process) kill() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.gone
}

// follow gives lines to each until they are closed or end, or gone is closed.
func (p *process) follow(
	ctx context.Context, silence time.Duration, lines <-chan Line, gone <-chan struct{}, each func(Line),
) error {
	silence = cmp.Or(silence, usualSilence)
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for {
		select {
		case line, more := <-lines:
			if !more || line.end {
				return nil
			}
			each(line)
			timer.Reset(silence)
		case <-gone:
			return p.failure(cmp.Or(p.err, errEarly))
		case <-timer.C:
			return p.failure(&SilentError{silence})
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// errEarly is of a program that ends in good order and has not done its work.
var errEarly = errors.New("it ended before its work was done")

// ended waits for the end of a program whose output is closed already.
func (p *process) ended(ctx context.Context, silence time.Duration) error {
	silence = cmp.Or(silence, usualSilence)
	timer := time.NewTimer(silence)
	defer timer.Stop()
	select {
	case <-p.gone:
		if p.err != nil {
			return p.failure(p.err)
		}
		return nil
	case <-timer.C:
		return p.failure(&SilentError{silence})
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failure says with err what the program said last.
func (p *process) failure(err error) error {
	if last := p.told.last(); last != "" {
		return fmt.Errorf("%s: %w: %s", p.cmd.Path, err, last)
	}
	return fmt.Errorf("%s: %w", p.cmd.Path, err)
}

// SilentError is that of a program which was killed because no caption came from it.
type SilentError struct{ For time.Duration }

func (e *SilentError) Error() string { return fmt.Sprintf("no caption within %v", e.For) }

// tail keeps the end of what a program says.
type tail struct {
	mu  sync.Mutex
	end []byte
}

const tailBytes = 1 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, p...)
	t.end = t.end[max(0, len(t.end)-tailBytes):]
	return len(p), nil
}

// last is the end, in one line.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(strings.ToValidUTF8(string(t.end), "")), " ")
}
