package main

import (
	"math/rand/v2"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"

	"distilvit/dataset"
	"distilvit/model"
	"distilvit/model/train"
	"distilvit/model/trainer"
)

// benchTrainOptions are the flags of bench train.
type benchTrainOptions struct {
	network                           networkFlags
	backend                           string
	pictures, captions, tokens, micro int
	precision                         string
	checkpointing                     bool
	steps                             roundFlags
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
	flags.IntVar(&o.pictures, "pictures", 2, "pictures a step")
	flags.IntVar(&o.captions, "captions", 5, "captions a picture")
	flags.IntVar(&o.tokens, "tokens", 16, "tokens that a caption is padded to")
	flags.IntVar(&o.micro, "micro-batch", 0, "pictures of a forward and backward pass (default: all of a step)")
	flags.StringVar(&o.precision, "precision", train.Float32, "of matrix products: float32 or bf16 (see train.precision)")
	flags.BoolVar(&o.checkpointing, "gradient-checkpointing", false, "compute layers again in the backward pass (see train.gradient_checkpointing)")
	o.steps.add(cmd, "steps", 5, 3)
	backendFlag(cmd, &o.backend)
	return cmd
}

func (a *app) benchTrain(o benchTrainOptions) error {
	if o.pictures < 1 || o.captions < 1 {
		return usagef("--pictures and --captions must be at least 1")
	}
	if err := o.steps.check(); err != nil {
		return err
	}
	c, err := o.network.config(o.tokens)
	if err != nil {
		return err
	}
	be, choice, err := openAsTrainer(o.backend)
	if err != nil {
		return err
	}
	defer be.Finalize()
	if err := trainer.CheckPrecision(o.precision, choice.Kind); err != nil {
		return err
	}
	t, err := o.trainer(be, c)
	if err != nil {
		return err
	}
	defer t.Close()
	batch := o.batch(c)
	m := measurement{
		Bench: "train", Work: "training step", With: choice.String(), Preset: o.network.preset,
		Pictures: o.pictures, Captions: o.captions, Tokens: o.tokens, Unit: "captions",
	}
	err = o.steps.measure(&m, o.pictures*o.captions, func() error {
		_, err := t.Step(batch)
		return err
	})
	if err != nil {
		return err
	}
	return a.printMeasurements(m)
}

// trainer has the optimisation of a config without any changes.
func (o *benchTrainOptions) trainer(be compute.Backend, c *model.Config) (*train.Trainer, error) {
	d := o.network.defaults().Train
	return train.New(be, c, model.Init(c, o.network.seed), train.Config{
		BatchSize: o.pictures, MicroBatchSize: o.micro, CaptionsPerPicture: o.captions, MaxLength: o.tokens,
		LearningRate: d.LearningRate, WeightDecay: d.WeightDecay, Beta1: d.Beta1, Beta2: d.Beta2, Epsilon: d.Epsilon,
		MaxGradNorm: d.MaxGradNorm, Dropout: d.Dropout, Precision: o.precision, GradientCheckpointing: o.checkpointing, TotalSteps: 1 << 30,
	})
}

// batch has captions of 10 to 15 tokens, where so many fit, as most are that
// people write of photographs.
func (o *benchTrainOptions) batch(c *model.Config) *dataset.Batch {
	rng := rand.New(rand.NewPCG(3, 4))
	side := c.Encoder.ImageSize
	b := &dataset.Batch{
		N: o.pictures, K: o.captions, T: o.tokens, Pixels: randomPixels(o.pictures * side * side * 3),
		IDs: make([]string, o.pictures), Rows: make([]uint64, o.pictures),
	}
	for i := range o.pictures {
		b.Rows[i] = uint64(i)
		for range o.captions {
			length := min(o.tokens, 10+rng.IntN(6))
			for j := range o.tokens {
				label := int32(dataset.Masked)
				switch {
				case j == length-1:
					label = int32(c.EOSTokenID)
				case j < length:
					label = int32(rng.IntN(c.Decoder.VocabSize))
				}
				b.Labels = append(b.Labels, label)
			}
		}
	}
	return b
}
