package activities

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"distilvit/model"
	"distilvit/pipeline"
	"distilvit/report"
	"distilvit/storage/retention"
)

// modelManifest is models/<name>/<version>/manifest.json: what makes a
// published model complete, with its files' digests and where it comes from.
type modelManifest struct {
	Version    int                    `json:"version"`
	Model      string                 `json:"model"` // models/<name>/<version>
	Run        string                 `json:"run"`
	Branch     int                    `json:"branch"`
	Checkpoint pipeline.CheckpointRef `json:"checkpoint"`
	Program    string                 `json:"program"` // version of this program
	Config     string                 `json:"config"`  // key of the run's resolved config
	Dataset    string                 `json:"dataset"` // key of the prepared dataset's manifest
	Sources    []source               `json:"sources"`
	Eval       pipeline.Metrics       `json:"eval"` // validation
	Test       pipeline.Metrics       `json:"test"`
	TestedOn   string                 `json:"tested_on"`
	Checks     []pipeline.ExportCheck `json:"checks"`
	Files      map[string]publicFile  `json:"files"` // by path below the model; this file is not among them
}

type source struct {
	Kind   string `json:"kind"`
	Digest string `json:"digest"`
}

type publicFile struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Names of the files that Publish adds to an export's.
const (
	cardFile     = "README.md"
	reportFile   = "report.html"
	manifestFile = "manifest.json"
)

// Publish puts the export, its card and the run's report under the model's
// immutable name; its manifest comes last. The same model is published once.
func (a *Activities) Publish(ctx context.Context, in pipeline.PublishInput) (pipeline.Result, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.Result, error) {
		if in.Name == "" {
			in.Name = in.Run
		}
		version := fmt.Sprintf("%s-b%d", in.Run, in.Branch)
		m := manifestOf(in, "models/"+in.Name+"/"+version)
		out := pipeline.Result{
			Run: in.Run, Model: m.Model, Version: version, Epoch: in.Best.Epoch, Step: in.Best.Checkpoint.Step,
			Eval: in.Best.Eval, Test: in.Test.Metrics, Checks: in.Export.Checks,
		}
		if err := retention.Await(ctx, a.Store, m.Model); err != nil {
			return out, err
		}
		var there modelManifest
		err := a.Store.GetJSON(ctx, m.Model+"/"+manifestFile, &there)
		if err == nil {
			out.Bytes, err = publishedSize(there), samePublished(m, there)
			return out, err
		}
		if !isNotFound(err) {
			return out, err
		}
		dir, done, err := a.scratch("publish")
		if err != nil {
			return out, err
		}
		defer done()
		if err := a.fetchAll(ctx, in.Export.Files, dir); err != nil {
			return out, err
		}
		if err := a.writeReadable(ctx, in, m, dir); err != nil {
			return out, err
		}
		for i, name := range append(slices.Sorted(maps.Keys(in.Export.Files)), cardFile, reportFile) {
			p.progress("publish", int64(i), int64(len(in.Export.Files)+2), name)
			o, err := a.Store.PutFile(ctx, m.Model+"/"+name, filepath.Join(dir, filepath.FromSlash(name)))
			if err != nil {
				return out, err
			}
			m.Files[name] = publicFile{o.Size, o.SHA256}
		}
		if _, err := a.Store.PutFile(ctx, "runs/"+in.Run+"/"+reportFile, filepath.Join(dir, reportFile)); err != nil {
			return out, err
		}
		out.Bytes = publishedSize(m)
		return out, a.Store.Publish(ctx, m.Model+"/"+manifestFile, m)
	})
}

func manifestOf(in pipeline.PublishInput, model string) modelManifest {
	m := modelManifest{
		Version: 1, Model: model, Run: in.Run, Branch: in.Branch, Checkpoint: in.Best.Checkpoint, Program: program(),
		Config: configKey(in.Run), Dataset: in.Dataset.Manifest, Eval: timeless(in.Best.Eval), Test: timeless(in.Test.Metrics), TestedOn: in.TestedOn,
		Checks: in.Export.Checks, Files: map[string]publicFile{},
	}
	for _, s := range in.Sources {
		m.Sources = append(m.Sources, source{s.Source.Kind, s.Digest})
	}
	for name, o := range in.Export.Files {
		m.Files[name] = publicFile{o.Size, o.SHA256}
	}
	return m
}

// timeless leaves out what another evaluation of the same weights changes.
func timeless(m pipeline.Metrics) pipeline.Metrics {
	m.Runtime, m.SamplesPerSecond = 0, 0
	return m
}

// samePublished accepts a model that an earlier attempt published.
func samePublished(m, there modelManifest) error {
	for name, f := range m.Files {
		if there.Files[name] != f {
			return &typed{pipeline.Nondeterministic, fmt.Errorf("%s is published already with another %s (sha256 %s, now %s)",
				m.Model, name, there.Files[name].SHA256, f.SHA256)}
		}
	}
	return nil
}

func publishedSize(m modelManifest) int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// program is this program's version.
func program() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return info.Main.Version
}

// writeReadable writes the model card and the report beside the export in dir.
func (a *Activities) writeReadable(ctx context.Context, in pipeline.PublishInput, m modelManifest, dir string) error {
	c, err := model.ReadConfig(dir)
	if err != nil {
		return err
	}
	r := &readable{a: a, in: in, m: m, config: c}
	if err := r.gather(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, cardFile), report.ModelCard(r.card()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, reportFile), report.HTML(r.run()), 0o644)
}
