package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/dataset"
	"distilvit/pipeline"
)

// tinyConfig is a run of seconds: 32 px, a network of some ten thousand weights.
func tinyConfig(changes map[string]any) map[string]any {
	config := map[string]any{
		"dataset": []any{map[string]any{"kind": "shapes", "shapes": map[string]any{
			"train": 320, "validation": 24, "test": 24, "test_unseen": 8, "max_objects": 2, "image_size": 32,
		}}},
		"model": map[string]any{
			"image_size": 32, "patch_size": 8, "hidden_size": 48, "encoder_layer": 2, "decoder_layer": 2,
			"heads": 2, "vocab_size": 320, "positions": 40,
		},
		"train":    map[string]any{"epochs": 2, "batch_size": 16, "max_length": 24, "checkpoint_seconds": 0, "patience": 0},
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

// published is a model some test has made, shared by those that only use one.
var published struct {
	once   sync.Once
	dir    string
	data   string
	model  string
	result *pipeline.Result
}

// publishedShapes are the pictures of the shared model.
var publishedShapes = dataset.ShapesSpec{Train: 1600, Validation: 48, Test: 48, TestUnseen: 16, MaxObjects: 2, ImageSize: 32}

// publishedModel trains a tiny model until it captions its training pictures
// firmly, and returns its fetched directory, the data directory and the result.
func publishedModel(t testing.TB) (model, data string, result *pipeline.Result) {
	t.Helper()
	published.once.Do(func() {
		dir, err := os.MkdirTemp("", "distilvit-e2e-model-")
		require.NoError(t, err)
		published.dir = dir
		published.data = filepath.Join(dir, "data")
		file := writeConfig(t, dir, tinyConfig(map[string]any{
			"dataset":  []any{map[string]any{"kind": "shapes", "shapes": publishedShapes}},
			"train":    map[string]any{"epochs": 12, "learning_rate": 0.003, "dropout": 0},
			"evaluate": map[string]any{"batch_size": 16},
		}))
		answer := decode[pipeline.Result](t, succeed(t, "run", "-f", file, "--id", "tiny", "--data", published.data, "-o", "json"))
		model := filepath.Join(dir, "model")
		succeed(t, "get", "tiny", model, "--data", published.data)
		published.model, published.result = model, &answer
	})
	require.NotNil(t, published.result, "the shared model was not made")
	return published.model, published.data, published.result
}

func removePublished() {
	if published.dir != "" {
		os.RemoveAll(published.dir)
	}
}

// pictures writes n training pictures of the shared model as PNG files.
func pictures(t testing.TB, n int) []string {
	t.Helper()
	spec := dataset.Spec{Kind: "shapes", Shapes: publishedShapes}
	examples, _, err := dataset.List(t.Context(), spec, nil, pipeline.Default().Seed)
	require.NoError(t, err)
	opener, err := dataset.NewOpener(spec, nil)
	require.NoError(t, err)
	defer opener.Close()
	dir := t.TempDir()
	var paths []string
	for i, example := range examples[:n] {
		require.Equal(t, pipeline.SplitTrain, example.Split)
		raw, err := opener.Open(t.Context(), example.Image)
		require.NoError(t, err)
		paths = append(paths, writeFile(t, dir, fmt.Sprintf("scene-%03d.png", i), string(raw)))
	}
	return paths
}
