package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"distilvit/internal/devstack"
	"distilvit/model"
	"distilvit/model/hub"
	"distilvit/pipeline"
	"distilvit/storage"
)

// modelFlag adds -m MODEL.
func modelFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVarP(name, "model", "m", "", "MODEL: a directory in Hugging Face form, a run's id, models/NAME/VERSION, or hf:ORG/NAME[@REVISION] of the Hugging Face hub")
}

// withModelDir gives a MODEL's local directory to do: the directory itself, a
// copy of what a run published, fetched into the data directory once, or these
// files of a model of the Hugging Face hub, in its cache.
func (a *app) withModelDir(ctx context.Context, name string, files hub.Select, do func(ctx context.Context, dir string) error) error {
	if name == "" {
		return usagef("-m MODEL is missing: a directory, a run's id, models/NAME/VERSION, or hf:ORG/NAME")
	}
	ctx, stop := a.interruptible(ctx, "")
	defer stop()
	if info, err := os.Stat(name); err == nil {
		if !info.IsDir() {
			return usagef("MODEL %s is a file: give the directory it is in", name)
		}
		return do(ctx, name)
	} else if !errors.Is(err, fs.ErrNotExist) || !isPublishedName(name) && !hub.Names(name) {
		return fileError("MODEL", name, err)
	}
	var dir string
	var err error
	if isPublishedName(name) {
		dir, err = a.fetchPublished(ctx, name)
	} else {
		dir, err = a.fetchFromHub(ctx, name, files)
	}
	if err != nil {
		return err
	}
	return do(ctx, dir)
}

// isPublishedName says whether name can be a run's id or a published model.
func isPublishedName(name string) bool {
	return pipeline.CheckRunID(name) == nil || strings.HasPrefix(name, modelsPrefix)
}

// fetchPublished copies a published model into the data directory.
func (a *app) fetchPublished(ctx context.Context, name string) (string, error) {
	data, err := a.dataDir()
	if err != nil {
		return "", err
	}
	s, err := a.openSite(ctx, devstack.Options{})
	if err != nil {
		return "", err
	}
	defer s.close()
	prefix, err := publishedModel(ctx, s.store, name)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(data, filepath.FromSlash(prefix))
	return dir, fetchModel(ctx, s.store, prefix, dir, nil)
}

const (
	modelsPrefix = "models/"
	manifestName = "manifest.json"
)

// publishedModel finds models/NAME/VERSION by itself or by its run's id: the
// newest branch that run published.
func publishedModel(ctx context.Context, store *storage.Store, name string) (string, error) {
	if strings.HasPrefix(name, modelsPrefix) {
		prefix := strings.TrimSuffix(name, "/")
		if _, err := store.Stat(ctx, prefix+"/"+manifestName); err != nil {
			if errors.Is(err, storage.ErrNotFound) {
				return "", fmt.Errorf("no such published model: %s", name)
			}
			return "", err
		}
		return prefix, nil
	}
	found, newest := "", -1
	for object, err := range store.List(ctx, modelsPrefix) {
		if err != nil {
			return "", fmt.Errorf("list published models: %w", err)
		}
		if path.Base(object.Key) != manifestName {
			continue
		}
		prefix := path.Dir(object.Key)
		if branch, ok := versionOf(path.Base(prefix), name); ok && branch > newest {
			found, newest = prefix, branch
		}
	}
	if found == "" {
		return "", fmt.Errorf("run %s has published no model, and there is no directory %s", name, name)
	}
	return found, nil
}

var versionPattern = regexp.MustCompile(`^(.+)-b(\d+)$`)

// versionOf reads the branch of a version RUN-bBRANCH, if it is that run's.
func versionOf(version, run string) (branch int, ok bool) {
	parts := versionPattern.FindStringSubmatch(version)
	if parts == nil || parts[1] != run {
		return 0, false
	}
	branch, err := strconv.Atoi(parts[2])
	return branch, err == nil
}

// publishedManifest is what counts here of a published model's manifest.json.
type publishedManifest struct {
	Files map[string]struct {
		Size   int64  `json:"size"`
		SHA256 string `json:"sha256"`
	} `json:"files"`
}

// fetchModel copies a published model's files, each verified by the manifest,
// which comes last. Those that are in dir already are not copied again.
func fetchModel(ctx context.Context, store *storage.Store, prefix, dir string, each func(storage.Object)) error {
	var manifest publishedManifest
	key := prefix + "/" + manifestName
	if err := store.GetJSON(ctx, key, &manifest); err != nil {
		if errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("%s is not published: it has no %s", prefix, manifestName)
		}
		return err
	}
	last, err := store.Stat(ctx, key)
	if err != nil {
		return err
	}
	files := []storage.Object{}
	for _, name := range sortedKeys(manifest.Files) {
		files = append(files, storage.Object{Key: prefix + "/" + name, Size: manifest.Files[name].Size, SHA256: manifest.Files[name].SHA256})
	}
	for _, object := range append(files, last) {
		name := filepath.FromSlash(strings.TrimPrefix(object.Key, prefix+"/"))
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%s names %q, which is no file below it", key, name)
		}
		target := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return fileError("output directory", filepath.Dir(target), err)
		}
		sound, err := object.Holds(target)
		if err == nil && !sound {
			err = store.Fetch(ctx, object, target)
		}
		if err != nil {
			return err
		}
		if each != nil {
			each(object)
		}
	}
	return nil
}

// generateFlags are the flags that change how captions are decoded.
type generateFlags struct{ beams, maxLength int }

func (f *generateFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.beams, "beams", 0, "beams of the search, 1 is greedy (default: num_beams of the model's generation_config.json, or 1)")
	cmd.Flags().IntVar(&f.maxLength, "max-length", 0, "tokens at most, start token included (default: the model's generation_config.json)")
}

func (f *generateFlags) check() error {
	if f.beams < 0 || f.maxLength < 0 {
		return usagef("--beams must be at least 1, --max-length at least 2")
	}
	return nil
}

// options are those of the model's generation_config.json with the flags' changes.
func (f *generateFlags) options(dir string) (model.GenerateOptions, error) {
	o, err := model.ReadGenerate(dir)
	if f.beams > 0 {
		o.NumBeams = f.beams
	}
	if f.maxLength > 0 {
		o.MaxLength = f.maxLength
	}
	return o, err
}
