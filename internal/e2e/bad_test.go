package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/dataset"
	"distilvit/pipeline"
)

// What a run left out and what it stored can be looked at.
func TestWhatARunLeftOutIsShown(t *testing.T) {
	data, addresses := sharedStack(t)
	dir := t.TempDir()
	writePictures(t, dir, 40, 1)
	writeFile(t, filepath.Join(dir, "images"), "broken.png", "no picture\n")
	table := filepath.Join(dir, "captions.jsonl")
	lines, err := os.ReadFile(table)
	require.NoError(t, err)
	writeFile(t, dir, "captions.jsonl", string(lines)+`{"image": "broken.png", "caption": "a star"}`+"\n")
	file := writeConfig(t, dir, tinyConfig(map[string]any{
		"backend": pipeline.BackendGo,
		"dataset": []any{map[string]any{"kind": "folder", "captions": "captions.jsonl", "images": "images"}},
		"prepare": map[string]any{"max_bad_fraction": 0.5},
	}))
	follower := start(t, nil, "run", "-f", file, "--id", "leaves-out", "--data", data)
	var left []dataset.Bad
	follower.Await("what the run left out", func() bool {
		f := distilvit(t, "bad", "leaves-out", "--data", data, "-o", "json")
		if f.code == 0 {
			left = decode[[]dataset.Bad](t, f.stdout)
		}
		return f.code == 0
	})
	require.Len(t, left, 1)
	require.Equal(t, "broken.png", left[0].ID)
	require.Contains(t, left[0].Reason, "not JPEG")
	require.Zero(t, follower.Wait(), follower.Stderr.String())

	require.Contains(t, succeed(t, "ls", "runs/leaves-out/", "--data", data), "runs/leaves-out/config.json")
	require.Contains(t, succeed(t, "cat", "runs/leaves-out/config.json", "--data", data), "captions.jsonl")
	oneLine(t, distilvit(t, "cat", "runs/none", "--data", data), 1, "no such key: runs/none in "+data)
	credentials := succeed(t, "up", "--credentials", "--data", data)
	require.Contains(t, credentials, "http://"+addresses.S3)
	require.Equal(t, 3, strings.Count(credentials, fieldAfter(t, credentials, "access key")))
}

// fieldAfter is the word behind a heading.
func fieldAfter(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, heading)
	require.True(t, found, text)
	return strings.Fields(rest)[0]
}
