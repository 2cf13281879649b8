package activities

import (
	"context"
	"errors"
	"fmt"
	"path"

	"distilvit/model/hub"
	"distilvit/pipeline"
	"distilvit/storage"
)

// given is the local directory of what a key of the config names: the
// directory itself, or these files of a model of the Hugging Face hub, in the
// worker's cache.
func (a *Activities) given(ctx context.Context, p *pulse, key, name string, files hub.Select) (string, error) {
	if !hub.Names(name) {
		return name, nil
	}
	s, _, err := a.fetchHub(ctx, p, name, files)
	if err != nil {
		return "", orInvalid(ctx, fmt.Errorf("%s: %w", key, err))
	}
	return s.Dir, nil
}

func (a *Activities) fetchHub(ctx context.Context, p *pulse, name string, files hub.Select) (*hub.Snapshot, hub.Repo, error) {
	repo, err := hub.Parse(name)
	if err != nil {
		return nil, repo, err
	}
	client, err := hub.New(a.Hub)
	if err != nil {
		return nil, repo, err
	}
	s, err := client.Fetch(ctx, repo, files, func(file string, done, total int64) {
		p.progress("download", done, total, path.Join(repo.ID, file))
	})
	return s, repo, err
}

// pinModel replaces what names a model of the hub by its commit, so that every
// later stage and every later execution of the run means the same files.
func (a *Activities) pinModel(ctx context.Context, p *pulse, run string, m pipeline.ModelConfig) (pipeline.ModelConfig, error) {
	frozen, err := a.frozenModel(ctx, run)
	if err != nil {
		return m, err
	}
	for _, g := range []struct {
		key    string
		name   *string
		frozen string
		files  hub.Select
	}{
		{"model.weights", &m.Weights, frozen.Weights, hub.ConfigFiles},
		{"model.encoder", &m.Encoder, frozen.Encoder, hub.ConfigFiles},
		{"model.decoder", &m.Decoder, frozen.Decoder, hub.ConfigFiles},
		{"model.tokenizer", &m.Tokenizer, frozen.Tokenizer, hub.TokenizerFiles},
	} {
		if !hub.Names(*g.name) {
			continue
		}
		if *g.name, err = a.pin(ctx, p, *g.name, g.frozen, g.files); err != nil {
			return m, orInvalid(ctx, fmt.Errorf("%s: %w", g.key, err))
		}
	}
	return m, nil
}

// pin names a model with its commit: that which an earlier execution of the run
// froze, though main may have moved on since, or the one of now.
func (a *Activities) pin(ctx context.Context, p *pulse, name, frozen string, files hub.Select) (string, error) {
	repo, err := hub.Parse(name)
	if err != nil {
		return "", err
	}
	if had, err := hub.Parse(frozen); err == nil && had.Pinned() && had.ID == repo.ID && repo.Revision == hub.Main {
		return had.Ref(), nil
	}
	s, repo, err := a.fetchHub(ctx, p, name, files)
	if err != nil {
		return "", err
	}
	repo.Revision = s.Commit
	return repo.Ref(), nil
}

// frozenModel is the model of the run's config as an earlier execution froze it.
func (a *Activities) frozenModel(ctx context.Context, run string) (pipeline.ModelConfig, error) {
	var c pipeline.Config
	err := a.Store.GetJSON(ctx, configKey(run), &c)
	if errors.Is(err, storage.ErrNotFound) {
		err = nil
	}
	return c.Model, err
}

// baseModels are what a model card names: the hub's name alone where it has one.
func baseModels(m pipeline.ModelConfig) []string {
	var names []string
	for _, name := range []string{m.Weights, m.Encoder, m.Decoder} {
		if repo, err := hub.Parse(name); err == nil && repo.Pinned() {
			name = repo.ID
		}
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}
