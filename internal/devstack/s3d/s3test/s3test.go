// Package s3test gives tests S3 servers of their own: the embedded one, run by
// starting the test binary again, and a real MinIO. A package that uses it has
//
//	func TestMain(m *testing.M) { s3test.Main(m) }
package s3test

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"

	"distilvit/internal/devstack/s3d"
	"distilvit/internal/testenv"
)

// Main runs the tests, or the server where this process was started as its child.
func Main(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == s3d.Command {
		if err := s3d.Serve(context.Background(), os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	stopMinIO()
	os.Exit(code)
}

// Server is a running S3 server.
type Server struct {
	Endpoint  string // host:port
	AccessKey string
	SecretKey string

	dir   string
	child *s3d.Child // of the embedded server
}

// Start runs the embedded server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartIn(t, t.TempDir())
}

// StartIn is Start with the server's state in dir.
func StartIn(t testing.TB, dir string) *Server {
	t.Helper()
	s := &Server{
		Endpoint: testenv.FreeAddress(t), AccessKey: "test-access", SecretKey: "test-secret-key", dir: dir,
	}
	s.start(t)
	return s
}

func (s *Server) start(t testing.TB) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := s3d.Config{Dir: s.dir, Address: s.Endpoint, AccessKey: s.AccessKey, SecretKey: s.SecretKey}
	child, err := s3d.Start(t.Context(), exe, config, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	s.child = child
	t.Cleanup(func() { child.Stop() })
}

// KillAndRestart ends the embedded server with SIGKILL and runs it again on
// the same state and address.
func (s *Server) KillAndRestart(t testing.TB) {
	t.Helper()
	if err := syscall.Kill(s.child.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.child.Done()
	s.start(t)
}
