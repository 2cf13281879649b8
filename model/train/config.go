package train

import (
	"fmt"
	"math"
	"strings"

	"distilvit/dataset"
	"distilvit/model"
)

// Config is the optimisation. It is AdamW as PyTorch has it, with the choices
// of Hugging Face's Trainer: no decay of biases and norms, clip by global norm,
// linear warm-up, then linear decay to zero.
type Config struct {
	BatchSize          int     `json:"batch_size"`           // pictures a step
	MicroBatchSize     int     `json:"micro_batch_size"`     // pictures a forward and backward pass; 0: BatchSize
	CaptionsPerPicture int     `json:"captions_per_picture"` // captions trained a picture and step
	MaxLength          int     `json:"max_length"`           // label tokens a caption at most, end token included
	LearningRate       float64 `json:"learning_rate"`        // peak
	WeightDecay        float64 `json:"weight_decay"`
	Beta1              float64 `json:"beta1"`
	Beta2              float64 `json:"beta2"`
	Epsilon            float64 `json:"epsilon"`
	MaxGradNorm        float64 `json:"max_grad_norm"`       // 0: no clipping
	Dropout            float64 `json:"dropout"`             // decoder's embedding, attention and residual dropout
	Precision          string  `json:"precision,omitempty"` // of matrix products in training: Float32 or BF16; empty: Float32

	GradientCheckpointing bool   `json:"gradient_checkpointing,omitempty"` // keep each layer's input only, and compute the layer again in the backward pass
	WarmupSteps           int64  `json:"warmup_steps"`
	TotalSteps            int64  `json:"total_steps"` // the learning rate is 0 from here on
	Seed                  uint64 `json:"seed"`        // of dropout

	HoldStep int64   `json:"hold_step,omitempty"` // after so many steps the learning rate is HoldRate and stays; 0: never
	HoldRate float64 `json:"hold_rate,omitempty"`

	Normalization model.Normalization `json:"normalization"` // see NormalizationOf; zero: mean and standard deviation 0.5
}

// Precisions of training: with BF16 the factors of matrix products are rounded to
// bfloat16 and all else is float32: weights, moments, sums, softmax, norms, loss.
const (
	Float32 = "float32"
	BF16    = "bf16"
)

// NormalizationOf is what the network does to the pixels of an image processor.
func NormalizationOf(p dataset.Processor) model.Normalization {
	return model.Normalization{Mean: p.Mean, Std: p.Std, Rescale: p.RescaleFactor}
}

func (c *Config) microBatch() int {
	if c.MicroBatchSize == 0 {
		return c.BatchSize
	}
	return c.MicroBatchSize
}

// divides makes sure that every device gets as many pictures as the others.
func (c *Config) divides(devices int) error {
	if c.microBatch()%devices != 0 {
		return fmt.Errorf("train config: micro_batch_size is %d; must be a multiple of the %d devices that train together", c.microBatch(), devices)
	}
	return nil
}

// validate reports every value that cannot work.
func (c *Config) validate(mc *model.Config) error {
	var bad []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Sprintf(format, args...))
		}
	}
	check(c.BatchSize >= 1, "batch_size is %d; must be at least 1", c.BatchSize)
	check(c.MicroBatchSize >= 0 && (c.MicroBatchSize == 0 || c.BatchSize%c.MicroBatchSize == 0), "micro_batch_size is %d; must divide batch_size %d", c.MicroBatchSize, c.BatchSize)
	check(c.CaptionsPerPicture >= 1, "captions_per_picture is %d; must be at least 1", c.CaptionsPerPicture)
	check(c.MaxLength >= 1 && c.MaxLength <= mc.Decoder.NPositions, "max_length is %d; must be from 1 to the decoder's %d positions", c.MaxLength, mc.Decoder.NPositions)
	check(c.LearningRate >= 0 && !math.IsInf(c.LearningRate, 0), "learning_rate is %g; must not be negative", c.LearningRate)
	check(c.WeightDecay >= 0 && !math.IsInf(c.WeightDecay, 0), "weight_decay is %g; must not be negative", c.WeightDecay)
	check(c.Beta1 >= 0 && c.Beta1 < 1, "beta1 is %g; must be from 0 to below 1", c.Beta1)
	check(c.Beta2 >= 0 && c.Beta2 < 1, "beta2 is %g; must be from 0 to below 1", c.Beta2)
	check(c.Epsilon > 0, "epsilon is %g; must be above 0", c.Epsilon)
	check(c.MaxGradNorm >= 0, "max_grad_norm is %g; must not be negative", c.MaxGradNorm)
	check(c.Dropout >= 0 && c.Dropout < 1, "dropout is %g; must be from 0 to below 1", c.Dropout)
	check(c.Precision == "" || c.Precision == Float32 || c.Precision == BF16, "precision is %q; must be %s or %s", c.Precision, Float32, BF16)
	check(c.WarmupSteps >= 0, "warmup_steps is %d; must not be negative", c.WarmupSteps)
	check(c.HoldStep >= 0, "hold_step is %d; must not be negative", c.HoldStep)
	check(c.HoldRate >= 0 && !math.IsInf(c.HoldRate, 0), "hold_rate is %g; must not be negative", c.HoldRate)
	check(c.TotalSteps >= 1, "total_steps is %d; must be at least 1", c.TotalSteps)
	if bad != nil {
		return fmt.Errorf("train config: %s", strings.Join(bad, "; "))
	}
	return nil
}

// RateAfter is the learning rate of the step that follows step steps: Hugging
// Face's linear schedule with warm-up, whose first step has rate 0 if there is a
// warm-up.
func (c *Config) RateAfter(step int64) float64 {
	if c.HoldStep > 0 && step >= c.HoldStep {
		return c.HoldRate
	}
	if step < c.WarmupSteps {
		return c.LearningRate * float64(step) / float64(c.WarmupSteps)
	}
	left := float64(c.TotalSteps-step) / float64(max(1, c.TotalSteps-c.WarmupSteps))
	return c.LearningRate * max(0, left)
}
