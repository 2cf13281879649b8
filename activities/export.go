package activities

import (
	"context"
	"path/filepath"

	"distilvit/internal/backend"
	"distilvit/model/onnx"
	"distilvit/model/trainer"
	"distilvit/pipeline"
)

// Export writes the published files of a checkpoint and checks them in ONNX
// Runtime against the model, all in a child process that takes no device. The
// same export is made once.
func (a *Activities) Export(ctx context.Context, in pipeline.ExportInput) (pipeline.ExportResult, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.ExportResult, error) {
		var out pipeline.ExportResult
		if err := a.adoptWork(ctx, in.Work); err != nil {
			return out, err
		}
		m, err := a.readCheckpoint(ctx, in.Checkpoint.Manifest)
		if err != nil {
			return out, err
		}
		choice, err := a.onCPU(in.Work.Backend)
		if err != nil {
			return out, err
		}
		key, err := exportKey(in, m, choice)
		if err != nil {
			return out, err
		}
		if done, err := a.exported(ctx, key); done != nil || err != nil {
			return *done, err
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
		}
		if args.ONNXRuntime, err = a.onnxRuntime(); err != nil {
			return out, err
		}
		if args.ModelDir, err = a.modelDir(ctx, in.Work.Model, false); err != nil {
			return out, err
		}
		if err := a.fetchAll(ctx, map[string]pipeline.Object{weightsFile: m.Files[weightsFile]}, args.Checkpoint); err != nil {
			return out, err
		}
		shards, release, err := a.pairs(ctx, p, in.Work, pipeline.SplitValidation)
		if err != nil {
			return out, err
		}
		defer release()
		args.Shards = shards
		e, err := a.Pool.Once(ctx, "export-"+in.Work.Run, choice, trainer.Command{Do: trainer.DoExport, Export: &args}, p.follow)
		if err != nil {
			return out, a.keepLog(ctx, in.Work.Run, err)
		}
		out.Checks = checks(e.Exported.Checks)
		out.Files = map[string]pipeline.Object{}
		for i, name := range e.Exported.Files {
			p.progress("upload", int64(i), int64(len(e.Exported.Files)), name)
			o, err := a.Store.PutBlob(ctx, blobs(in.Work.Run), "", filepath.Join(args.OutDir, filepath.FromSlash(name)))
			if err != nil {
				return out, err
			}
			out.Files[name] = object(o)
		}
		return out, a.Store.Publish(ctx, key, out)
	})
}

// exported is an earlier export under this key whose files are all still there.
func (a *Activities) exported(ctx context.Context, key string) (*pipeline.ExportResult, error) {
	var out pipeline.ExportResult
	err := a.Store.GetJSON(ctx, key, &out)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return &out, err
	}
	ok, err := a.complete(ctx, out.Files)
	if !ok && err == nil {
		return nil, nil
	}
	return &out, err
}

// exportKey names an export by all that determines its files and checks.
func exportKey(in pipeline.ExportInput, m checkpointManifest, b backend.Choice) (string, error) {
	key, err := digestOf(struct {
		Stage                   string
		Version                 int
		Weights, Model, Dataset string
		Export                  pipeline.ExportConfig
		MaxLength               int
		Backend                 backend.Choice
	}{"export", exportVersion, m.Files[weightsFile].SHA256, in.Work.Model.Digest, in.Work.Dataset.Manifest, in.Export, in.MaxLength, b})
	return "runs/" + in.Work.Run + "/exports/" + key + ".json", err
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

func checks(list []onnx.Check) []pipeline.ExportCheck {
	out := make([]pipeline.ExportCheck, len(list))
	for i, c := range list {
		out[i] = pipeline.ExportCheck{
			Dtype: c.Dtype, Pictures: c.Pictures, MaxLogitsDiff: c.MaxLogitsDiff, EqualIDs: c.EqualIDs,
			RougeL: c.RougeL, ModelRougeL: c.ModelRougeL, Bytes: c.Bytes,
		}
	}
	return out
}
