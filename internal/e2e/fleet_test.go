package e2e

import (
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"distilvit/artifact/record"
	"distilvit/internal/testenv"
	"distilvit/internal/testenv/temporaltest"
	"distilvit/storage/layout"
)

var fleetRuns = flag.Int("fleet-runs", 4, "runs over two workers with different backends")

// cacheWithoutXLA is a user's cache directory whose only backend is pure Go.
func cacheWithoutXLA(t testing.TB) string {
	t.Helper()
	user, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := t.TempDir()
	backends := filepath.Join(dir, "distilvit", "backend")
	require.NoError(t, os.MkdirAll(backends, 0o755))
	require.NoError(t, os.Symlink(filepath.Join(user, "distilvit", "backend", "onnxruntime"),
		filepath.Join(backends, "onnxruntime")))
	return dir
}

// Of two workers one has XLA and one has not. A run that leaves the choice to the program is chosen for by
// either, may get its session on the other, and yet computes on one backend from its first step to its last.
func TestRunsKeepTheirBackendOnWorkersThatDiffer(t *testing.T) {
	_, temporal := temporaltest.Start(t)
	s3 := testenv.FreeAddress(t)
	startMinIO(t, s3)
	env := []string{
		"TEMPORAL_ADDRESS=" + temporal, "S3_ENDPOINT=http://" + s3, "S3_ACCESS_KEY=" + minioUser,
		"S3_SECRET_KEY=" + minioSecret,
	}
	for i, more := range [][]string{nil, {"XDG_CACHE_HOME=" + cacheWithoutXLA(t)}} {
		data := "DISTILVIT_DATA=" + filepath.Join(t.TempDir(), fmt.Sprint("worker", i))
		worker := start(t, append(append([]string{data}, env...), more...), "worker")
		worker.Await("the worker's start", func() bool { return worker.Stderr.String() != "" })
	}
	client := append([]string{"DISTILVIT_DATA=" + filepath.Join(t.TempDir(), "client")}, env...)
	config := writeConfig(t, t.TempDir(), tinyConfig(map[string]any{"backend": "auto"}))
	var runs errgroup.Group
	runs.SetLimit(4)
	ended := make([]finished, *fleetRuns)
	for i := range ended {
		runs.Go(func() error {
			ended[i] = runCommand(t, client, testenv.Program, "run", "-f", config, "--id", fmt.Sprint("run", i), "-o", "json")
			return nil
		})
	}
	require.NoError(t, runs.Wait())
	took := map[string]int{}
	for i, run := range ended {
		require.Zero(t, run.code, run.stderr)
		used := backendsOf(t, client, fmt.Sprint("run", i))
		require.Len(t, used, 1, "run %d computed on several backends", i)
		took[used[0]]++
	}
	t.Logf("runs by backend: %v", took)
}

// backendsOf are the backends that a run's stored checkpoints were computed on, sorted.
func backendsOf(t testing.TB, env []string, run string) []string {
	t.Helper()
	list := runCommand(t, env, testenv.Program, "ls", layout.Run(run).Folder(layout.Checkpoints), "-o", "json")
	require.Zero(t, list.code, list.stderr)
	var used []string
	for _, o := range decode[[]layout.Object](t, list.stdout) {
		if path.Base(o.Key) != "manifest.json" {
			continue
		}
		manifest := runCommand(t, env, testenv.Program, "cat", o.Key)
		require.Zero(t, manifest.code, manifest.stderr)
		m := decode[record.CheckpointManifest](t, manifest.stdout)
		require.Equal(t, 1, m.Branch)
		used = append(used, m.Fingerprint["backend"])
	}
	slices.Sort(used)
	return slices.Compact(used)
}
