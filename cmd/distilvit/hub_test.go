package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/hub"
	"distilvit/hub/hubtest"
	"distilvit/model/tokenizer"
)

// environment is a process's, for a test.
func environment(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

func TestHubVariablesMeanWhatHuggingFaceHubMeans(t *testing.T) {
	login := t.TempDir()
	write(t, login, "token", "hf_login\n")
	for _, c := range []struct {
		name string
		env  map[string]string
		want hub.Options
	}{
		{"nothing set", map[string]string{"HOME": "/home/u"}, hub.Options{
			CacheDir: "/home/u/.cache/huggingface/hub",
		}},
		{"cache of the desktop", map[string]string{
			"HOME": "/home/u", "XDG_CACHE_HOME": "/c",
		}, hub.Options{CacheDir: "/c/huggingface/hub"}},
		{
			"home", map[string]string{"HOME": "/home/u", "HF_HOME": "~/hf"},
			hub.Options{CacheDir: "/home/u/hf/hub"},
		},
		{"cache", map[string]string{
			"HF_HOME": "/hf", "HF_HUB_CACHE": "$SCRATCH/hub", "SCRATCH": "/s",
		}, hub.Options{CacheDir: "/s/hub"}},
		{
			"old name of the cache", map[string]string{"HUGGINGFACE_HUB_CACHE": "/old"},
			hub.Options{CacheDir: "/old"},
		},
		{"login", map[string]string{"HF_HOME": login}, hub.Options{
			CacheDir: login + "/hub", Token: "hf_login",
		}},
		{"token before login", map[string]string{
			"HF_HOME": login, "HF_TOKEN": " hf_mine ",
		}, hub.Options{CacheDir: login + "/hub", Token: "hf_mine"}},
		{"token's file", map[string]string{
			"HF_TOKEN_PATH": login + "/token", "HF_HOME": "/hf",
		}, hub.Options{CacheDir: "/hf/hub", Token: "hf_login"}},
		{"offline", map[string]string{
			"HF_HOME": "/hf", "HF_HUB_OFFLINE": "yes",
		}, hub.Options{CacheDir: "/hf/hub", Offline: true}},
		{
			"not offline", map[string]string{"HF_HOME": "/hf", "HF_HUB_OFFLINE": "0"},
			hub.Options{CacheDir: "/hf/hub"},
		},
		{"mirror", map[string]string{
			"HF_HOME": "/hf", "HF_ENDPOINT": "https://mirror",
		}, hub.Options{CacheDir: "/hf/hub", Endpoint: "https://mirror"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, hubOptions(environment(c.env)))
		})
	}
}

func TestModelIsTakenFromTheHub(t *testing.T) {
	dir := t.TempDir()
	trained, err := tokenizer.Train(slices.Values([]string{"a red circle", "a blue square"}), 270)
	require.NoError(t, err)
	require.NoError(t, trained.WriteDir(dir))
	raw, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	require.NoError(t, err)
	s := hubtest.Start(t)
	s.Put(hub.Model, "org/tok", map[string]hubtest.File{
		"tokenizer.json": {Data: raw}, "model.safetensors": {Data: []byte("x"), Large: true},
	})
	env := map[string]string{"HF_ENDPOINT": s.URL, "HF_HOME": t.TempDir()}
	tokenize := func(model string) (code int, stdout, stderr string) {
		var out, errs bytes.Buffer
		a := &app{
			stdin: strings.NewReader("\"a red circle\"\n"), stdout: &out, stderr: &errs,
			env: environment(env),
		}
		code = a.main(t.Context(), []string{"tokenize", "-m", model, "--data", t.TempDir()})
		return code, out.String(), errs.String()
	}
	code, want, stderr := tokenize(dir)
	require.Zero(t, code, stderr)
	for _, model := range []string{"hf:org/tok", "org/tok", "org/tok@main"} {
		code, stdout, stderr := tokenize(model)
		require.Zero(t, code, stderr)
		require.Equal(t, want, stdout)
	}
	for _, r := range s.Requests() {
		require.NotContains(t, r.Path, "safetensors")
	}
	code, _, stderr = tokenize("org/none")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "there is no directory org/none here, and hugging face model org/none@main: ")
	code, _, stderr = tokenize("hf:org/tok@../x")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "is not a revision")
	env["HF_ENDPOINT"], env["HF_HUB_OFFLINE"] = "http://127.0.0.1:1", "1"
	code, stdout, stderr := tokenize("hf:org/tok")
	require.Zero(t, code, stderr)
	require.Equal(t, want, stdout)
	env["HF_ENDPOINT"] = "mirror"
	code, _, stderr = tokenize("hf:org/tok")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "HF_ENDPOINT")
}

func TestConfigNamesModelsOfTheHub(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(t.TempDir())
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "here/model"), 0o755))
	for weights, want := range map[string]string{
		"hf:google/vit@v1": "hf:google/vit@v1",
		"google/vit":       "hf:google/vit",
		"here/model":       filepath.Join(dir, "here/model"),
		"none":             filepath.Join(dir, "none"),
	} {
		cfg, err := readConfig(write(t, dir, "c.yaml", "dataset: [{kind: shapes}]\nmodel: {weights: '"+
			weights+"', tokenizer: '"+weights+"'}\n"), nil, nil)
		require.NoError(t, err)
		require.Equal(t, want, cfg.Model.Weights)
		require.Equal(t, want, cfg.Model.Tokenizer)
		if strings.HasPrefix(want, hub.Prefix) {
			require.NoError(t, missingFiles(cfg))
		}
	}
	_, err := readConfig(
		write(t, dir, "c.yaml", "dataset: [{kind: shapes}]\nmodel: {weights: 'hf:a/b/c'}\n"), nil, nil,
	)
	require.ErrorContains(t, err, "model.weights: hf:a/b/c: ")
}

func TestDoctorShowsTheHub(t *testing.T) {
	f := (&app{env: environment(map[string]string{"HF_HOME": "/hf", "HF_TOKEN": "hf_secret"})}).lookHub()
	require.True(t, f.OK)
	require.Equal(t, "https://huggingface.co, with a token, cache /hf/hub", f.Detail)
	f = (&app{env: environment(map[string]string{"HF_HOME": "/hf", "HF_HUB_OFFLINE": "1"})}).lookHub()
	require.Equal(t, "offline (HF_HUB_OFFLINE), no token, cache /hf/hub", f.Detail)
	require.False(t, (&app{env: environment(map[string]string{"HF_ENDPOINT": "x"})}).lookHub().OK)
}
