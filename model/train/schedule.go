package train

import "math"

// Schedules of the learning rate, named as lr_scheduler_type of Hugging Face's Trainer
// and equal to what its get_scheduler gives.
const (
	Linear             = "linear"               // warm-up, then linearly to 0
	Cosine             = "cosine"               // warm-up, then half a period of the cosine to 0
	Constant           = "constant"             // no warm-up, whatever WarmupSteps says
	ConstantWithWarmup = "constant_with_warmup" // warm-up, then the peak
)

// Schedulers are all schedules.
var Schedulers = []string{Linear, Cosine, Constant, ConstantWithWarmup}

// RateAfter is the learning rate of the step that follows step steps. With a
// warm-up the first step has rate 0.
func (c *Config) RateAfter(step int64) float64 {
	if c.HoldStep > 0 && step >= c.HoldStep {
		return c.HoldRate
	}
	if c.Scheduler == Constant {
		return c.LearningRate
	}
	if step < c.WarmupSteps {
		return c.LearningRate * float64(step) / float64(c.WarmupSteps)
	}
	decaying := float64(max(1, c.TotalSteps-c.WarmupSteps))
	switch c.Scheduler {
	case ConstantWithWarmup:
		return c.LearningRate
	case Cosine:
		done := min(1, float64(step-c.WarmupSteps)/decaying)
		return c.LearningRate * max(0, 0.5*(1+math.Cos(math.Pi*done)))
	}
	left := float64(c.TotalSteps-step) / decaying
	return c.LearningRate * max(0, left)
}

// AverageDecay is what the average of the weights keeps of itself at a step, counted from 1: step / (step + 9), at
// most EMA, and nothing at the first. So it soon forgets the weights that training began with. It is
// EMAModel of diffusers, with its defaults.
func (c *Config) AverageDecay(step int64) float64 {
	if step <= 1 {
		return 0
	}
	return min(c.EMA, float64(step)/float64(step+9))
}
