package s3test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// minio is the one MinIO of this test process; starting it takes a second or two.
var minio struct {
	once   sync.Once
	server *Server
	err    error
	stop   func()
}

var errNoMinIO = errors.New("no minio binary: set MINIO or put it on PATH (see `make tools`)")

// MinIO is a real MinIO shared by the tests of this process. Where there is no
// binary the test is skipped, or fails when CI=true.
func MinIO(t testing.TB) *Server {
	t.Helper()
	minio.once.Do(func() { minio.server, minio.err = startMinIO(FreeAddress(t)) })
	if errors.Is(minio.err, errNoMinIO) && os.Getenv("CI") != "true" {
		t.Skip(minio.err)
	}
	if minio.err != nil {
		t.Fatal(minio.err)
	}
	return minio.server
}

func findMinIO() (string, error) {
	if path := os.Getenv("MINIO"); path != "" {
		return path, nil
	}
	if path, err := exec.LookPath("minio"); err == nil {
		return path, nil
	}
	folders := []string{os.Getenv("GOBIN"), filepath.Join(os.Getenv("GOPATH"), "bin")}
	if home, err := os.UserHomeDir(); err == nil {
		folders = append(folders, filepath.Join(home, "go", "bin"))
	}
	for _, folder := range folders {
		path := filepath.Join(folder, "minio")
		if info, err := os.Stat(path); filepath.IsAbs(path) && err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", errNoMinIO
}

func startMinIO(address string) (*Server, error) {
	exe, err := findMinIO()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "minio")
	if err != nil {
		return nil, err
	}
	s := &Server{Endpoint: address, AccessKey: "test-access", SecretKey: "test-secret-key", dir: dir}
	cmd := exec.Command(exe, "server", "--quiet", "--address", address, dir)
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey, "MINIO_UPDATE=off", "MINIO_BROWSER=off")
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		response, err := http.Get("http://" + address + "/minio/health/ready")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		} else if !errors.As(err, new(*net.OpError)) {
			return err
		}
		select {
		case <-done:
			return errors.New("minio ended while starting")
		case <-ctx.Done():
			return errors.New("minio does not become ready")
		case <-tick.C:
		}
	}
}

func stopMinIO() {
	if minio.stop != nil {
		minio.stop()
	}
}
