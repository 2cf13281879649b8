package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/devstack"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// completions are what a shell is offered for the last word.
func completions(t *testing.T, words ...string) []string {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, env: environment(nil)}
	require.Zero(t, a.main(t.Context(), append([]string{"__complete"}, words...)), errs.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[:len(lines)-1] // the last is how to go on
}

func TestShellsAreOfferedRunsAndKeys(t *testing.T) {
	data := t.TempDir()
	for _, run := range []string{"mine", "demo"} {
		key := filepath.FromSlash(layout.Run(run).Config())
		write(t, devstack.ObjectsDir(data, bucket), key, "{}")
	}
	before := files(t, data)
	for _, command := range []string{"status", "get", "stop", "pause", "resume", "extend", "logs", "bad", "rm"} {
		require.Equal(t, []string{"demo", "mine"}, completions(t, command, "--data", data, ""), command)
		require.Equal(t, []string{"mine"}, completions(t, command, "--data", data, "m"), command)
	}
	require.Equal(t, []string{"demo", "mine"}, completions(t, "caption", "--data", data, "-m", ""))
	require.Equal(t, before, files(t, data), "looking starts no stack")
	require.Empty(t, completions(t, "status", "--data", filepath.Join(data, "none"), ""))

	keys := completions(t, "run", "--set", "")
	require.Contains(t, keys, "train.epochs=")
	require.Contains(t, keys, "dataset[0].captions=")
	require.Contains(t, keys, "train.augment.rotation=")
	require.Equal(t, []string{"model.preset="}, completions(t, "run", "--set", "model.pre"))
	require.Equal(t, []string{"text", "json"}, completions(t, "list", "-o", ""))
	require.Contains(t, completions(t, "help", "inspe"), "inspect")
}

// Every key that completion offers is a key.
func TestOfferedKeysAreKeys(t *testing.T) {
	for _, key := range pipeline.Keys() {
		_, err := pipeline.Decode([]byte("dataset: [{kind: shapes}]"), key+"=~")
		if err != nil {
			require.NotContains(t, err.Error(), "unknown key", key)
		}
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		found = append(found, path)
		return err
	}))
	return found
}

func TestManualPagesOfAllCommands(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	code, stdout, stderr := cli(t, "", "man", "-o", dir)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "pages in "+dir)
	for _, name := range []string{"distilvit", "distilvit-run", "distilvit-bench-train", "distilvit-man"} {
		require.FileExists(t, filepath.Join(dir, name+".1"))
	}
	require.NoFileExists(t, filepath.Join(dir, "distilvit-trainer.1"))
	page, err := os.ReadFile(filepath.Join(dir, "distilvit-run.1"))
	require.NoError(t, err)
	require.Contains(t, string(page), "distilvit run -f examples/demo.yaml --id demo")
	_, _, _ = cli(t, "", "man", "-o", dir)
	again, err := os.ReadFile(filepath.Join(dir, "distilvit-run.1"))
	require.NoError(t, err)
	require.Equal(t, string(page), string(again))
}
