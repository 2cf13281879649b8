package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"distilvit/artifact/record"
	"distilvit/internal/digest"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// FindModel is the group of a published model: models/<name>/<version> itself, of models/<name> and
// models/<name>/latest the newest version, or of a run's id the newest branch that it published. ErrNotPublished
// where there is none.
func FindModel(ctx context.Context, s *storage.Store, name string) (group string, err error) {
	if of, ok := layout.NameOf(name); ok {
		return NewestModel(ctx, s, of)
	}
	if layout.AreaOf(name) == layout.Models {
		group = strings.TrimSuffix(name, "/")
		_, err = s.Stat(ctx, layout.Manifest(group))
		if NotFound(err) {
			return "", fmt.Errorf("%s %w", name, ErrNotPublished)
		}
		return group, err
	}
	// A run publishes under its own id where the config has no name. Its folder is looked at in any case: a program
	// that knows no latest may have published since.
	under := layout.Models + "/"
	latest, err := readLatest(ctx, s, name)
	switch {
	case err == nil && latest.Run == name:
		under += name + "/"
	case err != nil && !Unreadable(err):
		return "", err
	}
	if group, err = newestBranch(ctx, s, under, name); err == nil && group == "" {
		err = fmt.Errorf("a model of run %s %w", name, ErrNotPublished)
	}
	return group, err
}

// newestBranch is the newest that a run published below a prefix, or "".
func newestBranch(ctx context.Context, s *storage.Store, prefix, run string) (group string, err error) {
	newest := -1
	for o, err := range s.List(ctx, prefix) {
		if err != nil {
			return "", fmt.Errorf("list published models: %w", err)
		}
		of, ok := layout.ManifestOf(o.Key)
		if m, is := layout.ParseModel(of); ok && is && m.Run == run && m.Branch > newest {
			group, newest = of, m.Branch
		}
	}
	return group, nil
}

// ReadModel reads a published model's manifest; storage.ErrNotFound where it is not
// published, or not yet.
func ReadModel(ctx context.Context, s *storage.Store, group string) (record.ModelManifest, error) {
	var m record.ModelManifest
	err := s.GetJSON(ctx, layout.Manifest(group), &m)
	return m, err
}

// FetchModel copies a published model's files below a local directory, each verified
// by the manifest, which comes last. Those that are there already are not copied
// again. each, if not nil, is told of every file.
func FetchModel(ctx context.Context, s *storage.Store, group, dir string, each func(layout.Object)) error {
	files, err := modelFiles(ctx, s, group)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := Fetch(ctx, s, map[string]layout.Object{f.Name: f.Object}, dir); err != nil {
			return err
		}
		if each != nil {
			each(f.Object)
		}
	}
	return nil
}

// ModelFile is a file of a published model: its slash-separated name below the model, and where it is stored.
type ModelFile struct {
	Name string `json:"name"`
	layout.Object
}

// modelFiles are a published model's files in the order of their names, and then its manifest. ErrNotPublished where it
// has none.
func modelFiles(ctx context.Context, s *storage.Store, group string) ([]ModelFile, error) {
	m, err := ReadModel(ctx, s, group)
	if NotFound(err) {
		return nil, fmt.Errorf("%s %w: it has no %s", group, ErrNotPublished, layout.ManifestFile)
	}
	if err != nil {
		return nil, err
	}
	last, err := s.Stat(ctx, layout.Manifest(group))
	if err != nil {
		return nil, err
	}
	var files []ModelFile
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		o := m.Files[name]
		o.Key = layout.File(group, name)
		files = append(files, ModelFile{name, o})
	}
	return append(files, ModelFile{layout.ManifestFile, last}), nil
}

// ModelLink is a file of a published model, and a URL that anybody may download it with for a while.
type ModelLink struct {
	ModelFile
	URL string `json:"url"`
}

// ModelLinks signs a URL for each file of a published model, in the order that FetchModel fetches them, and tries it.
// They hold until the time that is returned, at most as long as valid.
func ModelLinks(ctx context.Context, s *storage.Store, group string, valid time.Duration) (
	links []ModelLink, until time.Time, err error,
) {
	files, err := modelFiles(ctx, s, group)
	if err != nil {
		return nil, time.Time{}, err
	}
	for _, f := range files {
		link, err := s.Presign(ctx, f.Object, valid)
		if err != nil {
			return nil, time.Time{}, err
		}
		links = append(links, ModelLink{f, link.URL})
		if until.IsZero() || link.Until.Before(until) {
			until = link.Until
		}
	}
	return links, until, nil
}

// LocalModel are the files of a published model's copy in a local directory, its manifest with them, by
// slash-separated name. ErrNotPublished where it has no manifest.
func LocalModel(dir string) (map[string]layout.Object, error) {
	raw, err := os.ReadFile(filepath.Join(dir, layout.ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no %s: what is in it %w", dir, layout.ManifestFile, ErrNotPublished)
	}
	if err != nil {
		return nil, err
	}
	var m record.ModelManifest
	if err := json.Unmarshal(raw, &m); err != nil || m.Model == "" {
		return nil, fmt.Errorf("%s is not that of a model that a run has published", filepath.Join(dir, layout.ManifestFile))
	}
	for name := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			return nil, fmt.Errorf("%s: %q %w", dir, name, ErrFileName)
		}
	}
	files := maps.Clone(m.Files)
	files[layout.ManifestFile] = layout.Object{Size: int64(len(raw)), SHA256: digest.Bytes(raw)}
	return files, nil
}

// SameModel accepts a model that an earlier attempt published: ErrOther where a file
// of m is published with other bytes.
func SameModel(m, published record.ModelManifest) error {
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		if was, is := published.Files[name], m.Files[name]; was != is {
			return fmt.Errorf("%s %w %s (sha256 %s, now %s)", m.Model, ErrOther, name, was.SHA256, is.SHA256)
		}
	}
	return nil
}
