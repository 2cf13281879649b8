package transformersjs

import (
	"context"
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
	gone chan struct{} // closed when it has ended; then err is its verdict
	err  error
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
	if silence == 0 {
		silence = usualSilence
	}
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
			return p.failure(p.err)
		case <-timer.C:
			return p.failure(&SilentError{silence})
		case <-ctx.Done():
			return context.Cause(ctx)
		}
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
