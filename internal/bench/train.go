package bench

import (
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/gomlx/compute"

	"distilvit/dataset"
	"distilvit/model/train"
)

// TrainOptions say what a training step is.
type TrainOptions struct {
	Pictures              int    // of a step
	Captions              int    // of a picture
	Tokens                int    // that a caption is padded to
	MicroBatch            int    // pictures of a forward and backward pass; 0: all of a step
	Precision             string // of matrix products: train.Float32, train.TF32 or train.BF16
	GradientCheckpointing bool   // compute layers again in the backward pass
	Steps                 Rounds
	Digest                bool // of the weights that the steps end with
}

// Train measures training steps on random pictures and captions; with names the backend. The optimisation is
// that of a config which says nothing of it.
func Train(be compute.Backend, with string, n Network, o TrainOptions) (Measurement, error) {
	m := Measurement{
		Bench: "train", Work: "training step", With: with, Preset: n.Preset,
		Pictures: o.Pictures, Captions: o.Captions, Tokens: o.Tokens, Unit: "captions",
	}
	d := Defaults(n.Preset).Train
	t, err := train.New(be, n.Config, n.weights(), train.Config{
		BatchSize: o.Pictures, MicroBatchSize: o.MicroBatch, CaptionsPerPicture: o.Captions,
		MaxLength: o.Tokens, LearningRate: d.LearningRate, WeightDecay: d.WeightDecay, Beta1: d.Beta1,
		Beta2: d.Beta2, Epsilon: d.Epsilon, MaxGradNorm: d.MaxGradNorm, Dropout: d.Dropout,
		Precision: o.Precision, GradientCheckpointing: o.GradientCheckpointing, TotalSteps: 1 << 30,
	})
	if err != nil {
		return m, err
	}
	defer t.Close()
	batch := o.batch(n)
	err = o.Steps.Measure(&m, o.Pictures*o.Captions, func() error {
		r, err := t.Step(batch)
		m.Loss = r.LossSum / float64(r.Tokens)
		return err
	})
	if err != nil || !o.Digest {
		return m, err
	}
	w, err := t.Weights()
	m.Weights = train.Digest(slices.Sorted(maps.Keys(w)), w)
	return m, err
}

// batch has captions of 10 to 15 tokens, where so many fit, as most are that
// people write of photographs.
func (o TrainOptions) batch(n Network) *dataset.Batch {
	rng := rand.New(rand.NewPCG(3, 4))
	b := &dataset.Batch{
		N: o.Pictures, K: o.Captions, T: o.Tokens, Pixels: randomPixels(o.Pictures * n.side() * n.side() * 3),
		IDs: make([]string, o.Pictures), Rows: make([]uint64, o.Pictures),
	}
	for i := range o.Pictures {
		b.Rows[i] = uint64(i)
		for range o.Captions {
			length := min(o.Tokens, 10+rng.IntN(6))
			for j := range o.Tokens {
				label := int32(dataset.Masked)
				switch {
				case j == length-1:
					label = int32(n.Config.EOSTokenID)
				case j < length:
					label = int32(rng.IntN(n.Config.VocabSize()))
				}
				b.Labels = append(b.Labels, label)
			}
		}
	}
	return b
}
