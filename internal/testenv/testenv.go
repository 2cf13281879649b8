// Package testenv is what black-box tests share: the built program, processes
// around it that die with the test, real Temporal and MinIO servers, and the
// rule for what is not installed. Only tests import it.
package testenv

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Without skips a test for want of something; in CI, where everything is
// installed first, it fails.
func Without(t testing.TB, why any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// Tool finds a program on PATH or in .cache/bin, where make tools installs some;
// without it the test is skipped as by Without.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path := filepath.Join(Root(), ".cache", "bin", name)
	if _, err := os.Stat(path); err != nil {
		Without(t, name+" is not installed; make tools does it")
	}
	return path
}

// Root is the checkout's directory.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Environ is the environment without what would point the program elsewhere,
// and with more.
func Environ(more ...string) []string {
	var env []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "TEMPORAL_") || strings.HasPrefix(name, "S3_") ||
			strings.HasPrefix(name, "DISTILVIT_") {
			continue
		}
		env = append(env, variable)
	}
	return append(env, more...)
}

// patience bounds every wait; it is reached only when something hangs.
const patience = 10 * time.Minute

// pause is between two looks at something cheap.
const pause = 20 * time.Millisecond

// Await polls until ok.
func Await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	AwaitEvery(t, pause, what, ok)
}

// AwaitEvery is Await with a pause of the caller's choice, for costly questions.
func AwaitEvery(t testing.TB, pause time.Duration, what string, ok func() bool) {
	t.Helper()
	if !poll(pause, nil, ok) {
		t.Fatalf("waited %v in vain for %s", patience, what)
	}
}

// poll asks until ok or, once more, when ended closes; false: it was in vain.
func poll(pause time.Duration, ended <-chan struct{}, ok func() bool) bool {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ended:
			return ok()
		case <-limit.C:
			return false
		}
	}
	return true
}

// FreeAddress is a loopback address, host:port, that nobody listens on at the moment.
func FreeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// Answers says whether a GET of the URL is answered with 200.
func Answers(url string) bool {
	answer, err := http.Get(url)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}
