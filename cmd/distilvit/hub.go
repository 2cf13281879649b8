package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"distilvit/hub"
	"distilvit/internal/retry"
	"distilvit/report"
)

// hubOptions reads the variables that huggingface_hub reads, so that its cache
// and its login serve this program too.
func hubOptions(env func(string) string) hub.Options {
	home := hubPath(env, "HF_HOME")
	if home == "" {
		if cache := hubPath(env, "XDG_CACHE_HOME"); cache != "" {
			home = filepath.Join(cache, "huggingface")
		} else if user := env("HOME"); user != "" {
			home = filepath.Join(user, ".cache", "huggingface")
		}
	}
	o := hub.Options{
		Endpoint: env("HF_ENDPOINT"),
		Token:    hubToken(env, home),
		CacheDir: hubPath(env, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"),
		Offline:  isTrue(first(env, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")),
	}
	if o.CacheDir == "" && home != "" {
		o.CacheDir = filepath.Join(home, "hub")
	}
	return o
}

// hubToken is the environment's, or that of the last login.
func hubToken(env func(string) string, home string) string {
	if token := strings.TrimSpace(first(env, "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")); token != "" {
		return token
	}
	file := hubPath(env, "HF_TOKEN_PATH")
	if file == "" && home != "" {
		file = filepath.Join(home, "token")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return "" // nobody is logged in; what needs a token will say so
	}
	return strings.TrimSpace(string(raw))
}

// first is the first of these variables that is set.
func first(env func(string) string, names ...string) string {
	for _, name := range names {
		if value := env(name); value != "" {
			return value
		}
	}
	return ""
}

// hubPath is the first of these variables that is set, with ~ and $VARIABLES.
func hubPath(env func(string) string, names ...string) string {
	path := os.Expand(first(env, names...), env)
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/') {
		path = env("HOME") + rest
	}
	return path
}

func isTrue(value string) bool {
	return slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(value))
}

// fetchFromHub gives a model of the hub as a directory, showing how it comes.
func (a *app) fetchFromHub(ctx context.Context, name string, files hub.Select) (string, error) {
	repo, err := hub.Parse(name)
	if err != nil {
		return "", &usageError{err: err}
	}
	p := newProgress(a.stderr)
	defer p.clear()
	s, err := a.fetchRepo(ctx, repo, files, p)
	if err != nil {
		if retry.NobodyThere(err) != nil {
			err = fmt.Errorf("%w; without a connection name a directory with the model's files", err)
		}
		if !strings.HasPrefix(name, hub.Prefix) {
			return "", fmt.Errorf("there is no directory %s here, and %w", name, err)
		}
		return "", err
	}
	return s.Dir, nil
}

func (a *app) fetchRepo(
	ctx context.Context, repo hub.Repo, files hub.Select, p *progress,
) (*hub.Snapshot, error) {
	client, err := hub.New(hubOptions(a.env))
	if err != nil {
		return nil, &usageError{err: err}
	}
	return client.Fetch(ctx, repo, files, func(file string, done, total int64) {
		p.show("fetch "+repo.ID, done, total, file, report.Bytes(done))
	})
}

// fetchFiles gives what a source's path names of a dataset repository as local files:
// of a folder those that end in ext.
func (a *app) fetchFiles(ctx context.Context, name, ext string, p *progress) ([]string, error) {
	named, err := hub.ParseFiles(name)
	if err != nil {
		return nil, &usageError{err: err}
	}
	s, err := a.fetchRepo(ctx, named.Repo, named.Select(ext), p)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(s.Files))
	for i, file := range s.Files {
		paths[i] = filepath.Join(s.Dir, filepath.FromSlash(file))
	}
	return paths, nil
}

// lookHub says where models of the hub come from; it asks nobody.
func (a *app) lookHub() finding {
	f := finding{Name: "hugging face"}
	o := hubOptions(a.env)
	if _, err := hub.New(o); err != nil {
		f.Detail, f.Fix = err.Error(), "only needed for models named hf:ORG/NAME"
		return f
	}
	f.OK = true
	f.Detail = o.Endpoint
	if f.Detail == "" {
		f.Detail = hub.DefaultEndpoint
	}
	if o.Offline {
		f.Detail = "offline (HF_HUB_OFFLINE)"
	}
	token := "no token"
	if o.Token != "" {
		token = "with a token"
	}
	f.Detail += ", " + token + ", cache " + o.CacheDir
	return f
}
