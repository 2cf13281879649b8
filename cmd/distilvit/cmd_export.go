package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/hub"
	"distilvit/internal/transformersjs"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/report"
)

// exportOptions are the flags of export.
type exportOptions struct {
	model     string
	dataset   string
	backend   string
	dtypes    []string
	pictures  int
	calibrate int
	damage    int
	mixed     bool
	maxSize   float64 // MiB
	maxDrop   float64
	minEqual  float64
	prune     string // pipeline.Vocabulary
	captions  string // file that decides what is kept
	require   []string
	checkWeb  *bool // nil: where it is usual
}

func (a *app) exportCommand() *cobra.Command {
	limits := pipeline.Default().Export
	var o exportOptions
	var checkWeb *bool
	cmd := &cobra.Command{
		Use:   "export -m MODEL [--dtypes fp32,q8,q4] DIR",
		Short: "a model as ONNX for Transformers.js, checked",
		Long: `Write a model directory that Transformers.js loads, and check each ONNX export in
ONNX Runtime beside the model it came from: fp32 must give the same logits and
token ids, the others may lose at most half a point of rougeL (q4 and q4f16 one) and
must give 70 % of the captions token by token (fp16 90 %, q4 and q4f16 50 %;
--min-equal), whatever their language. A warning says what of generation_config.json
a version of Transformers.js decodes otherwise. The checks run on pictures of -d DATASET;
without one on generated pictures, where captions of a model trained on something else
say little, so give one to judge the small ones.

--prune-vocab leaves tokens out of the vocabulary, from table, output layer and tokenizer: auto
keeps those that the training captions are made of, a number at most so many, the most frequent
of them. Bytes and special tokens stay in any case, so that every text can still be encoded. The
training captions are those of the run that MODEL names, or of --captions FILE.

--calibrate N lets the model read the captions of N validation pictures of DATASET first, and rounds
so that what its matrices multiply there comes out right (GPTQ) rather than each weight. Files
have the same size and form; q4 captions more like the model.

--damage N measures on N of these pictures, with a caption each, what rounding does to each layer of
the network, and prints it. --mixed keeps the layers of q4 and q4f16 in 8 bits whose damage is
greatest for their bytes, as many as fit into --max-size-mib, or 10 % more bytes. An export that is
larger than --max-size-mib is refused, whatever its dtype.

After distilvit backend install transformers.js transformers.js-node each export also captions a
few pictures under Node and, where Chromium is, in WebAssembly and on WebGPU; --require refuses
what is not right on such a device. DISTILVIT_CHROMIUM=PATH names another browser than that in
PATH.`,
		Example: `  distilvit export -m ./model --dtypes fp32,q8 ./exported
  distilvit export -m ./model -d coco:captions.json,images/ --dtypes q8 ./exported
  distilvit export -m ./model -d coco:captions.json,images/ --dtypes q4 --calibrate 64 ./exported
  distilvit export -m ./model -d coco:captions.json,images/ --dtypes q4 --mixed --max-size-mib 120 ./exported
  distilvit export -m demo --dtypes q4 --prune-vocab auto ./exported
  distilvit export -m ./model --prune-vocab 10000 --captions captions.txt ./exported`,
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
			if o.calibrate < 0 {
				return usagef("--calibrate %d: use 0 or more", o.calibrate)
			}
			if o.damage < 0 {
				return usagef("--damage %d: use 0 or more", o.damage)
			}
			if !(o.maxSize >= 0) {
				return usagef("--max-size-mib %v: use 0 or more", o.maxSize)
			}
			if o.mixed && !slices.ContainsFunc(o.dtypes, onnx.Mixes) {
				return usagef("--mixed is for q4 and q4f16; --dtypes names neither")
			}
			if err := o.checkPruning(); err != nil {
				return err
			}
			if cmd.Flags().Changed("check-web") {
				o.checkWeb = checkWeb
			}
			if err := o.checkRequired(); err != nil {
				return err
			}
			return a.withModelDir(cmd.Context(), o.model, hub.ModelFiles,
				func(ctx context.Context, dir string) error {
					return a.export(ctx, dir, args[0], o)
				})
		},
	}
	modelFlag(cmd, &o.model)
	backendFlag(cmd, &o.backend)
	flags := cmd.Flags()
	flags.StringSliceVar(&o.dtypes, "dtypes", limits.Dtypes,
		"weights' number formats: fp32, fp16, q8, int8 (as q8 in 7 bits: faster on processors with VNNI), q4, "+
			"q4f16 (q4 that computes in float16, for WebGPU)")
	flags.StringVarP(&o.dataset, "dataset", "d", pipeline.KindShapes,
		"DATASET the checks run on, as in distilvit evaluate")
	flags.IntVar(&o.pictures, "pictures", 64, "pictures each export is checked on")
	flags.IntVar(&o.calibrate, "calibrate", 0, "pictures of DATASET's validation split that rounding goes by; 0: each "+
		"weight is rounded to the nearest")
	flags.IntVar(&o.damage, "damage", 0, "pictures of that split on which it is measured what rounding does to each layer "+
		"(default 0, with --mixed 32)")
	flags.BoolVar(&o.mixed, "mixed", false, "keep the layers of q4 and q4f16 in 8 bits whose damage is greatest for their bytes")
	flags.Float64Var(&o.maxSize, "max-size-mib", 0, "MiB that an export's two files may have; 0: no bound")
	flags.Float64Var(&o.maxDrop, "max-rouge-l-drop", limits.MaxRougeDrop,
		"points of rougeL an export other than fp32 may lose; q4 and q4f16 twice as many")
	flags.Float64Var(&o.minEqual, "min-equal", 0,
		"share of captions an export other than fp32 must have as the model, token by token (default 0.7; fp16 0.9, q4 and q4f16 0.5)")
	flags.StringVar(&o.prune, "prune-vocab", "", "leave tokens out of the vocabulary: auto, or how many to keep at most")
	flags.StringSliceVar(&o.require, "require", nil,
		"devices on which every export must be right in Transformers.js: node, wasm, webgpu")
	checkWeb = flags.Bool("check-web", false,
		"check in Transformers.js, or with =false do not (default where transformers.js-node is found)")
	flags.StringVar(&o.captions, "captions", "", "FILE of training captions, one a line, that --prune-vocab goes by")
	return cmd
}

func (a *app) export(ctx context.Context, dir, out string, o exportOptions) error {
	w, err := newWorkbench(dir, o.backend, a.trainerArgs())
	if err != nil {
		return err
	}
	defer w.close()
	library, err := onnxRuntime()
	if err != nil {
		return err
	}
	web, err := a.web(o)
	if err != nil {
		return err
	}
	config, err := model.ReadConfig(dir)
	if err != nil {
		return err
	}
	generate, err := model.ReadGenerate(dir)
	if err != nil {
		return err
	}
	p := newProgress(a.stderr)
	defer p.clear()
	d := datasetFlags{name: o.dataset, split: pipeline.SplitTest, limit: o.pictures}
	shards, err := a.shards(ctx, w, d, p)
	if err != nil {
		return err
	}
	e := pipeline.ExportConfig{Damage: o.damage, Mixed: o.mixed, MaxSizeMiB: o.maxSize}
	var calibrate []dataset.ShardPair
	if o.calibrate > 0 || e.DamagePictures() > 0 {
		d.split, d.limit = pipeline.SplitValidation, 0
		beside := *w
		if beside.temp, err = os.MkdirTemp(w.temp, "calibrate-"); err != nil {
			return err
		}
		if calibrate, err = a.shards(ctx, &beside, d, p); err != nil {
			return err
		}
	}
	prune, err := a.pruneArgs(ctx, dir, o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fileError("output directory", out, err)
	}
	sure := ""
	if web != nil {
		if sure, err = os.MkdirTemp("", "distilvit-sure-"); err != nil {
			return err
		}
		defer os.RemoveAll(sure)
	}
	done, err := w.pool.Once(ctx, "export", w.choice,
		trainer.Command{Do: trainer.DoExport, Export: &trainer.ExportArgs{
			ModelDir:        dir,
			Backend:         w.choice,
			Checkpoint:      dir,
			OutDir:          out,
			Dtypes:          o.dtypes,
			Shards:          shards,
			MaxLength:       generate.MaxLength,
			MaxLogitsDiff:   pipeline.Default().Export.MaxLogitsDiff,
			MaxRougeDrop:    o.maxDrop,
			MinEqual:        o.minEqual,
			ONNXRuntime:     library,
			Prune:           prune,
			SureDir:         sure,
			Calibrate:       o.calibrate,
			CalibrateShards: calibrate,
			Damage:          e.DamagePictures(),
			Mixed:           o.mixed,
			MaxBytes:        e.MaxBytes(),
		}}, showEvents(p, "export"))
	if err != nil {
		return err
	}
	if web != nil {
		err := web.CheckExports(ctx, out, done.Exported.Checks, done.Exported.Sure, o.require,
			func(device string, l transformersjs.Line) { p.show(l.Dtype+" in Transformers.js, "+device, 0, 0) })
		if err != nil {
			return err
		}
	}
	p.clear()
	for _, d := range onnx.Deviations(config, generate) {
		fmt.Fprintln(a.stderr, "warning: "+d.String())
	}
	if a.output == "json" {
		return printJSON(a.stdout, struct {
			Directory string               `json:"directory"`
			Files     []string             `json:"files"`
			Checks    []record.ExportCheck `json:"checks"`
			Pruning   *record.Pruning      `json:"pruning,omitempty"`

			Calibration *record.Calibration `json:"calibration,omitempty"`
			Damage      []record.Damage     `json:"damage,omitempty"`
		}{
			out, done.Exported.Files, done.Exported.Checks, done.Exported.Pruning, done.Exported.Calibration,
			done.Exported.Damage,
		})
	}
	writeChecks(a.stdout, done.Exported.Checks, done.Exported.Pruning, "")
	writeDamage(a.stdout, done.Exported.Damage)
	fmt.Fprintf(a.stdout, "%d files in %s\n", len(done.Exported.Files), out)
	return nil
}

// writeDamage shows what rounding does to each layer, most damaged first.
func writeDamage(w io.Writer, all []record.Damage) {
	for _, d := range all {
		fmt.Fprintf(w, "\nrounded alone in %s, %d captions:\n", d.Dtype, d.Pictures)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "LAYER\tBYTES\tKL\tOF THE WORST TOKEN\t")
		for _, l := range d.Worst() {
			kept := ""
			if l.EightBits {
				kept = "kept in 8 bits"
			}
			fmt.Fprintf(t, "%s\t%s\t%.1e\t%.1e\t%s\n", l.Layer, report.Bytes(l.Bytes), l.KL, l.MaxKL, kept)
		}
		t.Flush()
	}
}
