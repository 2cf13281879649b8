package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A machine with everything in its cache dies in mid-epoch, and bits have
// flipped in the store: in a picture shard, in a token shard and in the newest
// checkpoint. The run mends that and ends with the weights of one that nothing
// befell, and with the same objects in the store.
func TestFlippedBitsAreMendedAndTheRunEndsTheSame(t *testing.T) {
	changes := crashConfig()
	changes["backend"] = "go"
	changes["train"].(map[string]any)["epochs"] = 2
	config := writeConfig(t, t.TempDir(), changes)
	straight, data := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "data")
	args := []string{"run", "-f", config, "--id", "crash", "--data"}
	succeed(t, append(args, straight)...)

	run := start(t, nil, append(args, data)...)
	awaitCheckpoint(t, run, data, "crash", crashSteps+1, crashSteps)
	killEverything(t, run)
	require.NoError(t, os.RemoveAll(filepath.Join(data, "work")))
	stored := storedFiles(t, data)
	first := func(prefix, suffix string) string {
		i := slices.IndexFunc(stored, func(name string) bool {
			return strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix)
		})
		require.GreaterOrEqual(t, i, 0)
		return stored[i]
	}
	newest := newestCheckpoint(data, "crash")
	var checkpoint struct {
		Files map[string]struct{ Key string }
	}
	raw, err := os.ReadFile(
		storedFile(t, data, fmt.Sprintf("runs/crash/checkpoints/1/%d/manifest.json", newest)),
	)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &checkpoint))
	broken := []string{
		first("datasets/", ".parquet"), first("tokens/", ".parquet"),
		checkpoint.Files["model.safetensors"].Key,
	}
	for _, key := range broken {
		flipBit(t, storedFile(t, data, key))
	}
	succeed(t, append(args, data)...)
	require.Equal(t, weightsDigest(t, straight, "crash"), weightsDigest(t, data, "crash"))

	report, err := os.ReadFile(storedFile(t, data, "runs/crash/report.html"))
	require.NoError(t, err)
	for _, key := range broken {
		require.Contains(t, string(report), key)
	}
	for _, dir := range []string{straight, data} {
		succeed(t, "janitor", "--grace", "0s", "--data", dir)
	}
	require.Equal(t, storedFiles(t, straight), storedFiles(t, data))

	// What is published cannot be made again by this program: it is named.
	flipBit(t, storedFile(t, data, "models/crash/crash-b1/onnx/encoder_model.onnx"))
	oneLine(t, distilvit(t, "get", "crash", t.TempDir(), "--data", data), 1,
		"models/crash/crash-b1/onnx/encoder_model.onnx", "do not match")
}

// storedFile is where the embedded store keeps an object's bytes.
func storedFile(t *testing.T, data, key string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(data, "*", "objects", "distilvit", key))
	require.NoError(t, err)
	require.Len(t, found, 1, key)
	return found[0]
}

// flipBit changes one bit in the middle of a file, in place.
func flipBit(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{content[len(content)/2] ^ 1}, int64(len(content)/2))
	require.NoError(t, err)
}
