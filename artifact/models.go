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

	"distilvit/artifact/record"
	"distilvit/internal/digest"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// FindModel is the group of a published model: models/<name>/<version> itself, or of
// a run's id the newest branch that it published. ErrNotPublished where there is none.
func FindModel(ctx context.Context, s *storage.Store, name string) (group string, err error) {
	if layout.AreaOf(name) == layout.Models {
		group = strings.TrimSuffix(name, "/")
		_, err = s.Stat(ctx, layout.Manifest(group))
		if NotFound(err) {
			return "", fmt.Errorf("%s %w", name, ErrNotPublished)
		}
		return group, err
	}
	newest := -1
	for o, err := range s.List(ctx, layout.Models+"/") {
		if err != nil {
			return "", fmt.Errorf("list published models: %w", err)
		}
		of, ok := layout.ManifestOf(o.Key)
		if m, is := layout.ParseModel(of); ok && is && m.Run == name && m.Branch > newest {
			group, newest = of, m.Branch
		}
	}
	if group == "" {
		return "", fmt.Errorf("a model of run %s %w", name, ErrNotPublished)
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
	m, err := ReadModel(ctx, s, group)
	if NotFound(err) {
		return fmt.Errorf("%s %w: it has no %s", group, ErrNotPublished, layout.ManifestFile)
	}
	if err != nil {
		return err
	}
	last, err := s.Stat(ctx, layout.Manifest(group))
	if err != nil {
		return err
	}
	one := func(name string, o layout.Object) error {
		if err := Fetch(ctx, s, map[string]layout.Object{name: o}, dir); err != nil {
			return err
		}
		if each != nil {
			each(o)
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		o := m.Files[name]
		o.Key = layout.File(group, name)
		if err := one(name, o); err != nil {
			return err
		}
	}
	return one(layout.ManifestFile, last)
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
