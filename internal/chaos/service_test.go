package chaos

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
)

// service is a program that can be killed and started again on the same files
// and ports.
type service struct {
	t     testing.TB
	name  string
	build func() *exec.Cmd // for each life a new one
	ready func() bool      // it serves
	log   record           // what it printed, over all its lives

	cmd  *exec.Cmd
	done chan struct{} // closed at the end of the present life
}

// newService has its process killed, and what it printed shown, at the end of a
// test that failed.
func newService(t testing.TB, name string, build func() *exec.Cmd, ready func() bool) *service {
	s := &service{t: t, name: name, build: build, ready: ready}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("--- %s\n%s", name, s.tail())
		}
	})
	return s
}

// record collects what a process prints while it runs.
type record struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes.Write(p)
}

// len marks a place, for since.
func (r *record) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes.Len()
}

// since is what was printed after a mark.
func (r *record) since(mark int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.bytes.Bytes()[min(mark, r.bytes.Len()):])
}

// start begins a life and waits until it serves. The process dies with the test.
func (s *service) start() {
	s.t.Helper()
	cmd, done := s.build(), make(chan struct{})
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 1 // its children may keep our pipes open
	started := make(chan error, 1)
	go func() {
		defer close(done)
		runtime.LockOSThread() // the parent's-death signal comes when this thread ends
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // how it ended does not matter
		}
	}()
	check(s.t, <-started)
	s.cmd, s.done = cmd, done
	await(s.t, s.name+" to serve", func() bool {
		if !s.alive() {
			s.t.Fatalf("%s ended while starting:\n%s", s.name, s.tail())
		}
		return s.ready()
	})
}

func (s *service) pid() int { return s.cmd.Process.Pid }

func (s *service) alive() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

func (s *service) signal(signal syscall.Signal) {
	s.t.Helper()
	check(s.t, s.cmd.Process.Signal(signal))
}

// kill ends the process as kill -9 does.
func (s *service) kill() {
	s.t.Helper()
	s.signal(syscall.SIGKILL)
	<-s.done
}

// stop is kill for a service that may be gone already.
func (s *service) stop() {
	if s.cmd != nil && s.alive() {
		s.cmd.Process.Kill()
		<-s.done
	}
}

// tail is the end of what it printed.
func (s *service) tail() string { return s.log.since(max(0, s.log.len()-6000)) }

// trainers are the trainers a worker's process has started.
func (s *service) trainers() []int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.pid()))
	var pids []int
	for _, list := range lists {
		raw, _ := os.ReadFile(list) // the thread may be gone
		for _, field := range strings.Fields(string(raw)) {
			command, _ := os.ReadFile("/proc/" + field + "/cmdline")
			if pid, err := strconv.Atoi(field); err == nil && bytes.HasSuffix(command, []byte("\x00trainer\x00")) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
