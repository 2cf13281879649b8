package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// program is the built distilvit.
var program string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if program = os.Getenv("DISTILVIT_BIN"); program == "" {
		dir, err := os.MkdirTemp("", "distilvit-e2e-")
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
	}
	defer removePublished()
	return m.Run()
}

// limit bounds every wait; it is reached only when something hangs.
const limit = 10 * time.Minute

// cleanEnv is the environment without what would point the program elsewhere.
func cleanEnv(more ...string) []string {
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

// process is a started program.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	done   chan struct{}
	code   int // valid once done is closed; -1: killed
}

// output collects what a process prints while it runs.
type output struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.String()
}

// start runs a command in the background; it is killed with the test.
func start(t testing.TB, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), stdout: &output{}, stderr: &output{}, done: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = 10 * time.Second // a child that keeps our pipes open
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		err := p.cmd.Wait()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			p.code = exit.ExitCode()
		} else if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
			p.code = -2
		}
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.done
		if t.Failed() {
			t.Logf("%s %s\nexit code %d\n%s%s", filepath.Base(name), strings.Join(args, " "), p.code, p.stdout, p.stderr)
		}
	})
	return p
}

func (p *process) signal(s syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(s) // it may have ended just now
	}
}

// wait returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		p.signal(syscall.SIGQUIT)
		require.Fail(p.t, "still running", "%s\n%s%s", p.cmd, p.stdout, p.stderr)
	}
	return p.code
}

// finished is a command that has ended.
type finished struct {
	code           int
	stdout, stderr string
}

func runCommand(t testing.TB, env []string, name string, args ...string) finished {
	t.Helper()
	p := start(t, env, name, args...)
	code := p.wait()
	return finished{code, p.stdout.String(), p.stderr.String()}
}

// withInput runs one command line with text on its stdin.
func withInput(t testing.TB, stdin string, args ...string) finished {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = cleanEnv(), strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return finished{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// distilvit runs one command line to its end.
func distilvit(t testing.TB, args ...string) finished {
	t.Helper()
	return runCommand(t, cleanEnv(), program, args...)
}

// succeed runs one command line that must succeed and returns its stdout.
func succeed(t testing.TB, args ...string) string {
	t.Helper()
	f := distilvit(t, args...)
	require.Zero(t, f.code, "%s\n%s%s", strings.Join(args, " "), f.stdout, f.stderr)
	return f.stdout
}

// eventually polls until ok, or the process it waits on has ended; nil is none.
func eventually(t testing.TB, what string, while *process, ok func() bool) {
	t.Helper()
	poll(t, what, while, 50*time.Millisecond, ok)
}

// poll is eventually with a pause of the caller's choice, for costly questions.
func poll(t testing.TB, what string, while *process, pause time.Duration, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var ended chan struct{} // never, without a process
	if while != nil {
		ended = while.done
	}
	for !ok() {
		select {
		case <-tick.C:
		case <-ended:
			require.True(t, ok(), "%s ended (exit code %d) before: %s\n%s%s", while.cmd, while.code, what, while.stdout, while.stderr)
			return
		case <-ctx.Done():
			said := ""
			if while != nil {
				said = while.stdout.String() + while.stderr.String()
			}
			require.Fail(t, "waited in vain", "for %s\n%s", what, said)
		}
	}
}

// tool finds a program the tests need: on PATH or in .cache/bin, where make test
// installs it. Without it the test is skipped, but not in CI.
func tool(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if path := filepath.Join(root(t), ".cache", "bin", name); exists(path) {
		return path
	}
	without(t, name+" is not installed; make tools does it")
	return ""
}

// without skips a test for want of something, which CI does not accept.
func without(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		require.Fail(t, why)
	}
	t.Skip(why)
}

// root is the checkout's directory.
func root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	return dir
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func writeFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func decode[T any](t testing.TB, text string) T {
	t.Helper()
	var v T
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	return v
}
