package chaos

import (
	"os/exec"
	"testing"

	"distilvit/internal/testenv"
)

// service is a program that can be killed and started again on the same files
// and ports.
type service struct {
	*testenv.Process // of the present life

	t     testing.TB
	name  string
	build func() *exec.Cmd // for each life a new one
	ready func() bool      // it serves
	log   testenv.Output   // what it printed, over all its lives
}

// newService shows what was printed at the end of a test that failed.
func newService(t testing.TB, name string, build func() *exec.Cmd, ready func() bool) *service {
	s := &service{t: t, name: name, build: build, ready: ready}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("--- %s\n%s", name, s.log.Since(max(0, s.log.Len()-6000)))
		}
	})
	return s
}

// start begins a life and waits until it serves.
func (s *service) start() {
	s.t.Helper()
	s.launch()
	s.Await(s.name+" to serve", s.ready)
}

// launch begins a life.
func (s *service) launch() {
	s.t.Helper()
	cmd := s.build()
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.WaitDelay = 1 // what its children print is not waited for
	s.Process = testenv.Start(s.t, cmd)
}
