package activities

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"

	"distilvit/dataset"
	"distilvit/hub"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// bringHub stores what a source names of a dataset repository.
func (b *bringing) bringHub(ctx context.Context, g givenFile, want string) ([]pipeline.SourceFile, error) {
	named, err := hub.ParseFiles(g.from)
	if err != nil {
		return nil, invalid("%v", err)
	}
	client, err := hub.New(b.Hub)
	if err != nil {
		return nil, invalid("%v", err)
	}
	has, err := client.Resolve(ctx, named.Repo, named.Select(dataset.Extension(g.kind, g.role)))
	if err != nil {
		return nil, orInvalid(ctx, err)
	}
	if err := g.fits(len(has.Files), want); err != nil {
		return nil, err
	}
	named.Repo.Revision = has.Commit
	files := make([]pipeline.SourceFile, len(has.Files))
	var missing []string
	for i, name := range has.Files {
		var ok bool
		if files[i], ok, err = b.broughtHub(ctx, g, name, has.SHA256[name], want); err != nil {
			return nil, err
		}
		if !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return files, nil
	}
	s, err := b.fetchHub(ctx, b.pulse, named.Repo, func([]string) ([]string, error) { return missing, nil })
	if err != nil {
		return nil, orInvalid(ctx, err)
	}
	for i, name := range has.Files {
		if !slices.Contains(missing, name) {
			continue
		}
		if files[i], err = b.bringFile(ctx, g.role, filepath.Join(s.Dir, filepath.FromSlash(name)), want); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// broughtHub is a file that is stored already, by this or another run, or by a
// worker whose cache this one does not have.
func (b *bringing) broughtHub(
	ctx context.Context, g givenFile, name, digest, want string,
) (f pipeline.SourceFile, ok bool, err error) {
	if digest == "" || want != "" && want != digest {
		return f, false, nil
	}
	key := layout.SourceFile(digest, path.Base(name))
	if err := b.adopt(ctx, b.run, layout.Source(digest)); err != nil {
		return f, false, err
	}
	o, err := b.Store.Stat(ctx, key)
	return pipeline.SourceFile{Role: g.role, Name: path.Base(name), Object: o}, err == nil &&
		o.SHA256 == digest, nil
}

// pinSources makes sure, too, that the files are there.
func (a *Activities) pinSources(
	ctx context.Context, sources, frozen []pipeline.SourceConfig,
) ([]pipeline.SourceConfig, error) {
	had := map[string]string{} // by key
	for i, s := range frozen {
		for _, g := range givenFiles(s) {
			had[sourceKey(i, g.key)] = g.from
		}
	}
	commits := map[string]string{} // by repository and revision: all that a run takes of one is of one commit
	pinned := make([]pipeline.SourceConfig, len(sources))
	for i, s := range sources {
		var err error
		pinned[i], err = s.MapPaths(func(key, path string) (string, error) {
			if !hub.NamesFiles(path) {
				return path, nil
			}
			whole := sourceKey(i, key)
			path, err := a.pinFiles(ctx, newGivenFile(s, key, path), had[whole], commits)
			if err != nil {
				if a.Hub.Offline || errors.Is(err, hub.ErrUnavailable) {
					err = fmt.Errorf("%w. Without the hub bring the files and name them: %s: PATH", err, whole)
				}
				err = unreachable(ctx, fmt.Errorf("%s: %w", whole, err))
			}
			return path, err
		})
		if err != nil {
			return nil, err
		}
	}
	return pinned, nil
}

func sourceKey(index int, key string) string { return fmt.Sprintf("dataset[%d].%s", index, key) }

func (a *Activities) pinFiles(
	ctx context.Context, g givenFile, frozen string, commits map[string]string,
) (string, error) {
	named, err := hub.ParseFiles(g.from)
	if err != nil {
		return "", err
	}
	client, err := hub.New(a.Hub)
	if err != nil {
		return "", err
	}
	revision := named.Repo.String()
	if had, err := hub.ParseFiles(frozen); err == nil && had.Repo.ID == named.Repo.ID &&
		!named.Repo.Pinned() {
		named.Repo.Revision = had.Repo.Revision
	} else if commit := commits[revision]; commit != "" {
		named.Repo.Revision = commit
	}
	has, err := client.Resolve(ctx, named.Repo, named.Select(dataset.Extension(g.kind, g.role)))
	if err != nil {
		return "", err
	}
	commits[revision], named.Repo.Revision = has.Commit, has.Commit
	return named.String(), g.fits(len(has.Files), "")
}
