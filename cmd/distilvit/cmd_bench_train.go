package main

import (
	"github.com/spf13/cobra"

	"distilvit/internal/bench"
	"distilvit/model/train"
	"distilvit/model/trainer"
)

// benchTrainOptions are the flags of bench train.
type benchTrainOptions struct {
	network       networkFlags
	backend       string
	deterministic bool
	bench.TrainOptions
}

func (a *app) benchTrainCommand() *cobra.Command {
	var o benchTrainOptions
	cmd := &cobra.Command{
		Use:   "train",
		Short: "measure a training step",
		Long: `Measure training steps of a network with random weights on random pictures and
captions: forward, backward, clipping and AdamW with dropout, as a trainer does them
and with its environment. A step is --pictures pictures with --captions
captions each, padded to --tokens.

cpu_s and wall_s are medians of a step, first_cpu_s is the first step with its
compilation, per_cpu_s counts captions.`,
		Example: `  distilvit bench train --preset base --pictures 2 --captions 5 --tokens 16
  distilvit bench train --preset tiny --backend go --steps 3 -o json`,
		Args: args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error { return a.benchTrain(o) },
	}
	flags := cmd.Flags()
	o.network.add(cmd)
	flags.IntVar(&o.Pictures, "pictures", 2, "pictures a step")
	flags.IntVar(&o.Captions, "captions", 5, "captions a picture")
	flags.IntVar(&o.Tokens, "tokens", 16, "tokens that a caption is padded to")
	flags.IntVar(&o.MicroBatch, "micro-batch", 0,
		"pictures of a forward and backward pass (default: all of a step)")
	flags.StringVar(&o.Precision, "precision", train.Float32,
		"of matrix products: float32, tf32 or bf16 (see train.precision)")
	flags.BoolVar(&o.deterministic, "deterministic", false, "on CUDA, the same bits every time (see train.deterministic)")
	flags.BoolVar(&o.Digest, "digest", false, "the SHA-256 of the weights after the last step too, with -o json")
	flags.BoolVar(&o.GradientCheckpointing, "gradient-checkpointing", false,
		"compute layers again in the backward pass (see train.gradient_checkpointing)")
	roundFlags(cmd, &o.Steps, "steps", 5, 3)
	backendFlag(cmd, &o.backend)
	return cmd
}

func (a *app) benchTrain(o benchTrainOptions) error {
	if o.Pictures < 1 || o.Captions < 1 {
		return usagef("--pictures and --captions must be at least 1")
	}
	if err := checkRounds(o.Steps); err != nil {
		return err
	}
	network, err := o.network.network(o.Tokens)
	if err != nil {
		return err
	}
	choice, err := chooseBackend(o.backend)
	if err != nil {
		return err
	}
	if err := trainer.CheckPrecision(o.Precision, choice.Kind); err != nil {
		return err
	}
	be, err := openAsTrainer(choice.Computing(o.Precision == train.TF32, o.deterministic))
	if err != nil {
		return err
	}
	defer be.Finalize()
	m, err := bench.Train(be, choice.String(), network, o.TrainOptions)
	if err != nil {
		return err
	}
	return a.printMeasurements(m)
}
