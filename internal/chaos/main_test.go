package chaos

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program is the built distilvit.
var program string

var (
	faultCount = flag.Int("faults", shortFaults, "faults in the chaos run")
	seed       = flag.Uint64("seed", 1, "of the faults: which, in what order, when")
	only       = flag.String("only", "", "of the faults, those whose name contains this; for trying one out")
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if program = os.Getenv("DISTILVIT_BIN"); program != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "distilvit-chaos-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "distilvit")
	build := exec.Command("go", "build", "-o", program, "distilvit/cmd/distilvit")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build distilvit:", err)
		return 1
	}
	return m.Run()
}

// patience bounds every wait; it is reached only when a run is lost.
const patience = 4 * time.Minute

// await polls until ok.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	awaitEvery(t, 20*time.Millisecond, what, ok)
}

// awaitEvery is await with a pause of the caller's choice, for costly questions.
func awaitEvery(t testing.TB, pause time.Duration, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

// environ is the environment without what would point the program elsewhere.
func environ(more ...string) []string {
	var env []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "TEMPORAL_") || strings.HasPrefix(name, "S3_") || strings.HasPrefix(name, "DISTILVIT_") {
			continue
		}
		env = append(env, variable)
	}
	return append(env, more...)
}

// tool finds a program the tests need: on PATH or in .cache/bin, where make
// tools installs it. Without it the test is skipped, but not in CI.
func tool(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path, err := filepath.Abs(filepath.Join("..", "..", ".cache", "bin", name))
	check(t, err)
	if _, err := os.Stat(path); err != nil {
		without(t, name+" is not installed; make tools does it")
	}
	return path
}

// without skips a test for want of something, which CI does not accept.
func without(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
