package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/pipeline"
)

// Runs that freeze the same encoder share its features, which train the weights that pixels train.
func TestRunsShareTheFeaturesOfAFrozenEncoder(t *testing.T) {
	weights, data, _ := publishedModel(t)
	publish := func(id string, train map[string]any) []byte {
		settings := map[string]any{
			"epochs": 1, "learning_rate": 0.001, "freeze": []string{"encoder"}, "augment": map[string]any{},
		}
		for key, value := range train {
			settings[key] = value
		}
		config := tinyConfig(map[string]any{"train": settings})
		config["model"] = map[string]any{"weights": weights}
		file := writeConfig(t, t.TempDir(), config)
		decode[pipeline.Result](t, succeed(t, "run", "-f", file, "--id", id, "--data", data, "-o", "json"))
		model := filepath.Join(t.TempDir(), "model")
		succeed(t, "get", id, model, "--data", data)
		raw, err := os.ReadFile(filepath.Join(model, "model.safetensors"))
		require.NoError(t, err)
		return raw
	}
	stored := func() []string {
		return slices.DeleteFunc(storedFiles(t, data), func(key string) bool { return !strings.HasPrefix(key, "features/") })
	}
	before := stored() // by other tests
	computed := publish("encoder-frozen", nil)
	require.Equal(t, before, stored())
	require.Equal(t, computed, publish("encoder-stored", map[string]any{"features": "float32"}))
	made := stored()
	require.Greater(t, len(made), len(before))
	require.NotEqual(t, computed, publish("encoder-shared", map[string]any{"features": "float32", "learning_rate": 0.002}))
	require.Equal(t, made, stored(), "the second run has made features of its own")
}

// A student of half the decoder learns from what a run has published, and says how many layers it has.
func TestAStudentLearnsFromWhatARunHasPublished(t *testing.T) {
	_, data, _ := publishedModel(t)
	config := tinyConfig(map[string]any{"train": map[string]any{
		"epochs": 1, "learning_rate": 0.001, "teacher": "run:tiny", "teacher_top_k": 8, "teacher_captions": 1,
	}})
	config["model"] = map[string]any{
		"weights": "run:models/tiny", "from_layers": map[string]any{"decoder": []int{1}},
	}
	file := writeConfig(t, t.TempDir(), config)
	decode[pipeline.Result](t, succeed(t, "run", "-f", file, "--id", "student", "--data", data, "-o", "json"))
	model := filepath.Join(t.TempDir(), "model")
	succeed(t, "get", "student", model, "--data", data)
	raw, err := os.ReadFile(filepath.Join(model, "config.json"))
	require.NoError(t, err)
	require.Contains(t, string(raw), `"n_layer": 1`)
	for file, text := range map[string]string{
		"README.md": "learns from run:models/tiny/tiny-b1 beside the captions", "report.html": "what a teacher says ",
	} {
		raw, err := os.ReadFile(filepath.Join(model, file))
		require.NoError(t, err)
		require.Contains(t, string(raw), text)
	}
	require.True(t, slices.ContainsFunc(storedFiles(t, data), func(key string) bool {
		return strings.HasPrefix(key, "teacher/") && strings.HasSuffix(key, "/manifest.json")
	}))
}
