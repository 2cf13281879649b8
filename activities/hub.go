package activities

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"

	"distilvit/artifact"
	"distilvit/hub"
	"distilvit/internal/retry"
	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// given is the local directory of what a key of the config names: the
// directory itself, or these files of a model of the Hugging Face hub, in the
// worker's cache, or of one that the store has, beside the models of runs.
func (a *Activities) given(ctx context.Context, p *pulse, key, name string, files hub.Select) (string, error) {
	if published, ok := pipeline.FromStore(name); ok {
		dir, err := a.fetchPublished(ctx, published, files)
		if errors.Is(err, artifact.ErrNotPublished) {
			return "", invalid("%s: %v", key, err)
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", key, err)
		}
		return dir, nil
	}
	if !hub.Names(name) {
		return name, nil
	}
	repo, err := hub.Parse(name)
	if err != nil {
		return "", invalid("%s: %v", key, err)
	}
	s, err := a.fetchHub(ctx, p, repo, files)
	if err != nil {
		return "", orInvalid(ctx, fmt.Errorf("%s: %w", key, err))
	}
	return s.Dir, nil
}

// fetchPublished fetches these files of a published model.
func (a *Activities) fetchPublished(ctx context.Context, name string, choose hub.Select) (string, error) {
	group, err := artifact.FindModel(ctx, a.Store, name)
	if err != nil {
		return "", err
	}
	m, err := artifact.ReadModel(ctx, a.Store, group)
	if err != nil {
		return "", err
	}
	names, err := choose(slices.Sorted(maps.Keys(m.Files)))
	if err != nil {
		return "", fmt.Errorf("%s: %w", group, err)
	}
	files := map[string]layout.Object{}
	for _, name := range names {
		o := m.Files[name]
		o.Key = layout.File(group, name)
		files[name] = o
	}
	dir := filepath.Join(a.Dir, "models", layout.SafeName(group))
	return dir, artifact.Fetch(ctx, a.Store, files, dir)
}

func (a *Activities) fetchHub(
	ctx context.Context, p *pulse, repo hub.Repo, files hub.Select,
) (*hub.Snapshot, error) {
	client, err := hub.New(a.Hub)
	if err != nil {
		return nil, err
	}
	return client.Fetch(ctx, repo, files, func(file string, done, total int64) {
		p.progress("download", done, total, path.Join(repo.ID, file))
	})
}

// pinConfig names everything of the hub by its commit, so that every later stage
// and every later execution of the run means the same files: the commit that an
// earlier execution froze, though main may have moved on since, or the one of now.
func (a *Activities) pinConfig(ctx context.Context, p *pulse, run string, c *pipeline.Config) error {
	var frozen pipeline.Config
	err := a.Store.GetJSON(ctx, layout.Run(run).Config(), &frozen)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if c.Dataset, err = a.pinSources(ctx, c.Dataset, frozen.Dataset); err != nil {
		return err
	}
	return a.pinModels(ctx, p, c, frozen)
}

func (a *Activities) pinModels(ctx context.Context, p *pulse, c *pipeline.Config, was pipeline.Config) (err error) {
	m, frozen := &c.Model, was.Model
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
		{"model.adapter", &m.Adapter, frozen.Adapter, hub.AdapterFiles},
		{"train.teacher", &c.Train.Teacher, was.Train.Teacher, hub.ConfigFiles},
	} {
		if _, ok := pipeline.FromStore(*g.name); ok {
			if *g.name, err = a.pinPublished(ctx, *g.name, g.frozen); err != nil {
				return fmt.Errorf("%s: %w", g.key, err)
			}
			continue
		}
		if !hub.Names(*g.name) {
			continue
		}
		if *g.name, err = a.pin(ctx, p, *g.name, g.frozen, g.files); err != nil {
			if a.Hub.Offline || errors.Is(err, hub.ErrUnavailable) {
				err = fmt.Errorf("%w. Without the hub bring a directory with its files (config.json, weights, "+
					"tokenizer, preprocessor_config.json) and name that: %s: DIRECTORY", err, g.key)
			}
			return unreachable(ctx, fmt.Errorf("%s: %w", g.key, err))
		}
	}
	return nil
}

// pinPublished names a published model by its version: that of an earlier execution, or the newest of now.
func (a *Activities) pinPublished(ctx context.Context, name, frozen string) (string, error) {
	published, _ := pipeline.FromStore(name)
	of, isName := layout.NameOf(published)
	if had, ok := pipeline.FromStore(frozen); ok {
		m, _ := layout.ParseModel(had)
		if had == published || m.Run == published || isName && m.Name == of {
			return frozen, nil
		}
	}
	group, err := artifact.FindModel(ctx, a.Store, published)
	if errors.Is(err, artifact.ErrNotPublished) {
		return "", invalid("%v", err)
	}
	return pipeline.RunPrefix + group, err
}

// unreachable makes an error the input's fault, too, where there is no connection to the hub at all: before
// anything begins nobody waits half an hour for one.
func unreachable(ctx context.Context, err error) error {
	if retry.NobodyThere(err) != nil && ctx.Err() == nil {
		return &typed{pipeline.InvalidInput, err}
	}
	return orInvalid(ctx, err)
}

// pin names a model with its commit.
func (a *Activities) pin(ctx context.Context, p *pulse, name, frozen string, files hub.Select) (string, error) {
	repo, err := hub.Parse(name)
	if err != nil {
		return "", err
	}
	if had, err := hub.Parse(frozen); err == nil && had.Pinned() && had.ID == repo.ID &&
		repo.Revision == hub.Main {
		return had.Ref(), nil
	}
	s, err := a.fetchHub(ctx, p, repo, files)
	if err != nil {
		return "", err
	}
	repo.Revision = s.Commit
	return repo.Ref(), nil
}

// startedFrom are what a model card names of the weights: the hub's name alone where it has one.
func startedFrom(m pipeline.ModelConfig) []string {
	var names []string
	for _, name := range []string{m.Weights, m.Encoder, m.Decoder} {
		if repo, err := hub.Parse(name); err == nil && repo.Pinned() {
			name = repo.ID
		}
		if name != "" {
			names = append(names, publicName(name))
		}
	}
	return names
}
