package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"distilvit/artifact"
	"distilvit/hub"
	"distilvit/model"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// modelFlag adds -m MODEL.
func modelFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVarP(name, "model", "m", "", "MODEL: a directory in Hugging Face form, a run's "+
		"id, a published NAME's newest version, models/NAME/VERSION, or hf:ORG/NAME[@REVISION] of the Hugging Face hub")
}

// withModelDir gives a MODEL's local directory to do: the directory itself, a
// copy of what a run published, fetched into the data directory once, or these
// files of a model of the Hugging Face hub, in its cache.
func (a *app) withModelDir(
	ctx context.Context, name string, files hub.Select, do func(ctx context.Context, dir string) error,
) error {
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
		if errors.Is(err, errNoRun) || errors.Is(err, errNoStack) {
			err = fmt.Errorf("%w; and there is no directory %s", err, name)
		}
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
	return pipeline.CheckRunID(name) == nil || layout.AreaOf(name) == layout.Models
}

// fetchPublished copies a published model into the data directory.
func (a *app) fetchPublished(ctx context.Context, name string) (string, error) {
	data, err := a.dataDir()
	if err != nil {
		return "", err
	}
	s, err := a.openExisting(ctx)
	if err != nil {
		return "", err
	}
	defer s.close()
	group, err := findModel(ctx, s, name)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(data, filepath.FromSlash(group))
	return dir, artifact.FetchModel(ctx, s.store, group, dir, nil)
}

// findModel is the group of what a run published, of models/NAME/VERSION itself, or where there is no such run, of
// the newest version that is published under the name.
func findModel(ctx context.Context, s *site, name string) (string, error) {
	group, err := artifact.FindModel(ctx, s.store, name)
	switch {
	case !errors.Is(err, artifact.ErrNotPublished):
		return group, err
	case layout.AreaOf(name) == layout.Models:
		return "", fmt.Errorf("no such published model: %s %s", name, s.place())
	}
	run, _, err := s.find(ctx, name)
	if errors.Is(err, errNoRun) {
		group, named := artifact.NewestModel(ctx, s.store, name)
		if !errors.Is(named, artifact.ErrNotPublished) {
			return group, named
		}
	}
	if err != nil {
		return "", err
	}
	if !run.open() {
		return "", fmt.Errorf("run %s %s and has published no model (distilvit status %s says why)", name, run.Status, name)
	}
	if err := s.standings(ctx, []*runInfo{run}); err != nil {
		return "", err
	}
	return "", fmt.Errorf("run %s is not done: it is %s, at stage %s, and has published no model yet "+
		"(distilvit status %s)", name, run.Status, run.Stage, name)
}

// lost says whether a model that was published is not in the store any more.
func (s *site) lost(ctx context.Context, r *pipeline.Result) (bool, error) {
	if r.Model == "" { // the config asked for none
		return false, nil
	}
	_, err := s.store.Stat(ctx, layout.Manifest(r.Model))
	if artifact.NotFound(err) {
		return true, nil
	}
	return false, err
}

// generateFlags are the flags that change how captions are decoded.
type generateFlags struct{ beams, maxLength int }

func (f *generateFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.beams, "beams", 0,
		"beams of the search, 1 is greedy (default: num_beams of the model's generation_config.json, or 1)")
	cmd.Flags().IntVar(&f.maxLength, "max-length", 0,
		"tokens at most, start token included (default: the model's generation_config.json)")
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
