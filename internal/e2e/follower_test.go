package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv"
)

// A command that follows a run in another process's stack ends with that process, and says how to
// go on; a stack that has another one's port is not taken for it.
func TestFollowerLearnsOfTheStacksEnd(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	stack, _ := up(t, data)
	config := controlConfig()
	config["train"].(map[string]any)["epochs"] = 500 // ends with the stack
	file := writeConfig(t, t.TempDir(), config)
	follower := start(t, nil, "run", "-f", file, "--id", "long", "--data", data)
	testenv.Await(t, "the followed run", func() bool {
		return strings.Contains(follower.Stderr.String(), "run long; web UI")
	})
	left, watched := start(t, nil, "logs", "long", "-f", "--data", data), start(t, nil, "logs", "long", "-f", "-o", "json", "--data", data)
	left.Await("a line of a step", func() bool { return strings.Contains(left.Stdout.String(), "stage=train") })
	left.Signal(syscall.SIGINT)
	require.Zero(t, left.Wait(), left.Stderr.String())
	require.Empty(t, left.Stderr.String())
	oneLine(t, distilvit(t, "get", "long", "--data", data), 1, "run long is not done")
	oneLine(t, distilvit(t, "status", "other", "--data", data), 1, "no such run: other in "+data)

	path := filepath.Join(data, "stack.json")
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	var addresses map[string]any
	require.NoError(t, json.Unmarshal(kept, &addresses))
	addresses["cluster_id"] = "57a9ba1c-0000-4000-8000-000000000000"
	foreign, err := json.Marshal(addresses)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, foreign, 0o600))
	oneLine(t, distilvit(t, "list", "--data", data), 1, "another stack than that of "+data)
	require.NoError(t, os.WriteFile(path, kept, 0o600))

	killEverything(t, stack)
	code := follower.Wait()
	require.Equal(t, 1, code, follower.Stderr.String())
	require.Contains(t, follower.Stderr.String(), "run long is interrupted, not lost")
	require.Equal(t, 1, watched.Wait(), watched.Stderr.String())
	require.Contains(t, watched.Stderr.String(), "run long is interrupted, not lost")
	oneLine(t, distilvit(t, "logs", "long", "-f", "--data", data), 1, "run long is open, and no stack is up")
	require.Contains(t, succeed(t, "list", "--data", data), "interrupted")
}
