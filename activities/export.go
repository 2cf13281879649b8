package activities

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"go.temporal.io/sdk/activity"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/hub"
	"distilvit/internal/backend"
	"distilvit/internal/transformersjs"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// Export writes the published files of a checkpoint and checks them in ONNX
// Runtime against the model, all in a child process that takes no device. The
// same export is made once.
func (a *Activities) Export(ctx context.Context, in pipeline.ExportInput) (record.Export, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (record.Export, error) {
		var out record.Export
		if err := a.adoptWork(ctx, in.Work); err != nil {
			return out, err
		}
		m, err := artifact.ReadCheckpoint(ctx, a.Store, in.Checkpoint.Manifest)
		if err != nil {
			return out, err
		}
		choice, err := a.onCPU(in.Work.Backend)
		if err != nil {
			return out, err
		}
		web, lacking, err := a.web(in.Export)
		if err != nil {
			return out, err
		}
		for _, warning := range lacking { // the run has it from preflight's worker, which may be another
			activity.GetLogger(ctx).Warn(warning)
		}
		key, err := exportKey(in, m, choice, web)
		if err != nil {
			return out, err
		}
		if made, err := artifact.FindExport(ctx, a.Store, key); err != nil {
			return out, err
		} else if made != nil {
			return *made, nil
		}
		dir, done, err := a.scratch("export")
		if err != nil {
			return out, err
		}
		defer done()
		args := trainer.ExportArgs{
			Backend: choice, Checkpoint: filepath.Join(dir, "checkpoint"), OutDir: filepath.Join(dir, "model"),
			Dtypes: in.Export.Dtypes, Pictures: in.Export.Pictures, MaxLength: in.MaxLength,
			MaxLogitsDiff: in.Export.MaxLogitsDiff, MaxRougeDrop: in.Export.MaxRougeDrop,
			MinEqual: in.Export.MinEqual, Frozen: m.Frozen, LoRA: adapter(in),
			Calibrate: in.Export.Calibrate, Damage: in.Export.DamagePictures(), Mixed: in.Export.Mixed,
			MaxBytes: in.Export.MaxBytes(),
		}
		if web != nil {
			args.SureDir = filepath.Join(dir, "sure")
		}
		if args.ONNXRuntime, err = a.onnxRuntime(); err != nil {
			return out, err
		}
		if args.ModelDir, err = a.modelDir(ctx, in.Work.Model, m.Frozen != ""); err != nil {
			return out, err
		}
		weights := map[string]layout.Object{weightsFile: m.Files[weightsFile]}
		if err := artifact.Fetch(ctx, a.Store, weights, args.Checkpoint); err != nil {
			return out, err
		}
		shards, release, err := a.pairs(ctx, p, in.Work, pipeline.SplitValidation)
		if err != nil {
			return out, err
		}
		defer release()
		args.Shards = shards
		if args.Prune, err = a.pruneArgs(ctx, in); err != nil {
			return out, err
		}
		e, err := a.Pool.Once(ctx, "export-"+in.Work.Run, choice,
			trainer.Command{Do: trainer.DoExport, Export: &args}, p.follow)
		if err != nil {
			return out, a.keepLog(ctx, in.Work.Run, err)
		}
		out.Checks = append([]record.ExportCheck{}, e.Exported.Checks...) // [], not null, where there is none
		if web != nil {
			err := web.CheckExports(ctx, args.OutDir, out.Checks, e.Exported.Sure, in.Export.Require,
				func(device string, l transformersjs.Line) {
					p.progress("check", 0, 0, l.Dtype+" in Transformers.js, "+device)
				})
			if err != nil {
				return out, err
			}
		}
		out.Pruning, out.Calibration, out.Damage = e.Exported.Pruning, e.Exported.Calibration, e.Exported.Damage
		out.Files = map[string]layout.Object{}
		for i, name := range e.Exported.Files {
			p.progress("upload", int64(i), int64(len(e.Exported.Files)), name)
			o, err := a.Store.PutBlob(ctx, layout.Run(in.Work.Run).Blobs(), "",
				filepath.Join(args.OutDir, filepath.FromSlash(name)))
			if err != nil {
				return out, err
			}
			out.Files[name] = o
		}
		return a.publishExport(ctx, key, out, web != nil)
	})
}

// adapter says how a checkpoint's adapters are merged; nil where there are none. A base that is a directory of this
// machine has no name elsewhere.
func adapter(in pipeline.ExportInput) *trainer.Adapter {
	l := lora(in.Work.Train.LoRA)
	if l == nil {
		return nil
	}
	a := &trainer.Adapter{LoRA: *l}
	if repo, err := hub.Parse(in.Base); err == nil && repo.Pinned() {
		a.Base = repo.ID
	}
	return a
}

// publishExport stores an export's document once. Where browsers had a say, another attempt may have made
// another one: theirs counts, unless files that it names are gone.
func (a *Activities) publishExport(
	ctx context.Context, key string, out record.Export, browsers bool,
) (record.Export, error) {
	err := a.Store.Publish(ctx, key, out)
	if !browsers || !errors.Is(err, storage.ErrConflict) {
		return out, err
	}
	// Another attempt was first: a browser that was killed for its silence may have been quicker there.
	made, err := artifact.FindExport(ctx, a.Store, key)
	if err != nil {
		return out, err
	}
	if made != nil {
		return *made, nil
	}
	if err := a.Store.Remove(ctx, key); err != nil {
		return out, err
	}
	return out, a.Store.Publish(ctx, key, out)
}

// pruneArgs are what of the vocabulary the config keeps, and how often the training captions have each token;
// nil: all of it.
func (a *Activities) pruneArgs(ctx context.Context, in pipeline.ExportInput) (*trainer.PruneArgs, error) {
	if in.Export.PruneVocab == "" {
		return nil, nil
	}
	most, err := in.Export.PruneVocab.Most()
	if err != nil {
		return nil, &typed{pipeline.InvalidInput, err}
	}
	counts, err := artifact.CountTokens(ctx, a.Store, in.Work.Tokens.Manifest, in.Work.Teacher.Manifest)
	return &trainer.PruneArgs{Counts: counts, Most: most}, err
}

// exportKey names an export by all that determines its files and checks.
func exportKey(
	in pipeline.ExportInput, m record.CheckpointManifest, b backend.Choice, web *transformersjs.Runner,
) (string, error) {
	devices := ""
	if web != nil {
		devices = fmt.Sprintf("Transformers.js %s: %v", web.Library.Version, web.Devices())
	}
	tokens := ""
	if in.Export.PruneVocab != "" {
		tokens = in.Work.Tokens.Manifest + in.Work.Teacher.Manifest
	}
	key, err := artifact.Digest(struct {
		Stage                   string
		Version                 int
		Weights, Model, Dataset string
		Export                  pipeline.ExportConfig
		MaxLength               int
		Backend                 backend.Choice
		Tokens                  string `json:",omitempty"` // that decide the vocabulary
		Web                     string `json:",omitempty"` // what else it is checked in

		LoRA *trainer.Adapter `json:",omitempty"` // that is merged
	}{
		"export", exportVersion, m.Files[weightsFile].SHA256, in.Work.Model.Digest, in.Work.Dataset.Manifest,
		in.Export, in.MaxLength, b, tokens, devices, adapter(in),
	})
	return layout.Run(in.Work.Run).Export(key), err
}

// onCPU is the backend that the model is compared on: never a GPU, which rounds
// too coarsely for the comparison and may be busy.
func (a *Activities) onCPU(kind string) (backend.Choice, error) {
	if kind == pipeline.BackendGo {
		return a.choose(kind)
	}
	if c, err := a.choose(pipeline.BackendXLA); err == nil {
		return c, nil
	}
	return a.choose(pipeline.BackendGo)
}

func (a *Activities) onnxRuntime() (string, error) {
	if a.ONNXRuntime != "" {
		return a.ONNXRuntime, nil
	}
	path, err := backend.ONNXRuntime(a.Backend.CacheDir)
	if err != nil {
		return "", &typed{pipeline.InvalidInput, err}
	}
	return path, nil
}
