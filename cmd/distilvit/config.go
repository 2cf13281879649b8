package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"distilvit/hub"
	"distilvit/pipeline"
)

// readConfig is a run's config: the file's (none: all defaults), with --set
// assignments on top. Relative paths are looked for beside the file, then in the
// current directory, and made absolute, since a worker may live elsewhere.
func readConfig(file string, sets []string, stdin io.Reader) (pipeline.Config, error) {
	var raw []byte
	base := "."
	if file != "" {
		var err error
		if raw, err = readConfigFile(file, stdin); err != nil {
			return pipeline.Config{}, err
		}
		if file != "-" {
			base = filepath.Dir(file)
		}
	}
	cfg, err := pipeline.Decode(raw, sets...)
	if err != nil {
		return cfg, inFile(file, err)
	}
	return cfg, absolutePaths(&cfg, base)
}

func readConfigFile(file string, stdin io.Reader) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fileError("config", file, err)
	}
	return raw, nil
}

// inFile puts a config file's name before each thing that is wrong with it.
func inFile(file string, err error) error {
	var config *pipeline.ConfigError
	if file == "" || !errors.As(err, &config) {
		return err
	}
	if file == "-" {
		file = "stdin"
	}
	lines := make([]error, len(config.Problems))
	for i, problem := range config.Problems {
		lines[i] = fmt.Errorf("%s: %s", file, problem)
	}
	return &usageError{err: errors.Join(lines...)}
}

// fileError says in one line why a file could not be read.
func fileError(what, path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usagef("no such %s: %s", what, path)
	case errors.Is(err, fs.ErrPermission):
		return usagef("%s %s: permission denied", what, path)
	}
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return usagef("%s %s: %v", what, path, pathError.Err)
	}
	return usagef("%s %s: %v", what, path, err)
}

// absolutePaths makes every local path of the config absolute.
func absolutePaths(cfg *pipeline.Config, base string) error {
	for i := range cfg.Dataset {
		var err error
		cfg.Dataset[i], err = cfg.Dataset[i].MapPaths(func(key, path string) (string, error) {
			if hub.NamesFiles(path) {
				if _, err := hub.ParseFiles(path); err != nil {
					return path, usagef("dataset[%d].%s: %v", i, key, err)
				}
				return path, nil
			}
			err := absolutePath(&path, base)
			return path, err
		})
		if err != nil {
			return err
		}
	}
	m := &cfg.Model
	for _, given := range []struct {
		key  string
		name *string
	}{
		{"model.weights", &m.Weights}, {"model.encoder", &m.Encoder}, {"model.decoder", &m.Decoder},
		{"model.tokenizer", &m.Tokenizer}, {"model.adapter", &m.Adapter},
		{"train.teacher", &cfg.Train.Teacher},
	} {
		if err := absoluteModel(given.key, given.name, base); err != nil {
			return err
		}
	}
	return nil
}

// absoluteModel makes a model's directory absolute. What is no directory here
// and looks like ORG/NAME becomes hf:ORG/NAME: a worker elsewhere has other
// directories.
func absoluteModel(key string, name *string, base string) error {
	if _, stored := pipeline.FromStore(*name); stored {
		return nil
	}
	_, beside := os.Stat(filepath.Join(base, *name))
	if hub.Names(*name) && beside != nil {
		if _, err := hub.Parse(*name); err != nil {
			return usagef("%s: %v", key, err)
		}
		*name = hub.Prefix + strings.TrimPrefix(*name, hub.Prefix)
		return nil
	}
	return absolutePath(name, base)
}

func absolutePath(path *string, base string) error {
	if *path == "" || pipeline.IsURL(*path) || filepath.IsAbs(*path) {
		return nil
	}
	found := filepath.Join(base, *path)
	if !exists(found) && exists(*path) {
		found = *path
	}
	abs, err := filepath.Abs(found)
	if err != nil {
		return err
	}
	*path = abs
	return nil
}

// exists says that a path, or something that fits a pattern, is there.
func exists(path string) bool {
	if _, err := os.Stat(path); err == nil {
		return true
	}
	found, err := filepath.Glob(path)
	return err == nil && len(found) > 0
}

// missingFiles reports the first local file of the config that is not there.
// Only asked where the worker sees this machine's files.
func missingFiles(cfg pipeline.Config) error {
	for i, source := range cfg.Dataset {
		_, err := source.MapPaths(func(key, path string) (string, error) {
			return path, missing(fmt.Sprintf("file at dataset[%d].%s", i, key), path)
		})
		if err != nil {
			return err
		}
	}
	for _, model := range []struct{ key, name string }{
		{"model.weights", cfg.Model.Weights}, {"model.encoder", cfg.Model.Encoder}, {"model.decoder", cfg.Model.Decoder},
		{"model.tokenizer", cfg.Model.Tokenizer}, {"model.adapter", cfg.Model.Adapter},
		{"train.teacher", cfg.Train.Teacher},
	} {
		if err := missing("directory at "+model.key, model.name); err != nil {
			return err
		}
	}
	return nil
}

func missing(what, path string) error {
	_, stored := pipeline.FromStore(path)
	if path == "" || stored || pipeline.IsURL(path) || strings.HasPrefix(path, hub.Prefix) || exists(path) {
		return nil
	}
	_, err := os.Stat(path)
	return fileError(what, path, err)
}
