package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// databaseOf is the file in which the embedded Temporal keeps its histories.
func databaseOf(t *testing.T, data string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(data, "temporal-*.db"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

// A data directory that lost its database, has a damaged one, or lost its objects, is refused with what is
// missing. Rebuilt from the store, a run goes on from its newest checkpoint to the same weights, a complete one
// is listed with its model; with an empty store it is trained again, to the same weights.
func TestLostStateIsRefusedAndRecovered(t *testing.T) {
	config := writeConfig(t, t.TempDir(), tinyConfig(map[string]any{
		"backend": "go",
		"dataset": []any{map[string]any{"kind": "shapes", "shapes": map[string]any{
			"train": 480, "validation": 8, "test": 8, "max_objects": 2, "image_size": 32,
		}}},
		"model": map[string]any{"encoder_layer": 1, "decoder_layer": 1},
		"train": map[string]any{"checkpoint_steps": 7},
	}))
	const steps = 30 // of an epoch
	want := trainUndisturbed(t, config, "lost")

	data := filepath.Join(t.TempDir(), "data")
	args := []string{"run", "-f", config, "--id", "lost", "--data", data}
	run := start(t, nil, args...)
	awaitCheckpoint(t, run, data, "lost", steps+1, steps)
	killEverything(t, run)
	newest := newestCheckpoint(data, "lost")
	database := databaseOf(t, data)

	for i, damage := range []func(){
		func() { require.NoError(t, os.Remove(database)) },
		func() { require.NoError(t, os.Truncate(database, 100_000)) },
		func() { garble(t, database) },
	} {
		damage()
		for _, command := range [][]string{{"list"}, {"run", "-f", config, "--id", "lost"}, {"up"}} {
			oneLine(t, distilvit(t, append(command, "--data", data)...), 1, database, "distilvit recover")
		}
		answer := decode[struct {
			NewDatabase bool   `json:"new_database"`
			SetAside    string `json:"set_aside"`
			Runs        []struct {
				Run      string
				Complete bool
				Step     int
			}
		}](t, succeed(t, "recover", "--data", data, "-o", "json"))
		require.True(t, answer.NewDatabase)
		require.Len(t, answer.Runs, 1)
		require.Equal(t, "lost", answer.Runs[0].Run)
		require.False(t, answer.Runs[0].Complete)
		require.Equal(t, newest, answer.Runs[0].Step)
		if answer.SetAside != "" {
			require.FileExists(t, answer.SetAside)
		}
		if i == 0 {
			require.Regexp(t, `lost +recovered`, succeed(t, "list", "--data", data))
			require.Contains(t, succeed(t, "status", "lost", "--data", data), "newest checkpoint at step")
		}
	}
	again := distilvit(t, args...)
	require.Zero(t, again.code, again.stderr)
	require.Contains(t, again.stderr, "run lost: recovered earlier, going on from its checkpoints")
	require.Equal(t, want, weightsDigest(t, data, "lost"))

	require.NoError(t, os.Remove(database))
	succeed(t, "recover", "--data", data)
	require.Regexp(t, `lost +completed, recovered +done`, succeed(t, "list", "--data", data))
	require.Contains(t, succeed(t, args...), "models/lost/lost-b1")
	require.Equal(t, want, weightsDigest(t, data, "lost"))
	require.Contains(t, succeed(t, "recover", "--data", data), "no run")

	require.NoError(t, os.RemoveAll(filepath.Join(data, "s3", "objects", "distilvit")))
	require.NoError(t, os.RemoveAll(filepath.Join(data, "work")))
	oneLine(t, distilvit(t, "list", "--data", data), 1, "store.json", "distilvit recover")
	require.Contains(t, succeed(t, "recover", "--data", data), "begins empty")
	require.Contains(t, succeed(t, "status", "lost", "--data", data), "not in the object store any more")
	succeed(t, args...)
	require.Equal(t, want, weightsDigest(t, data, "lost"))
}

// garble overwrites what lies in the middle of a file.
func garble(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	noise := make([]byte, info.Size()/2)
	for i := range noise {
		noise[i] = byte(i*7 + i>>8)
	}
	_, err = f.WriteAt(noise, info.Size()/4)
	require.NoError(t, err)
}
