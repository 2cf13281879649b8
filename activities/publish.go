package activities

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/internal/version"
	"distilvit/model"
	"distilvit/model/tokenizer"
	"distilvit/pipeline"
	"distilvit/report"
	"distilvit/storage/layout"
	"distilvit/storage/retention"
)

// Names of the files that Publish adds to an export's.
const (
	cardFile   = "README.md"
	reportFile = layout.ReportFile
)

// Publish puts the export, its card and the run's report under the model's
// immutable name; its manifest comes last, and then the name's latest. The same model is published once.
func (a *Activities) Publish(ctx context.Context, in pipeline.PublishInput) (pipeline.Result, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.Result, error) {
		if in.Name == "" {
			in.Name = in.Run
		}
		published := layout.Model{Name: in.Name, Run: in.Run, Branch: in.Branch}
		m := manifestOf(in, published.Group())
		out := pipeline.Result{
			Run: in.Run, Model: m.Model, Version: published.Version(), Epoch: in.Best.Epoch,
			Step: in.Best.Checkpoint.Step, By: in.Best.By, Eval: in.Best.Eval, Test: in.Test.Metrics,
			Checks: record.WithoutDifferences(in.Export.Checks), Pruning: in.Export.Pruning,
			Comparison: in.Comparison,
		}
		if err := retention.Await(ctx, a.Store, waiting(ctx), m.Model); err != nil {
			return out, err
		}
		there, err := artifact.ReadModel(ctx, a.Store, m.Model)
		if err == nil {
			if out.Bytes, err = there.Bytes(), artifact.SameModel(m, there); err != nil {
				return out, err
			}
			_, err = artifact.UpdateLatest(ctx, a.Store, in.Name) // the first attempt may not have come so far
			return out, err
		}
		if !artifact.NotFound(err) {
			return out, err
		}
		dir, done, err := a.scratch("publish")
		if err != nil {
			return out, err
		}
		defer done()
		if err := artifact.Fetch(ctx, a.Store, in.Export.Files, dir); err != nil {
			return out, err
		}
		if err := a.writeReadable(ctx, in, m, dir); err != nil {
			return out, err
		}
		for i, name := range append(slices.Sorted(maps.Keys(in.Export.Files)), cardFile, reportFile) {
			p.progress("publish", int64(i), int64(len(in.Export.Files)+2), name)
			o, err := a.Store.PutFile(
				ctx, layout.File(m.Model, name), filepath.Join(dir, filepath.FromSlash(name)),
			)
			if err != nil {
				return out, err
			}
			m.Files[name] = layout.Object{Size: o.Size, SHA256: o.SHA256}
		}
		if _, err := a.Store.PutFile(ctx, layout.Run(in.Run).Report(), filepath.Join(dir, reportFile)); err != nil {
			return out, err
		}
		out.Bytes = m.Bytes()
		if err := a.Store.Publish(ctx, layout.Manifest(m.Model), m); err != nil {
			return out, err
		}
		_, err = artifact.UpdateLatest(ctx, a.Store, in.Name)
		return out, err
	})
}

func manifestOf(in pipeline.PublishInput, model string) record.ModelManifest {
	m := record.ModelManifest{
		Version: 1, Model: model, Run: in.Run, Branch: in.Branch, Checkpoint: in.Best.Checkpoint,
		Program: version.Program(), Config: layout.Run(in.Run).Config(), Dataset: in.Dataset.Manifest,
		Eval: timeless(in.Best.Eval), Test: timeless(in.Test.Metrics), TestedOn: in.TestedOn,
		Checks: record.WithoutDifferences(in.Export.Checks), Pruning: in.Export.Pruning,
		Calibration: in.Export.Calibration, Damage: in.Export.Damage, Files: map[string]layout.Object{},
		Approval: in.Approval, Comparison: in.Comparison,
	}
	for _, s := range in.Sources {
		m.Sources = append(m.Sources, record.Source{Kind: s.Source.Kind, Digest: s.Digest})
	}
	for name, o := range in.Export.Files {
		m.Files[name] = layout.Object{Size: o.Size, SHA256: o.SHA256}
	}
	return m
}

// timeless leaves out what another evaluation of the same weights changes.
func timeless(m record.Metrics) record.Metrics {
	m.Runtime, m.SamplesPerSecond = 0, 0
	return m
}

// writeReadable writes the model card and the report beside the export in dir.
func (a *Activities) writeReadable(
	ctx context.Context, in pipeline.PublishInput, m record.ModelManifest, dir string,
) error {
	c, err := model.ReadConfig(dir)
	if err != nil {
		return err
	}
	o, err := model.ReadGenerate(dir)
	if err != nil {
		return err
	}
	t, err := tokenizer.Load(dir)
	if err != nil {
		return err
	}
	decode := func(ids []int32) string { return t.Decode(ids, false) }
	r := &readable{a: a, in: in, m: m, config: c, decoding: append(decoding(o, decode), deviations(c, o)...)}
	if err := r.gather(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, cardFile), report.ModelCard(r.card()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, reportFile), report.HTML(r.run()), 0o644)
}
