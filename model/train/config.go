package train

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"distilvit/dataset/pixels"
	"distilvit/model"
)

// Config is the optimisation. It is AdamW as PyTorch has it, with the choices
// of Hugging Face's Trainer: no decay of biases and norms, clip by global norm,
// its schedules of the learning rate.
type Config struct {
	BatchSize int `json:"batch_size"` // pictures a step
	// pictures a forward and backward pass; 0: BatchSize
	MicroBatchSize     int `json:"micro_batch_size"`
	CaptionsPerPicture int `json:"captions_per_picture"` // captions trained a picture and step
	// label tokens a caption at most, end token included
	MaxLength    int     `json:"max_length"`
	LearningRate float64 `json:"learning_rate"` // peak
	WeightDecay  float64 `json:"weight_decay"`
	Beta1        float64 `json:"beta1"`
	Beta2        float64 `json:"beta2"`
	Epsilon      float64 `json:"epsilon"`
	MaxGradNorm  float64 `json:"max_grad_norm"` // 0: no clipping
	// decoder's embedding, attention and residual dropout
	Dropout float64 `json:"dropout"`
	// of matrix products in training: Float32, TF32 or BF16; empty: Float32
	Precision string `json:"precision,omitempty"`

	// keep each layer's input only, and compute the layer again in the backward pass
	GradientCheckpointing bool `json:"gradient_checkpointing,omitempty"`

	// of the learning rate: Linear, Cosine, Constant or ConstantWithWarmup; empty: Linear
	Scheduler   string `json:"lr_scheduler_type,omitempty"`
	WarmupSteps int64  `json:"warmup_steps"`
	TotalSteps  int64  `json:"total_steps"` // the learning rate of Linear and Cosine is 0 from here on
	Seed        uint64 `json:"seed"`        // of dropout

	// share of each label's probability that is spread over the whole vocabulary, 0 to below 1; of the loss
	// that is trained, not of Loss
	LabelSmoothing float64 `json:"label_smoothing_factor,omitempty"`

	// most that an average of the weights keeps of itself at a step, 0 to below 1; see AverageDecay. 0: no
	// average; else the average is what is evaluated, captioned with and saved as the model
	EMA float64 `json:"ema,omitempty"`

	// after so many steps the learning rate is HoldRate and stays; 0: never
	HoldStep int64   `json:"hold_step,omitempty"`
	HoldRate float64 `json:"hold_rate,omitempty"`

	// what is trained otherwise than the rest, or not at all; the last part that means a tensor wins
	Parts []Part `json:"parts,omitempty"`

	// what the learning rate of a layer is multiplied with for each layer above it in its tower, see
	// model.Config.Depth; 0: 1
	LayerDecay float64 `json:"layer_decay,omitempty"`

	// trains adapters instead of the weights beside which they stand; what no part says freeze: false of is frozen
	LoRA *model.LoRA `json:"lora,omitempty"`

	// a teacher's distribution that is learnt beside the labels, of the loss that is trained, not of Loss; nil: none
	Teacher *Teacher `json:"teacher,omitempty"`

	// see NormalizationOf; zero: mean and standard deviation 0.5
	Normalization model.Normalization `json:"normalization"`
}

// Precisions of training: with BF16 and TF32 the factors of matrix products are rounded to 8 and 11 significant
// bits and all else is float32: weights, moments, sums, softmax, norms, loss. TF32 is no matter of the graph: the
// backend is opened with it (backend.Choice), and then rounds in validation too.
const (
	Float32 = "float32"
	TF32    = "tf32"
	BF16    = "bf16"
)

// NormalizationOf is what the network does to the pixels of an image processor.
func NormalizationOf(p pixels.Processor) model.Normalization {
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
		return fmt.Errorf(
			"train config: micro_batch_size is %d; must be a multiple of the %d devices that train together",
			c.microBatch(), devices,
		)
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
	check(c.MicroBatchSize >= 0 && (c.MicroBatchSize == 0 || c.BatchSize%c.MicroBatchSize == 0),
		"micro_batch_size is %d; must divide batch_size %d", c.MicroBatchSize, c.BatchSize)
	check(c.CaptionsPerPicture >= 1, "captions_per_picture is %d; must be at least 1", c.CaptionsPerPicture)
	check(c.MaxLength >= 1 && c.MaxLength <= mc.Positions(),
		"max_length is %d; must be from 1 to the decoder's %d positions", c.MaxLength, mc.Positions())
	check(c.LearningRate >= 0 && !math.IsInf(c.LearningRate, 0), "learning_rate is %g; must not be negative",
		c.LearningRate)
	check(c.WeightDecay >= 0 && !math.IsInf(c.WeightDecay, 0), "weight_decay is %g; must not be negative",
		c.WeightDecay)
	check(c.Beta1 >= 0 && c.Beta1 < 1, "beta1 is %g; must be from 0 to below 1", c.Beta1)
	check(c.Beta2 >= 0 && c.Beta2 < 1, "beta2 is %g; must be from 0 to below 1", c.Beta2)
	check(c.Epsilon > 0, "epsilon is %g; must be above 0", c.Epsilon)
	check(c.MaxGradNorm >= 0, "max_grad_norm is %g; must not be negative", c.MaxGradNorm)
	check(c.Dropout >= 0 && c.Dropout < 1, "dropout is %g; must be from 0 to below 1", c.Dropout)
	check(slices.Contains([]string{"", Float32, TF32, BF16}, c.Precision),
		"precision is %q; must be %s, %s or %s", c.Precision, Float32, TF32, BF16)
	check(c.Scheduler == "" || slices.Contains(Schedulers, c.Scheduler), "lr_scheduler_type is %q; must be one of %s",
		c.Scheduler, strings.Join(Schedulers, ", "))
	check(c.LabelSmoothing >= 0 && c.LabelSmoothing < 1,
		"label_smoothing_factor is %g; must be from 0 to below 1", c.LabelSmoothing)
	check(c.EMA >= 0 && c.EMA < 1, "ema is %g; must be from 0 to below 1", c.EMA)
	check(c.WarmupSteps >= 0, "warmup_steps is %d; must not be negative", c.WarmupSteps)
	check(c.HoldStep >= 0, "hold_step is %d; must not be negative", c.HoldStep)
	check(c.HoldRate >= 0 && !math.IsInf(c.HoldRate, 0), "hold_rate is %g; must not be negative", c.HoldRate)
	c.validateParts(check)
	c.Teacher.validate(check)
	if c.LoRA != nil {
		err := c.LoRA.Validate()
		check(err == nil, "lora: %v", err)
	}
	check(c.TotalSteps >= 1, "total_steps is %d; must be at least 1", c.TotalSteps)
	if bad != nil {
		return fmt.Errorf("train config: %s", strings.Join(bad, "; "))
	}
	return nil
}
