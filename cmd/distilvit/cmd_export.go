package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"distilvit/internal/backend"
	"distilvit/model"
	"distilvit/model/hub"
	"distilvit/model/onnx"
	"distilvit/model/trainer"
	"distilvit/pipeline"
)

// exportOptions are the flags of export.
type exportOptions struct {
	model    string
	dataset  string
	backend  string
	dtypes   []string
	pictures int
	maxDrop  float64
}

func (a *app) exportCommand() *cobra.Command {
	limits := pipeline.Default().Export
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export -m MODEL [--dtypes fp32,q8,int8] DIR",
		Short: "a model as ONNX for Transformers.js, checked",
		Long: `Write a model directory that Transformers.js loads, and check each ONNX export in
ONNX Runtime beside the model it came from: fp32 must give the same logits and
token ids, q8 may lose at most half a point of rougeL. The checks run on pictures of
-d DATASET; without one on generated pictures, where captions of a model trained on
something else say little, so give one to judge q8.`,
		Example: `  distilvit export -m ./model --dtypes fp32,q8 ./exported
  distilvit export -m ./model -d coco:captions.json,images/ --dtypes q8 ./exported`,
		Args: args(1, 1, "a DIR to write to"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, dtype := range o.dtypes {
				if !slices.Contains(onnx.Dtypes(), dtype) {
					return usagef("--dtypes %s: use %s", dtype, strings.Join(onnx.Dtypes(), ", "))
				}
			}
			if o.pictures < 1 {
				return usagef("--pictures %d: use 1 or more", o.pictures)
			}
			return a.withModelDir(cmd.Context(), o.model, hub.ModelFiles, func(ctx context.Context, dir string) error {
				return a.export(ctx, dir, args[0], o)
			})
		},
	}
	modelFlag(cmd, &o.model)
	backendFlag(cmd, &o.backend)
	flags := cmd.Flags()
	flags.StringSliceVar(&o.dtypes, "dtypes", limits.Dtypes, "weights' number formats: fp32, q8, int8 (as q8 in 7 bits: faster on processors with VNNI)")
	flags.StringVarP(&o.dataset, "dataset", "d", pipeline.KindShapes, "DATASET the checks run on, as in distilvit evaluate")
	flags.IntVar(&o.pictures, "pictures", 64, "pictures each export is checked on")
	flags.Float64Var(&o.maxDrop, "max-rouge-l-drop", limits.MaxRougeDrop, "points of rougeL an export other than fp32 may lose")
	return cmd
}

func (a *app) export(ctx context.Context, dir, out string, o exportOptions) error {
	w, err := newWorkbench(dir, o.backend, a.trainerArgs())
	if err != nil {
		return err
	}
	defer w.close()
	cache, err := backendCache()
	if err != nil {
		return err
	}
	library, err := backend.ONNXRuntime(cache)
	if err != nil {
		return err
	}
	generate, err := model.ReadGenerate(dir)
	if err != nil {
		return err
	}
	p := newProgress(a.stderr)
	defer p.clear()
	shards, err := a.shards(ctx, w, datasetFlags{name: o.dataset, split: pipeline.SplitTest, limit: o.pictures}, p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fileError("output directory", out, err)
	}
	done, err := w.pool.Once(ctx, "export", w.choice, trainer.Command{Do: trainer.DoExport, Export: &trainer.ExportArgs{
		ModelDir:      dir,
		Backend:       w.choice,
		Checkpoint:    dir,
		OutDir:        out,
		Dtypes:        o.dtypes,
		Shards:        shards,
		MaxLength:     generate.MaxLength,
		MaxLogitsDiff: pipeline.Default().Export.MaxLogitsDiff,
		MaxRougeDrop:  o.maxDrop,
		ONNXRuntime:   library,
	}}, showEvents(p, "export"))
	if err != nil {
		return err
	}
	p.clear()
	if a.output == "json" {
		return printJSON(a.stdout, map[string]any{"directory": out, "files": done.Exported.Files, "checks": done.Exported.Checks})
	}
	checks := newChecksTable()
	for _, check := range done.Exported.Checks {
		addCheck(checks, pipeline.ExportCheck{
			Dtype: check.Dtype, Pictures: check.Pictures, MaxLogitsDiff: check.MaxLogitsDiff,
			EqualIDs: check.EqualIDs, RougeL: check.RougeL, ModelRougeL: check.ModelRougeL, Bytes: check.Bytes,
		})
	}
	checks.write(a.stdout, "")
	fmt.Fprintf(a.stdout, "%d files in %s\n", len(done.Exported.Files), out)
	return nil
}
