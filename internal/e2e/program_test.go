package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
)

func TestMain(m *testing.M) {
	code := testenv.Main(m)
	removeShared()
	os.Exit(code)
}

// start starts the program in the background, with more in its environment.
func start(t testing.TB, env []string, args ...string) *testenv.Process {
	t.Helper()
	return testenv.Start(t, testenv.Command(env, testenv.Program, args...))
}

// finished is a command that has ended.
type finished struct {
	code           int
	stdout, stderr string
}

func runCommand(t testing.TB, env []string, name string, args ...string) finished {
	t.Helper()
	p := testenv.Start(t, testenv.Command(env, name, args...))
	code := p.Wait()
	return finished{code, p.Stdout.String(), p.Stderr.String()}
}

// withInput runs one command line with text on its stdin.
func withInput(t testing.TB, stdin string, args ...string) finished {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := testenv.Command(nil, testenv.Program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return finished{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// distilvit runs one command line to its end.
func distilvit(t testing.TB, args ...string) finished {
	t.Helper()
	return runCommand(t, nil, testenv.Program, args...)
}

// succeed runs one command line that must succeed and returns its stdout.
func succeed(t testing.TB, args ...string) string {
	t.Helper()
	f := distilvit(t, args...)
	require.Zero(t, f.code, "%s\n%s%s", strings.Join(args, " "), f.stdout, f.stderr)
	return f.stdout
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
