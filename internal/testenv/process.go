package testenv

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Output collects what a process prints while it runs.
type Output struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

// Write takes more output.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.Write(p)
}

func (o *Output) String() string { return o.Since(0) }

// Len marks a place, for Since.
func (o *Output) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.Len()
}

// Since is what was printed after a mark.
func (o *Output) Since(mark int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.bytes.Bytes()[min(mark, o.bytes.Len()):])
}

// Process is a started program. It dies with the test, and with the test's
// process, and shows what it printed where the test failed.
type Process struct {
	Stdout, Stderr *Output // nil where Start's caller had its own

	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{}
}

// Command is a program with Environ(env...), for Start.
func Command(env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = Environ(env...)
	return cmd
}

// Start starts a command in the background, in a process group of its own.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{t: t, cmd: cmd, done: make(chan struct{})}
	if cmd.Stdout == nil {
		p.Stdout = &Output{}
		cmd.Stdout = p.Stdout
	}
	if cmd.Stderr == nil {
		p.Stderr = &Output{}
		cmd.Stderr = p.Stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = 10 * time.Second // a child that keeps our pipes open
	}
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		runtime.LockOSThread() // the parent's-death signal comes when this thread ends
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // Code tells
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() && p.Stdout != nil {
			t.Log(p.said())
		}
	})
	return p
}

// said is the command, how it ended and what it printed.
func (p *Process) said() string {
	how := "running"
	if !p.Alive() {
		how = p.cmd.ProcessState.String()
	}
	said := fmt.Sprintf("%s %s\n%s\n", filepath.Base(p.cmd.Path), strings.Join(p.cmd.Args[1:], " "), how)
	for _, o := range []*Output{p.Stdout, p.Stderr} {
		if o != nil {
			said += o.String()
		}
	}
	return said
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Alive says whether the process has not ended.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal, to no one where the process has ended.
func (p *Process) Signal(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal)
}

// Kill ends the process as kill -9 does, where it has not ended yet, and waits for that.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Wait returns the exit code at the process's end; -1: a signal ended it.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.Signal(syscall.SIGQUIT) // Go's programs say where they hang
		<-p.done
		p.t.Fatalf("hung: %s", p.said())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Await polls until ok; in vain when the process ends before.
func (p *Process) Await(what string, ok func() bool) {
	p.t.Helper()
	p.AwaitEvery(pause, what, ok)
}

// AwaitEvery is Await with a pause of the caller's choice, for costly questions.
func (p *Process) AwaitEvery(pause time.Duration, what string, ok func() bool) {
	p.t.Helper()
	if !poll(pause, p.done, ok) {
		p.t.Fatalf("waited in vain for %s; %s", what, p.said())
	}
}

// Children are the processes started by any of its threads.
func (p *Process) Children() (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.PID()))
	for _, list := range lists {
		raw, _ := os.ReadFile(list) // the thread may be gone
		for _, field := range strings.Fields(string(raw)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Trainers are those children that train.
func (p *Process) Trainers() (pids []int) {
	for _, pid := range p.Children() {
		if command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); bytes.HasSuffix(command,
			[]byte("\x00trainer\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Gone says whether there is no such process, or only a zombie that nobody waited for yet.
func Gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}
