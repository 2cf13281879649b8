package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"distilvit/internal/backend"
	"distilvit/model"
	"distilvit/model/onnx"
)

// benchCaptionOptions are the flags of bench caption.
type benchCaptionOptions struct {
	network       networkFlags
	backend       string
	forms         []string
	batch, tokens int
	rounds        roundFlags
}

func (a *app) benchCaptionCommand() *cobra.Command {
	var o benchCaptionOptions
	cmd := &cobra.Command{
		Use:   "caption",
		Short: "measure greedy decoding",
		Long: `Measure captions of random pictures by a network with random weights, decoded
greedily to exactly --tokens tokens: its weights on a backend, as an evaluation does,
or its ONNX exports in ONNX Runtime, which are written to a temporary directory first.

cpu_s and wall_s are medians of a batch of --batch pictures, per_cpu_s counts
captions. Several --forms share a process and so its peak memory.`,
		Example: `  distilvit bench caption --preset base --batch 8 --tokens 20
  distilvit bench caption --forms q8,fp32 --batch 1 -o json`,
		Args: args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error { return a.benchCaption(o) },
	}
	flags := cmd.Flags()
	o.network.add(cmd)
	flags.StringSliceVar(&o.forms, "forms", []string{weightsForm}, "forms to measure: weights, fp32, q8, int8")
	flags.IntVar(&o.batch, "batch", 8, "pictures at once")
	flags.IntVar(&o.tokens, "tokens", 20, "tokens of a caption, the start token not counted")
	o.rounds.add(cmd, "rounds", 5, 2)
	backendFlag(cmd, &o.backend)
	return cmd
}

func (a *app) benchCaption(o benchCaptionOptions) error {
	if o.batch < 1 {
		return usagef("--batch must be at least 1")
	}
	if err := o.rounds.check(); err != nil {
		return err
	}
	for _, form := range o.forms {
		if form != weightsForm && !slices.Contains(onnx.Dtypes(), form) {
			return usagef("--forms %s: use %s, %s", form, weightsForm, strings.Join(onnx.Dtypes(), ", "))
		}
	}
	c, err := o.network.config(o.tokens)
	if err != nil {
		return err
	}
	var list []measurement
	for _, form := range o.forms {
		measure := o.measureExport
		if form == weightsForm {
			measure = o.measureWeights
		}
		m, err := measure(c, form)
		if err != nil {
			return err
		}
		list = append(list, m)
	}
	return a.printMeasurements(list...)
}

// measureWeights captions on a backend.
func (o *benchCaptionOptions) measureWeights(c *model.Config, form string) (measurement, error) {
	be, choice, err := openAsTrainer(o.backend)
	if err != nil {
		return measurement{}, err
	}
	defer be.Finalize()
	g, err := model.NewCaptioner(be, c, model.Init(c, o.network.seed))
	if err != nil {
		return measurement{}, err
	}
	defer g.Close()
	pixels := randomPixels(o.batch * c.Encoder.ImageSize * c.Encoder.ImageSize * 3)
	return o.measure(form, choice.String(), func() ([][]int32, error) {
		return g.Generate(pixels, o.batch, model.GenerateOptions{MaxLength: o.tokens + 1, BatchSize: o.batch, NumBeams: 1})
	})
}

// measureExport captions in ONNX Runtime.
func (o *benchCaptionOptions) measureExport(c *model.Config, dtype string) (m measurement, err error) {
	cache, err := backendCache()
	if err != nil {
		return m, err
	}
	library, err := backend.ONNXRuntime(cache)
	if err != nil {
		return m, err
	}
	dir, err := os.MkdirTemp("", "distilvit-bench-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := o.export(dir, c, dtype); err != nil {
		return m, err
	}
	session, err := onnx.Open(library, dir, dtype)
	if err != nil {
		return m, err
	}
	defer session.Close()
	picture := c.Encoder.ImageSize * c.Encoder.ImageSize * 3
	pixels := randomPixels(o.batch * picture)
	return o.measure(dtype, "ONNX Runtime", func() ([][]int32, error) {
		values := make([]float32, 0, len(pixels))
		for first := 0; first < len(pixels); first += picture {
			values = append(values, onnx.PixelValues(pixels[first:first+picture], model.HalfNormalization)...)
		}
		return session.GenerateBatch(values, o.batch, o.tokens+1)
	})
}

// export writes the model directory that a session opens.
func (o *benchCaptionOptions) export(dir string, c *model.Config, dtype string) error {
	if _, err := onnx.Write(dir, c, model.Init(c, o.network.seed), dtype); err != nil {
		return err
	}
	return onnx.WriteConfigs(dir, c, o.tokens+1, []string{dtype})
}

// measure makes sure that every caption has all its tokens: another network's
// captions would be other work.
func (o *benchCaptionOptions) measure(form, with string, generate func() ([][]int32, error)) (measurement, error) {
	m := measurement{
		Bench: "caption", Work: "greedy captions of " + form, With: with, Preset: o.network.preset,
		Pictures: o.batch, Captions: 1, Tokens: o.tokens, Unit: "captions",
	}
	err := o.rounds.measure(&m, o.batch, func() error {
		rows, err := generate()
		if err != nil {
			return err
		}
		for _, ids := range rows {
			if len(ids) != o.tokens {
				return fmt.Errorf("the network of --seed %d ends a caption after %d of %d tokens: use another seed", o.network.seed, len(ids), o.tokens)
			}
		}
		return nil
	})
	return m, err
}
