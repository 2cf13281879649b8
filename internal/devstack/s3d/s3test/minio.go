package s3test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"distilvit/internal/testenv"
)

// minio is the one MinIO of this test process; starting it takes a second or two.
var minio struct {
	once   sync.Once
	server *Server
	err    error
	stop   func()
}

// MinIO is a real MinIO shared by the tests of this process. Where there is no
// binary the test is skipped, or fails in CI.
func MinIO(t testing.TB) *Server {
	t.Helper()
	exe := testenv.Tool(t, "minio")
	minio.once.Do(func() { minio.server, minio.err = startMinIO(exe, testenv.FreeAddress(t)) })
	if minio.err != nil {
		t.Fatal(minio.err)
	}
	return minio.server
}

func startMinIO(exe, address string) (*Server, error) {
	dir, err := os.MkdirTemp("", "minio")
	if err != nil {
		return nil, err
	}
	s := &Server{Endpoint: address, AccessKey: "test-access", SecretKey: "test-secret-key", dir: dir}
	cmd := testenv.MinIOCommand(exe, address, dir, s.AccessKey, s.SecretKey)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the death signal is bound to this thread
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start minio: %w", err)
	}
	minio.stop = func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-done
		os.RemoveAll(dir)
	}
	return s, awaitMinIO(address, done)
}

func awaitMinIO(address string, done <-chan struct{}) error {
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !testenv.MinIOAnswers(address) {
		select {
		case <-done:
			return errors.New("minio ended while starting")
		case <-limit.C:
			return errors.New("minio does not become ready")
		case <-tick.C:
		}
	}
	return nil
}

func stopMinIO() {
	if minio.stop != nil {
		minio.stop()
	}
}
