package s3d

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Child is a running server process.
type Child struct {
	pid   int
	stdin io.Closer
	done  chan struct{}
	err   error // valid once done is closed
}

// startLimit bounds the wait for a child's first answer; it needs milliseconds
// on an idle machine.
const startLimit = time.Minute

// Start runs exe with Command as its only argument and waits until it serves
// c.Address. The child's output goes to log. The child dies with this process,
// however that ends.
func Start(ctx context.Context, exe string, c Config, log io.Writer) (*Child, error) {
	c.Health = "/" + rand.Text()
	settings, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, Command)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true, // a Ctrl-C at the terminal is the parent's to handle
		Pdeathsig: syscall.SIGKILL,
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	child := &Child{stdin: stdin, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The death signal is bound to the thread that starts the child, so
		// this thread lives as long as the child does.
		runtime.LockOSThread()
		defer close(child.done)
		err := cmd.Start()
		if err == nil {
			child.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			child.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start s3 server: %w", err)
	}
	if _, err := stdin.Write(append(settings, '\n')); err != nil {
		child.Stop()
		return nil, fmt.Errorf("start s3 server: %w", err)
	}
	if err := child.wait(ctx, c); err != nil {
		child.Stop()
		return nil, err
	}
	return child, nil
}

// wait polls the health page until it answers.
func (c *Child) wait(ctx context.Context, config Config) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	go func() { // whoever else may listen there can keep us waiting no longer than the child lives
		select {
		case <-c.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !healthy(ctx, config.Address, config.Health) {
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		select {
		case <-c.done:
			return fmt.Errorf("s3 server on %s ended while starting: %v", config.Address, c.err)
		default:
			return fmt.Errorf("s3 server on %s does not answer: %w", config.Address, context.Cause(ctx))
		}
	}
	return nil
}

func healthy(ctx context.Context, address, path string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// PID of the child's process, which is also its process group.
func (c *Child) PID() int { return c.pid }

// Done is closed when the child has ended, for whatever reason.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says how the child ended, once Done is closed.
func (c *Child) Err() error { return c.err }

// Stop asks the child to end, waits for it, and kills it when it does not.
func (c *Child) Stop() error {
	c.stdin.Close()
	timer := time.NewTimer(2 * shutdownGrace)
	defer timer.Stop()
	select {
	case <-c.done:
		return c.err
	case <-timer.C:
		syscall.Kill(-c.pid, syscall.SIGKILL)
		<-c.done
		return fmt.Errorf("s3 server did not end within %v and was killed", 2*shutdownGrace)
	}
}
