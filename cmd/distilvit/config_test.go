package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/pipeline"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func TestConfigMistakesAreAllReportedALineEach(t *testing.T) {
	file := write(
		t, t.TempDir(), "c.yaml",
		"dataset: [{kind: shapes}]\ntrain:\n  epoch: 3\n  batch_size: many\nbackend: tpu\n",
	)
	code, _, stderr := cli(t, "", "run", "-f", file)
	require.Equal(t, exitUsage, code)
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	require.Len(t, lines, 3, stderr)
	for i, want := range []string{"train.epoch: ", "train.batch_size: ", "backend: "} {
		require.True(t, strings.HasPrefix(lines[i], "distilvit: "+file+": line "), lines[i])
		require.Contains(t, lines[i], want)
	}
}

func TestBrokenJSONIsOneLine(t *testing.T) {
	file := write(t, t.TempDir(), "c.json", `{"train": {"epochs": 3,}`)
	code, _, stderr := cli(t, "", "run", "-f", file)
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, file)
	require.Contains(t, stderr, "not valid JSON")
	require.Equal(t, 1, strings.Count(stderr, "\n"))
}

func TestSetOverridesTheFile(t *testing.T) {
	file := write(t, t.TempDir(), "c.yaml", "dataset: [{kind: shapes}]\ntrain: {epochs: 3}\n")
	cfg, err := readConfig(file, []string{"train.epochs=5", "train.batch_size=8"}, nil)
	require.NoError(t, err)
	require.Equal(t, 5, cfg.Train.Epochs)
	require.Equal(t, 8, cfg.Train.BatchSize)
}

func TestConfigComesFromStdin(t *testing.T) {
	cfg, err := readConfig("-", nil, strings.NewReader(`{"dataset": [{"kind": "shapes"}], "seed": 7}`))
	require.NoError(t, err)
	require.EqualValues(t, 7, cfg.Seed)
}

func TestRelativePathsAreLookedForBesideTheFileThenHere(t *testing.T) {
	dir, here := t.TempDir(), t.TempDir()
	t.Chdir(here)
	write(t, dir, "data/captions.json", "{}")
	write(t, here, "images/a.png", "")
	file := write(t, dir, "c.yaml", "dataset: [{kind: coco, captions: data/captions.json, images: images}]\n")
	cfg, err := readConfig(file, nil, nil)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "data/captions.json"), cfg.Dataset[0].Captions)
	require.Equal(t, pipeline.Paths{filepath.Join(here, "images")}, cfg.Dataset[0].Images)
	require.NoError(t, missingFiles(cfg))
	require.NoError(t, os.RemoveAll(filepath.Join(here, "images")))
	require.EqualError(
		t, missingFiles(cfg), "no such file at dataset[0].images: "+filepath.Join(here, "images"),
	)
}

func TestURLsStayAsTheyAre(t *testing.T) {
	path := "https://example.org/captions.json"
	require.NoError(t, absolutePath(&path, "/base"))
	require.Equal(t, "https://example.org/captions.json", path)
}

func TestRunIDsComeFromNameAndTime(t *testing.T) {
	now := time.Date(2026, 11, 23, 13, 42, 5, 0, time.UTC)
	require.Equal(t, "run-20261123-134205", newRunID("", now))
	require.Equal(t, "my-model-20261123-134205", newRunID("My Model!", now))
	require.NoError(t, pipeline.CheckRunID(newRunID(strings.Repeat("x", 100), now)))
}

func TestSameConfigSeesThroughDefaults(t *testing.T) {
	short, err := pipeline.Decode([]byte("dataset: [{kind: shapes}]\nmodel: {preset: tiny}\n"))
	require.NoError(t, err)
	long := short.Resolve()
	long.Name = "demo"
	changes, err := configChanges(long, short, "demo")
	require.NoError(t, err)
	require.Empty(t, changes)
	long.Train.Epochs++
	changes, err = configChanges(long, short, "demo")
	require.NoError(t, err)
	require.NotEmpty(t, changes)
}

func TestDatasetsAreParsed(t *testing.T) {
	dir := t.TempDir()
	cfg, config, err := parseDataset("coco:captions.json,images/", 64)
	require.NoError(t, err)
	require.False(t, config)
	require.Equal(t, "captions.json", cfg.Dataset[0].Captions)
	require.Equal(t, pipeline.Paths{"images/"}, cfg.Dataset[0].Images)

	cfg, config, err = parseDataset("shapes", 32)
	require.NoError(t, err)
	require.False(t, config)
	require.Equal(t, 32, cfg.Dataset[0].Shapes.ImageSize)
	require.Positive(t, cfg.Dataset[0].Shapes.Test)

	file := write(t, dir, "d.yaml", "dataset:\n- {kind: folder, captions: c.csv, images: i, split: "+
		"test}\ntrain: {epochs: 3}\nprepare: {test_fraction: 0.25}\nseed: 7\n")
	write(t, dir, "c.csv", "")
	cfg, config, err = parseDataset(file, 64)
	require.NoError(t, err)
	require.True(t, config)
	require.Equal(t, "test", cfg.Dataset[0].Split)
	require.Equal(t, filepath.Join(dir, "c.csv"), cfg.Dataset[0].Captions)
	require.Equal(t, 0.25, cfg.Prepare.TestFraction)
	require.Equal(t, pipeline.Default().Prepare.ValidationFraction, cfg.Prepare.ValidationFraction)
	require.EqualValues(t, 7, cfg.Seed)

	for text, want := range map[string]string{
		"coco:captions.json": "use coco:CAPTIONS,IMAGES",
		dir + "/none.yaml":   "no such DATASET",
		write(
			t, dir, "empty.yaml", "train: {epochs: 1}\n",
		): "has no dataset: list",
		write(
			t, dir, "typo.yaml", "dataset: [{kind: coco, caption: x}]\n",
		): "dataset[0].caption",
		write(
			t, dir, "much.yaml", "dataset: [{kind: shapes}]\nprepare: {test_fraction: 2}\n",
		): "prepare.test_fraction",
	} {
		_, _, err := parseDataset(text, 64)
		require.ErrorContains(t, err, want)
	}
}
