package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"distilvit/internal/bench"
	"distilvit/model/onnx"
)

// benchCaptionOptions are the flags of bench caption.
type benchCaptionOptions struct {
	network networkFlags
	backend string
	forms   []string
	bench.CaptionOptions
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
	flags.StringSliceVar(&o.forms, "forms", []string{weightsForm}, "forms to measure: weights, "+strings.Join(onnx.Dtypes(), ", "))
	flags.IntVar(&o.Batch, "batch", 8, "pictures at once")
	flags.IntVar(&o.Tokens, "tokens", 20, "tokens of a caption, the start token not counted")
	roundFlags(cmd, &o.Rounds, "rounds", 5, 2)
	backendFlag(cmd, &o.backend)
	return cmd
}

func (a *app) benchCaption(o benchCaptionOptions) error {
	if o.Batch < 1 {
		return usagef("--batch must be at least 1")
	}
	if err := checkRounds(o.Rounds); err != nil {
		return err
	}
	for _, form := range o.forms {
		if form != weightsForm && !slices.Contains(onnx.Dtypes(), form) {
			return usagef("--forms %s: use %s, %s", form, weightsForm, strings.Join(onnx.Dtypes(), ", "))
		}
	}
	network, err := o.network.network(o.Tokens)
	if err != nil {
		return err
	}
	var list []bench.Measurement
	for _, form := range o.forms {
		m, err := o.measure(network, form)
		if err != nil {
			return err
		}
		list = append(list, m)
	}
	return a.printMeasurements(list...)
}

func (o *benchCaptionOptions) measure(network bench.Network, form string) (m bench.Measurement, err error) {
	if form == weightsForm {
		choice, err := chooseBackend(o.backend)
		if err != nil {
			return m, err
		}
		be, err := openAsTrainer(choice)
		if err != nil {
			return m, err
		}
		defer be.Finalize()
		return bench.CaptionWeights(be, choice.String(), network, o.CaptionOptions)
	}
	library, err := onnxRuntime()
	if err != nil {
		return m, err
	}
	return bench.CaptionExport(library, form, network, o.CaptionOptions)
}
