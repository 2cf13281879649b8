package activities

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"distilvit/hub"
	"distilvit/pipeline"
)

// publicName is what a card says of a path: of a file of this machine its own name, without the
// folders above it, which say who trained where.
func publicName(from string) string {
	if pipeline.IsURL(from) {
		return pipeline.ShownURL(from)
	}
	if _, stored := pipeline.FromStore(from); from == "" || stored || hub.NamesFiles(from) || hub.Names(from) {
		return from
	}
	file, entry := pipeline.CutEntry(from)
	name := filepath.Base(file)
	if entry != "" {
		name += "#" + entry
	}
	return name
}

// publicConfig is a config without the folders of this machine, and without who is told of the run.
func publicConfig(c pipeline.Config) pipeline.Config {
	c.Track, c.Notify = pipeline.TrackConfig{}, pipeline.NotifyConfig{}
	return mapPaths(c, publicName)
}

// mapPaths is a config with each of its paths and URLs replaced by f.
func mapPaths(c pipeline.Config, f func(path string) string) pipeline.Config {
	c.Dataset = slices.Clone(c.Dataset)
	for i, s := range c.Dataset { // no error comes from here
		c.Dataset[i], _ = s.MapPaths(func(_, path string) (string, error) { return f(path), nil })
	}
	m := &c.Model
	for _, from := range []*string{&m.Weights, &m.Encoder, &m.Decoder, &m.Tokenizer, &m.Adapter, &c.Train.Teacher} {
		*from = f(*from)
	}
	return c
}

// hubModels are what the card's metadata names as base models: the config's, or those of the hub that
// training started from. A directory of this machine has no name there.
func hubModels(c pipeline.Config) []string {
	if len(c.Publish.BaseModel) > 0 {
		return c.Publish.BaseModel
	}
	var ids []string
	for _, name := range []string{c.Model.Weights, c.Model.Encoder, c.Model.Decoder} {
		repo, err := hub.Parse(name)
		if err == nil && repo.Pinned() && !slices.Contains(ids, repo.ID) {
			ids = append(ids, repo.ID)
		}
	}
	return ids
}

// languages are those of the captions: the config's, or those of drawn scenes where all are drawn.
// Of other captions nobody has said it.
func languages(c pipeline.Config) []string {
	if len(c.Publish.Language) > 0 {
		return c.Publish.Language
	}
	var all []string
	for _, s := range c.Dataset {
		if s.Kind != pipeline.KindShapes {
			return nil
		}
		if language := cmp.Or(s.Shapes.Language, "en"); !slices.Contains(all, language) {
			all = append(all, language)
		}
	}
	return all
}

// localPaths are the paths of this machine that a config names, longest first, so that a folder
// is not cut out of its file's name.
func localPaths(c pipeline.Config) (paths []string) {
	mapPaths(c, func(path string) string {
		if filepath.IsAbs(path) {
			paths = append(paths, filepath.Clean(path))
		}
		return path
	})
	slices.SortFunc(paths, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(paths)
}

// anyPath is a path of two names or more that begins a word; one of a URL does not.
var anyPath = regexp.MustCompile("(^|[\\s\"'`(\\[=:,])(/[^\\s\"'`()\\[\\],:;/]+){2,}/?")

// publicText is a message of a run without the folders of this machine: warnings, and reasons why
// an example was left out, name files as the program that met them found them.
func publicText(c pipeline.Config, text string) string {
	for _, path := range localPaths(c) {
		text = strings.ReplaceAll(text, path, filepath.Base(path))
	}
	return anyPath.ReplaceAllStringFunc(text, func(found string) string {
		before, path, _ := strings.Cut(found, "/")
		return before + filepath.Base("/"+path)
	})
}
