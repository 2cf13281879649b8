package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/dataset"
	"distilvit/internal/testenv"
	"distilvit/pipeline"
)

// tinyConfig is a run of seconds: 32 px, a network of some ten thousand weights.
func tinyConfig(changes map[string]any) map[string]any {
	config := map[string]any{
		"dataset": []any{map[string]any{"kind": "shapes", "shapes": map[string]any{
			"train": 320, "validation": 16, "test": 16, "test_unseen": 8, "max_objects": 2, "image_size": 32,
		}}},
		"model": map[string]any{
			"image_size": 32, "patch_size": 8, "hidden_size": 48, "encoder_layer": 2, "decoder_layer": 2,
			"heads": 2, "vocab_size": 512, "positions": 24,
		},
		"train": map[string]any{
			"epochs": 2, "batch_size": 16, "max_length": 16, "checkpoint_seconds": 0, "patience": 0,
		},
		"evaluate": map[string]any{"batch_size": 8, "samples": 4},
		"export":   map[string]any{"pictures": 16, "max_rouge_l_drop": 100},
	}
	for key, change := range changes {
		if section, ok := config[key].(map[string]any); ok {
			merged := maps.Clone(section)
			maps.Copy(merged, change.(map[string]any))
			config[key] = merged
			continue
		}
		config[key] = change
	}
	return config
}

// writeConfig writes a config as JSON, as temporal workflow start wants it.
func writeConfig(t testing.TB, dir string, config map[string]any) string {
	t.Helper()
	raw, err := json.MarshalIndent(config, "", "  ")
	require.NoError(t, err)
	return writeFile(t, dir, "config.json", string(raw))
}

// shared is the stack of all tests that break nothing, each with run ids of its own: starting one
// costs as much as a tiny training. Tests that kill, corrupt or empty a stack have their own.
var shared struct {
	once      sync.Once
	dir       string
	process   *testenv.Process
	addresses *stackAddresses
}

// endless outlives the test in it: what is started with it ends with removeShared.
type endless struct{ testing.TB }

func (endless) Cleanup(func()) {}

// sharedStack returns the data directory and the addresses of the stack that is up for all tests.
func sharedStack(t testing.TB) (data string, addresses stackAddresses) {
	t.Helper()
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "distilvit-e2e-shared-")
		require.NoError(t, err)
		shared.dir = dir
		process, addresses := up(endless{t}, filepath.Join(dir, "data"), traced.environment()...)
		shared.process, shared.addresses = process, &addresses
	})
	require.NotNil(t, shared.addresses, "the shared stack did not start")
	said := shared.process.Stderr.Len()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the shared stack: " + shared.process.Stderr.Since(said))
		}
	})
	require.True(t, shared.process.Alive(), "the shared stack ended")
	return filepath.Join(shared.dir, "data"), *shared.addresses
}

// removeShared ends what the tests shared.
func removeShared() {
	if shared.process != nil {
		shared.process.Kill()
	}
	for _, dir := range []string{shared.dir, published.dir} {
		if dir != "" {
			os.RemoveAll(dir)
		}
	}
}

// published is a model some test has made, shared by those that only use one.
var published struct {
	once   sync.Once
	dir    string
	model  string
	result *pipeline.Result
}

const (
	publishedPictures = 64 // different ones, each with a caption of its own
	publishedCopies   = 20 // of each, so that an epoch is more than a few steps
)

// publishedModel trains a tiny model until it knows a few pictures by heart, so
// that its captions are firm and differ, and returns its fetched directory, the
// shared stack's data directory, where it is run tiny, and the result.
func publishedModel(t testing.TB) (model, data string, result *pipeline.Result) {
	t.Helper()
	data, _ = sharedStack(t)
	published.once.Do(func() {
		dir, err := os.MkdirTemp("", "distilvit-e2e-model-")
		require.NoError(t, err)
		published.dir = dir
		writePictures(t, filepath.Join(dir, "train"), publishedPictures, publishedCopies)
		writePictures(t, filepath.Join(dir, "held"), publishedPictures, 1)
		source := func(split, folder string) map[string]any {
			return map[string]any{
				"kind": "folder", "split": split, "captions": folder + "/captions.jsonl",
				"images": folder + "/images",
			}
		}
		file := writeConfig(t, dir, tinyConfig(map[string]any{
			"dataset": []any{source("train", "train"), source("validation", "held"), source("test", "held")},
			"train": map[string]any{
				"epochs": 14, "learning_rate": 0.003, "captions_per_picture": 1, "dropout": 0,
			},
			"evaluate": map[string]any{"batch_size": 16},
		}))
		answer := decode[pipeline.Result](
			t, succeed(t, "run", "-f", file, "--id", "tiny", "--data", data, "-o", "json"),
		)
		model := filepath.Join(dir, "model")
		succeed(t, "get", "tiny", model, "--data", data)
		published.model, published.result = model, &answer
	})
	require.NotNil(t, published.result, "the shared model was not made")
	return published.model, data, published.result
}

// writePictures makes a source of kind folder: n different pictures with one
// caption each, every one so many times.
func writePictures(t testing.TB, dir string, n, copies int) {
	t.Helper()
	var lines strings.Builder
	for i, p := range scenes(t, n) {
		for c := range copies {
			name := fmt.Sprintf("%03d-%02d.png", i, c)
			writeFile(t, filepath.Join(dir, "images"), name, string(p.png))
			require.NoError(
				t, json.NewEncoder(&lines).Encode(map[string]string{"image": name, "caption": p.caption}),
			)
		}
	}
	writeFile(t, dir, "captions.jsonl", lines.String())
}

// pictures writes n pictures that the shared model has seen.
func pictures(t testing.TB, n int) []string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i, p := range scenes(t, n) {
		paths = append(paths, writeFile(t, dir, fmt.Sprintf("scene-%03d.png", i), string(p.png)))
	}
	return paths
}

// scene is a drawn picture of the tiny models' size and its caption.
type scene struct {
	png     []byte
	caption string
}

// scenes are n drawn pictures, each with another caption.
func scenes(t testing.TB, n int) []scene {
	t.Helper()
	spec := dataset.Spec{
		Kind: pipeline.KindShapes, Shapes: dataset.ShapesSpec{Train: 4 * n, MaxObjects: 2, ImageSize: 32},
	}
	examples, _, err := dataset.List(t.Context(), spec, nil, 1)
	require.NoError(t, err)
	opener, err := dataset.NewOpener(spec, nil)
	require.NoError(t, err)
	defer opener.Close()
	var found []scene
	seen := map[string]bool{}
	for _, example := range examples {
		if caption := example.Captions[0]; !seen[caption] && len(found) < n {
			seen[caption] = true
			raw, err := opener.Open(t.Context(), example.Image)
			require.NoError(t, err)
			found = append(found, scene{raw, caption})
		}
	}
	require.Len(t, found, n)
	return found
}
