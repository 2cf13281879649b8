package train

import (
	"fmt"
	"math"
	"strings"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"distilvit/dataset"
	"distilvit/internal/device"
	"distilvit/model"
)

// Trainer holds weights and AdamW's moments on a device and moves them a step
// at a time. It is not safe for concurrent use; captioners made by Captioner
// must not run during a step.
type Trainer struct {
	be     compute.Backend
	model  *model.Config
	config Config
	names  []string // of all tensors, sorted

	step          int64 // steps done
	weights, m, v []*tensors.Tensor
	broken        error            // set once the state cannot be trusted
	captioner     *model.Captioner // made when first asked for

	loss, full, accumulate, apply, zeros *device.Program
}

// StepResult is what a step reports. LossSum / Tokens is the mean loss.
type StepResult struct {
	Step         int64   `json:"step"` // steps done, this one included
	LossSum      float64 `json:"loss_sum"`
	Tokens       int64   `json:"tokens"`    // label tokens of the effective batch
	GradNorm     float64 `json:"grad_norm"` // before clipping
	LearningRate float64 `json:"learning_rate"`
}

// DivergedError says that a loss or gradient was not finite. The trainer is of
// no more use; an earlier checkpoint is.
type DivergedError struct {
	Step int64    // the step that failed
	IDs  []string // examples of its batch
}

func (e *DivergedError) Error() string {
	ids := e.IDs
	more := ""
	if len(ids) > 8 {
		ids, more = ids[:8], fmt.Sprintf(" and %d more", len(e.IDs)-8)
	}
	return fmt.Sprintf("loss or gradient not finite at step %d, examples %s%s", e.Step, strings.Join(ids, ", "), more)
}

// New uploads weights and starts at step 0 with moments of zero.
func New(be compute.Backend, mc *model.Config, w model.Weights, c Config) (*Trainer, error) {
	if err := c.validate(mc); err != nil {
		return nil, err
	}
	c.Normalization = c.Normalization.Or(model.HalfNormalization)
	t := &Trainer{be: be, model: mc, config: c, names: mc.Names()}
	for _, p := range []struct {
		program **device.Program
		name    string
		build   func([]*Node) []*Node
	}{
		{&t.loss, "loss", t.buildLoss}, {&t.full, "training step", t.buildStep}, {&t.accumulate, "accumulate gradients", t.buildAccumulate},
		{&t.apply, "apply gradients", t.buildApply}, {&t.zeros, "zeros", t.buildZeros},
	} {
		var err error
		if *p.program, err = device.NewProgram(be, p.name, p.build); err != nil {
			return nil, err
		}
	}
	var err error
	if t.weights, err = model.Upload(be, mc, w); err != nil {
		return nil, err
	}
	for _, moments := range []*[]*tensors.Tensor{&t.m, &t.v} {
		if *moments, err = t.zeros.Run(t.weights); err != nil {
			t.Close()
			return nil, err
		}
	}
	return t, nil
}

// Close frees the device's memory and the compiled graphs.
func (t *Trainer) Close() {
	device.Free(t.weights...)
	device.Free(t.m...)
	device.Free(t.v...)
	for _, p := range []*device.Program{t.loss, t.full, t.accumulate, t.apply, t.zeros} {
		p.Close()
	}
	if t.captioner != nil {
		t.captioner.Close()
	}
}

// StepCount is the number of steps done.
func (t *Trainer) StepCount() int64 { return t.step }

// Step trains on one batch. A loss or gradient that is not finite is a
// *DivergedError, after which the trainer refuses everything.
func (t *Trainer) Step(b *dataset.Batch) (StepResult, error) {
	if t.broken != nil {
		return StepResult{}, t.broken
	}
	if err := t.check(b); err != nil {
		return StepResult{}, err
	}
	r := StepResult{Step: t.step + 1, Tokens: labelTokens(b.Labels), LearningRate: t.config.RateAfter(t.step)}
	var err error
	if t.config.microBatch() == t.config.BatchSize {
		err = t.stepWhole(b, &r)
	} else {
		err = t.stepParts(b, &r)
	}
	if err != nil {
		return StepResult{}, err
	}
	if notFinite(r.LossSum) || notFinite(r.GradNorm) {
		t.broken = &DivergedError{Step: r.Step, IDs: b.IDs}
		return StepResult{}, t.broken
	}
	t.step++
	return r, nil
}

func notFinite(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }

// stepWhole is forward, backward and update in one graph.
func (t *Trainer) stepWhole(b *dataset.Batch, r *StepResult) error {
	batch, err := t.upload(b, 0, t.config.BatchSize)
	if err != nil {
		return err
	}
	defer device.Free(batch...)
	scalars, err := t.scalars(r)
	if err != nil {
		return err
	}
	defer device.Free(scalars...)
	out, err := t.full.Run(t.weights, t.m, t.v, batch, scalars)
	if err != nil {
		return err
	}
	t.replace(out)
	rest := out[3*len(t.names):]
	return read(rest, &r.LossSum, &r.GradNorm)
}

// stepParts sums the gradients of micro-batches, then updates once.
func (t *Trainer) stepParts(b *dataset.Batch, r *StepResult) error {
	sums, err := t.zeros.Run(t.weights)
	if err != nil {
		return err
	}
	loss, err := device.Upload(t.be, []float32{0})
	if err != nil {
		device.Free(sums...)
		return err
	}
	sums = append(sums, loss)
	defer func() { device.Free(sums...) }()
	size := t.config.microBatch()
	for first := 0; first < t.config.BatchSize; first += size {
		batch, err := t.upload(b, first, size)
		if err != nil {
			return err
		}
		out, err := t.accumulate.Run(sums, t.weights, batch)
		device.Free(batch...)
		if err != nil {
			return err
		}
		device.Free(sums...)
		sums = out
	}
	scalars, err := t.scalars(r)
	if err != nil {
		return err
	}
	defer device.Free(scalars...)
	n := len(t.names)
	out, err := t.apply.Run(t.weights, t.m, t.v, sums[:n], scalars)
	if err != nil {
		return err
	}
	t.replace(out)
	return read([]*tensors.Tensor{sums[n], out[3*n]}, &r.LossSum, &r.GradNorm)
}

// replace frees the old weights and moments and takes the new.
func (t *Trainer) replace(out []*tensors.Tensor) {
	n := len(t.names)
	for i, list := range []*[]*tensors.Tensor{&t.weights, &t.m, &t.v} {
		device.Free(*list...)
		*list = out[i*n : (i+1)*n : (i+1)*n]
	}
}

// read takes scalars off the device and frees them.
func read(list []*tensors.Tensor, to ...*float64) error {
	for i, p := range to {
		x, err := device.Scalar[float32](list[i])
		if err != nil {
			return err
		}
		*p = float64(x)
	}
	return nil
}

// scalars are what AdamW needs to know of the step, see scalarTokens.
func (t *Trainer) scalars(r *StepResult) ([]*tensors.Tensor, error) {
	c := &t.config
	n := float64(r.Step)
	s := make([]float32, scalarCount)
	s[scalarTokens] = float32(max(1, r.Tokens))
	s[scalarDecay] = float32(1 - r.LearningRate*c.WeightDecay)
	s[scalarSize] = float32(r.LearningRate / (1 - math.Pow(c.Beta1, n)))
	s[scalarRootBC2] = float32(math.Sqrt(1 - math.Pow(c.Beta2, n)))
	list, err := device.Upload(t.be, s, scalarCount)
	return []*tensors.Tensor{list}, err
}

// Loss is the sum of the loss over the batch's label tokens, and their number,
// without dropout. Any number of pictures and captions will do.
func (t *Trainer) Loss(b *dataset.Batch) (sum float64, tokens int64, err error) {
	if t.broken != nil {
		return 0, 0, t.broken
	}
	if err := t.check(b); err != nil {
		return 0, 0, err
	}
	batch, err := t.upload(b, 0, len(b.Pixels)/t.pictureBytes())
	if err != nil {
		return 0, 0, err
	}
	defer device.Free(batch...)
	out, err := t.loss.Run(t.weights, batch)
	if err != nil {
		return 0, 0, err
	}
	if err := read(out, &sum); err != nil {
		return 0, 0, err
	}
	return sum, labelTokens(b.Labels), nil
}

// Captioner decodes with the trainer's present weights, whatever they are at
// each call, without a copy of them. Its graphs are compiled once for the
// trainer's life; closing what is returned does nothing.
func (t *Trainer) Captioner() (*model.Captioner, error) {
	if t.captioner == nil {
		g, err := model.NewSharedCaptioner(t.be, t.model, func() []*tensors.Tensor { return t.weights })
		if err != nil {
			return nil, err
		}
		g.SetNormalization(t.config.Normalization)
		t.captioner = g
	}
	return t.captioner.View(), nil
}

// Weights copies the present weights to the host.
func (t *Trainer) Weights() (model.Weights, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	w := model.Weights{}
	for i, name := range t.names {
		data, err := device.Download[float32](t.weights[i])
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		w[name] = &model.Tensor{Shape: t.weights[i].Shape().Dimensions, Data: data}
	}
	return w, nil
}
