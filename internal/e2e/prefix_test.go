package e2e

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// A picture before the caption, from a config to captions: what a run publishes captions natively and as ONNX as the
// run's own export check has counted, and stands beside a ViT with a GPT-2 in a comparison.
func TestAPrefixRunPublishesWhatCaptionsAndCompares(t *testing.T) {
	const n = 16
	dir := t.TempDir()
	writePictures(t, filepath.Join(dir, "train"), n, 12)
	writePictures(t, filepath.Join(dir, "held"), n, 1)
	source := func(split, folder string) map[string]any {
		return map[string]any{
			"kind": "folder", "split": split, "captions": folder + "/captions.jsonl", "images": folder + "/images",
		}
	}
	config := tinyConfig(map[string]any{
		"dataset": []any{source("train", "train"), source("validation", "held"), source("test", "held")},
		"train":   map[string]any{"epochs": 8, "learning_rate": 0.003, "captions_per_picture": 1, "dropout": 0},
		"export":  map[string]any{"pictures": n},
	})
	config["model"] = map[string]any{"kind": "prefix", "preset": "modern-tiny", "image_size": 32}
	file := writeConfig(t, dir, config)
	vit, data, _ := publishedModel(t)
	result := decode[pipeline.Result](t, succeed(t, "run", "-f", file, "--id", "prefix", "--data", data, "-o", "json"))
	require.Equal(t, "models/prefix/prefix-b1", result.Model)
	model := filepath.Join(dir, "model")
	succeed(t, "get", "prefix", model, "--data", data)

	images, err := filepath.Glob(filepath.Join(dir, "held", "images", "*.png"))
	require.NoError(t, err)
	caption := func(more ...string) []string {
		args := append([]string{"caption", "-m", model, "-o", "json"}, more...)
		return captionsOf(t, succeed(t, append(args, images...)...))
	}
	native := caption()
	different := slices.Compact(slices.Sorted(slices.Values(native)))
	require.Greater(t, len(different), 1, "the picture has no say in %q", native)
	checks := map[string]record.ExportCheck{}
	for _, check := range result.Checks {
		checks[check.Dtype] = check
		require.Equal(t, n, check.Pictures)
		equal := 0
		for i, said := range caption("--onnx", check.Dtype) {
			if said == native[i] {
				equal++
			}
		}
		require.Equal(t, check.EqualIDs, equal, "%s: the export's check has counted others", check.Dtype)
	}
	require.Equal(t, n, checks["fp32"].EqualIDs)
	require.Contains(t, checks, "q8")

	page := filepath.Join(dir, "page.html")
	compared := decode[struct {
		Pictures int
		Models   []struct {
			Model, Form string
			Bytes       int64
			RougeL      float64
			Token       float64 `json:"ms_per_token"`
		}
	}](t, succeed(t, "compare", "-m", vit, "-m", model, "-d", file, "--html", page, "-o", "json"))
	require.Equal(t, n, compared.Pictures)
	require.Len(t, compared.Models, 6)
	require.FileExists(t, page)
	for i, form := range []string{"weights", "fp32", "q8"} {
		ours, theirs := compared.Models[3+i], compared.Models[i]
		require.Equal(t, []string{vit, form}, []string{theirs.Model, theirs.Form})
		require.Equal(t, []string{model, form}, []string{ours.Model, ours.Form})
		require.Positive(t, min(ours.Token, theirs.Token))
		if form != "q8" {
			require.InDelta(t, result.Test.RougeL, ours.RougeL, 1e-9)
		}
		if form != "weights" {
			require.Equal(t, checks[form].Bytes, ours.Bytes)
		}
	}
}
