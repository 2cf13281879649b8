// Package s3test gives tests an S3 server of their own: the embedded one, run
// by starting the test binary again. A package that uses it has
//
//	func TestMain(m *testing.M) { s3test.Main(m) }
package s3test

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"

	"distilvit/internal/devstack/s3d"
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
	os.Exit(m.Run())
}

// Server is a running S3 server.
type Server struct {
	Endpoint  string // host:port
	AccessKey string
	SecretKey string
	Dir       string // state of the embedded server
	Child     *s3d.Child
}

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{Endpoint: FreeAddress(t), AccessKey: "test-access", SecretKey: "test-secret-key", Dir: t.TempDir()}
	s.Restart(t)
	return s
}

// Restart runs the server again on the same directory and address after Child
// was stopped or killed.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.Child, err = s3d.Start(t.Context(), exe, s3d.Config{Dir: s.Dir, Address: s.Endpoint, AccessKey: s.AccessKey, SecretKey: s.SecretKey}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	child := s.Child
	t.Cleanup(func() { child.Stop() })
}

// FreeAddress is a loopback address nobody listened on a moment ago.
func FreeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
