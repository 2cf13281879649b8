package train

import (
	"fmt"
	"maps"
	"math"
	"strings"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"distilvit/dataset"
	"distilvit/internal/device"
	"distilvit/model"
)

// Trainer holds weights, AdamW's moments and with Config.EMA an average of the
// weights on a device and moves them a step at a time. With several devices each has all weights and moments and its part
// of every micro-batch; what is saved, evaluated and captioned with are those of
// the first. It is not safe for concurrent use; captioners made by Captioner
// must not run during a step. Stage alone may run beside a step.
type Trainer struct {
	be     compute.Backend
	group  *device.Group // all devices of be, which train
	first  *device.Group // the first of them, which evaluates
	model  *model.Config
	config Config
	plan   plan
	names  []string         // of the tensors that are trained: the plan's
	shapes map[string][]int // of all tensors, those of adapters, too

	step          int64 // steps done
	weights, m, v device.Tensors
	average       device.Tensors // of the weights, with Config.EMA; else none
	frozen        device.Tensors // the plan's: they stay as they are
	frozenDigest  string
	merged        []*tensors.Tensor // with LoRA: see mergeModules; nil: not made since the last step
	updateBytes   int64             // weights that are updated at a time, unless one tensor is larger
	broken        error             // set once the state cannot be trusted
	captioner     *model.Captioner  // made when first asked for

	loss, gradients, begin, accumulate, norm, apply, zeros, encode *device.Parallel

	applyVectors *device.Parallel // as apply, of the vectors that decay
	mix          *device.Parallel // of average and weights
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
	return fmt.Sprintf("loss or gradient not finite at step %d, examples %s%s", e.Step,
		strings.Join(ids, ", "), more)
}

// New uploads weights, with LoRA those of Adapters, too, and starts at step 0 with moments of zero. It trains on
// all devices of the backend, whose number must divide the micro-batch.
func New(be compute.Backend, mc *model.Config, w model.Weights, c Config) (*Trainer, error) {
	if err := c.validate(mc); err != nil {
		return nil, err
	}
	c.Normalization = c.Normalization.Or(model.HalfNormalization)
	group, err := device.NewGroup(be)
	if err != nil {
		return nil, err
	}
	if err := c.divides(group.Size()); err != nil {
		return nil, err
	}
	plan, err := c.plan(mc)
	if err != nil {
		return nil, err
	}
	t := &Trainer{
		be: be, group: group, first: group.First(), model: mc, config: c, plan: plan, names: plan.names,
		shapes: plan.shapes(mc, c.LoRA), updateBytes: 64 << 20,
	}
	if err := w.CheckShapes(t.shapes); err != nil {
		return nil, err
	}
	if err := t.start(w); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// start makes the programs and puts weights and moments on the devices.
func (t *Trainer) start(w model.Weights) (err error) {
	if t.loss, err = t.first.NewProgram("loss", t.buildLoss); err != nil {
		return err
	}
	if t.encode, err = t.first.NewProgram("encode", t.buildEncode); err != nil {
		return err
	}
	if t.gradients, err = t.first.NewProgram("gradients", t.buildGradients); err != nil {
		return err
	}
	for _, p := range []struct {
		program **device.Parallel
		name    string
		build   func([]*Node) []*Node
	}{
		{&t.begin, "backward pass", t.buildBegin},
		{&t.accumulate, "further backward pass", t.buildAccumulate},
		{&t.norm, "gradient norm", t.buildNorm}, {&t.apply, "update", t.buildApply},
		{&t.applyVectors, "update of decaying vectors", t.buildApplyVectors},
		{&t.zeros, "zeros", t.buildZeros}, {&t.mix, "average of the weights", t.buildAverage},
	} {
		if *p.program, err = t.group.NewProgram(p.name, p.build); err != nil {
			return err
		}
	}
	if t.weights, err = t.uploadWeights(t.names, w); err != nil {
		return err
	}
	if t.frozen, err = t.uploadWeights(t.plan.frozen, w); err != nil {
		return err
	}
	t.frozenDigest = Digest(t.plan.frozen, w)
	for _, moments := range []*device.Tensors{&t.m, &t.v} {
		if *moments, err = t.zeros.Run(t.weights); err != nil {
			return err
		}
	}
	if t.config.EMA > 0 {
		t.average, err = t.uploadWeights(t.names, w)
	}
	return err
}

// uploadWeights puts weights on every device, in the order of names.
func (t *Trainer) uploadWeights(names []string, w model.Weights) (device.Tensors, error) {
	var all device.Tensors
	for _, name := range names {
		x, err := device.UploadWhole(t.group, w[name].Data, w[name].Shape...)
		if err != nil {
			all.Free()
			return device.Tensors{}, fmt.Errorf("tensor %s: %w", name, err)
		}
		all = all.With(x)
	}
	return all, nil
}

// Frozen is the digest of the tensors that are not trained, "" where all are: record.State's.
func (t *Trainer) Frozen() string { return t.frozenDigest }

// Close frees the device's memory and the compiled graphs.
func (t *Trainer) Close() {
	t.weights.Free()
	t.m.Free()
	t.v.Free()
	t.average.Free()
	t.frozen.Free()
	t.dropMerged()
	for _, p := range []*device.Parallel{
		t.loss, t.gradients, t.begin, t.accumulate, t.norm, t.apply, t.applyVectors, t.zeros,
		t.mix, t.encode,
	} {
		p.Close()
	}
	if t.captioner != nil {
		t.captioner.Close()
	}
}

// Step trains on one batch: Stage, and StepStaged.
func (t *Trainer) Step(b *dataset.Batch) (StepResult, error) {
	if t.broken != nil {
		return StepResult{}, t.broken
	}
	staged, err := t.Stage(b, t.step)
	if err != nil {
		return StepResult{}, err
	}
	return t.StepStaged(staged)
}

// StepStaged trains on what Stage has put on the devices, and frees it. A loss or gradient that is not finite is a
// *DivergedError, after which the trainer refuses everything.
func (t *Trainer) StepStaged(s *Staged) (StepResult, error) {
	defer s.Free()
	if t.broken != nil {
		return StepResult{}, t.broken
	}
	if s.after != t.step {
		return StepResult{}, fmt.Errorf("batch was staged to be trained on after %d steps; %d are done", s.after, t.step)
	}
	t.dropMerged()
	r := StepResult{Step: t.step + 1, Tokens: s.tokens, LearningRate: t.config.RateAfter(t.step)}
	scalars, err := t.scalars(&r, pace{t.config.LearningRate, t.config.WeightDecay})
	if err != nil {
		return StepResult{}, err
	}
	defer scalars.Free()
	sums, err := t.backward(s)
	if err != nil {
		return StepResult{}, err
	}
	defer sums.Free()
	scale, err := t.measure(sums, scalars, &r)
	if err != nil {
		return StepResult{}, err
	}
	defer scale.Free()
	if notFinite(r.LossSum) || notFinite(r.GradNorm) {
		t.broken = &DivergedError{Step: r.Step, IDs: s.ids}
		return StepResult{}, t.broken
	}
	if err := t.update(sums, scale, &r); err != nil {
		t.broken = err // some tensors are a step ahead of others
		return StepResult{}, err
	}
	if err := t.averageIn(r.Step); err != nil {
		t.broken = err
		return StepResult{}, err
	}
	t.step++
	return r, nil
}

func notFinite(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }

// backward sums gradients over the micro-batches of a batch: one tensor for each
// of t.names, and after them the loss sum.
func (t *Trainer) backward(s *Staged) (sums device.Tensors, err error) {
	for i, part := range s.parts {
		program, before := t.accumulate, sums
		if i == 0 {
			program = t.begin
		}
		sums, err = program.Run(before, t.weights, t.frozen, part)
		before.Free()
		part.Free()
		if err != nil {
			return device.Tensors{}, err
		}
	}
	return sums, nil
}

// measure reads loss and gradient norm and answers what the gradient sums are to
// be multiplied by.
func (t *Trainer) measure(sums, scalars device.Tensors, r *StepResult) (scale device.Tensors, err error) {
	n := len(t.names)
	out, err := t.norm.Run(sums.Slice(0, n), scalars)
	if err != nil {
		return device.Tensors{}, err
	}
	norm := out.Slice(0, 1)
	defer norm.Free()
	scale = out.Slice(1, 2)
	if err := read([]*tensors.Tensor{sums.First()[n], norm.First()[0]}, &r.LossSum, &r.GradNorm); err != nil {
		scale.Free()
		return device.Tensors{}, err
	}
	return scale, nil
}

// update moves weights and moments, some of the tensors at a time: nothing is
// updated in place, and so only of those are there an old and a new one at once.
func (t *Trainer) update(sums, scale device.Tensors, r *StepResult) error {
	for first, end := 0, 0; first < len(t.names); first = end {
		end = t.groupEnd(first)
		if err := t.updateGroup(first, end, sums.Slice(first, end), scale, r); err != nil {
			return err
		}
	}
	return nil
}

// updateGroup moves the tensors from first to below end, which are of one pace.
func (t *Trainer) updateGroup(first, end int, sums, scale device.Tensors, r *StepResult) error {
	scalars, err := t.scalars(r, t.plan.paces[first])
	if err != nil {
		return err
	}
	defer scalars.Free()
	program := t.apply
	if decayingVector(t.names[first]) {
		program = t.applyVectors
	}
	old := []device.Tensors{t.weights.Slice(first, end), t.m.Slice(first, end), t.v.Slice(first, end)}
	out, err := program.Run(old[0], old[1], old[2], sums, scale, scalars)
	if err != nil {
		return err
	}
	sums.Free()
	n := end - first
	for i := range old {
		old[i].Replace(out.Slice(i*n, (i+1)*n))
	}
	return nil
}

// averageIn moves the average towards the weights of a step, as many tensors at a time as update.
func (t *Trainer) averageIn(step int64) error {
	if t.config.EMA == 0 {
		return nil
	}
	share, err := device.UploadWhole(t.group, []float32{float32(1 - t.config.AverageDecay(step))}, 1)
	if err != nil {
		return err
	}
	defer share.Free()
	for first, end := 0, 0; first < len(t.names); first = end {
		end = t.groupEnd(first)
		out, err := t.mix.Run(t.average.Slice(first, end), t.weights.Slice(first, end), share)
		if err != nil {
			return err
		}
		t.average.Slice(first, end).Replace(out)
	}
	return nil
}

// shown are the weights that are evaluated, captioned with and saved as the model.
func (t *Trainer) shown() device.Tensors {
	if t.config.EMA > 0 {
		return t.average
	}
	return t.weights
}

// decayingVector reports whether a tensor is a vector that decays, as Trainer's do that are of no norm and no
// bias: a DINOv2's scales of layers and a CLIP's class token.
func decayingVector(name string) bool {
	return strings.HasSuffix(name, ".lambda1") || strings.HasSuffix(name, ".class_embedding")
}

// groupEnd is where the tensors end that are updated together with that at first: by one program.
func (t *Trainer) groupEnd(first int) int {
	var bytes int64
	list := t.weights.First()
	for i := first; i < len(list); i++ {
		bytes += list[i].ByteSize()
		alike := t.plan.paces[i] == t.plan.paces[first] && decayingVector(t.names[i]) == decayingVector(t.names[first])
		if i > first && (bytes > t.updateBytes || !alike) {
			return i
		}
	}
	return len(list)
}

// state is all that a checkpoint restores, in the order of Load.
func (t *Trainer) state() []*device.Tensors {
	if t.config.EMA > 0 {
		return []*device.Tensors{&t.average, &t.m, &t.v, &t.weights}
	}
	return []*device.Tensors{&t.weights, &t.m, &t.v}
}

// replace frees the old state and takes the new.
func (t *Trainer) replace(out device.Tensors) {
	n := len(t.names)
	t.dropMerged()
	for i, list := range t.state() {
		list.Free()
		*list = out.Slice(i*n, (i+1)*n)
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

// scalars are what AdamW needs to know of the step for tensors of a pace, see scalarTokens.
func (t *Trainer) scalars(r *StepResult, p pace) (device.Tensors, error) {
	c := &t.config
	n, rate := float64(r.Step), r.LearningRate
	if p.rate != c.LearningRate {
		rate *= p.rate / c.LearningRate
	}
	s := make([]float32, scalarCount)
	s[scalarTokens] = float32(max(1, r.Tokens))
	s[scalarDecay] = float32(1 - rate*p.decay)
	s[scalarSize] = float32(rate / (1 - math.Pow(c.Beta1, n)))
	s[scalarRootBC2] = float32(math.Sqrt(1 - math.Pow(c.Beta2, n)))
	return device.UploadWhole(t.group, s, scalarCount)
}

// Loss is the sum of the loss over the batch's label tokens, and their number,
// without dropout and label smoothing. Any number of pictures and captions will do.
func (t *Trainer) Loss(b *dataset.Batch) (sum float64, tokens int64, err error) {
	if t.broken != nil {
		return 0, 0, t.broken
	}
	if err := t.check(b); err != nil {
		return 0, 0, err
	}
	batch, err := t.upload(t.first, b, 0, t.pictures(b), t.step)
	if err != nil {
		return 0, 0, err
	}
	defer batch.Free()
	out, err := t.loss.Run(t.shown(), t.frozen, batch)
	if err != nil {
		return 0, 0, err
	}
	if err := read(out.First(), &sum); err != nil {
		return 0, 0, err
	}
	return sum, labelTokens(b.Labels), nil
}

// Gradients are those of the mean loss over the batch's label tokens, by the
// names of the tensors that are trained, without dropout and before clipping: what PyTorch has in .grad.
// Without label smoothing, too.
func (t *Trainer) Gradients(b *dataset.Batch) (model.Weights, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	if err := t.check(b); err != nil {
		return nil, err
	}
	batch, err := t.upload(t.first, b, 0, len(b.Rows), t.step)
	if err != nil {
		return nil, err
	}
	defer batch.Free()
	sums, err := t.gradients.Run(t.weights, t.frozen, batch)
	if err != nil {
		return nil, err
	}
	defer sums.Free()
	gradients, err := t.download(t.names, sums)
	if err != nil {
		return nil, err
	}
	perToken := 1 / float32(max(1, labelTokens(b.Labels)))
	for _, g := range gradients {
		for i := range g.Data {
			g.Data[i] *= perToken
		}
	}
	return gradients, nil
}

// Captioner decodes with the trainer's present weights, or their average, whatever they are at
// each call, without a copy of them. Its graphs are compiled once for the
// trainer's life; closing what is returned does nothing.
func (t *Trainer) Captioner() (*model.Captioner, error) {
	if t.captioner == nil {
		g, err := model.NewSharedCaptioner(
			t.be, t.model, t.whole,
		)
		if err != nil {
			return nil, err
		}
		g.SetNormalization(t.config.Normalization)
		t.captioner = g
	}
	return t.captioner.View(), nil
}

// Weights copies the present weights to the host, with Config.EMA their average; adapters are merged.
func (t *Trainer) Weights() (model.Weights, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	w, err := t.download(t.names, t.shown())
	if err != nil {
		return nil, err
	}
	frozen, err := t.download(t.plan.frozen, t.frozen)
	maps.Copy(w, frozen)
	if t.config.LoRA != nil && err == nil {
		w = t.config.LoRA.Merge(t.model, w)
	}
	return w, err
}

// whole are all weights that are shown, in the order of the network's names, adapters merged.
func (t *Trainer) whole() ([]*tensors.Tensor, error) {
	if err := t.mergeModules(); err != nil {
		return nil, err
	}
	byName := make(map[string]*tensors.Tensor, len(t.shapes))
	for _, list := range []struct {
		names   []string
		tensors []*tensors.Tensor
	}{{t.names, t.shown().First()}, {t.plan.frozen, t.frozen.First()}, {weightsOf(t.plan.modules), t.merged}} {
		for i, x := range list.tensors {
			byName[list.names[i]] = x
		}
	}
	var all []*tensors.Tensor
	for _, name := range t.model.Names() {
		all = append(all, byName[name])
	}
	return all, nil
}

// download copies tensors, one for each name, from the first device.
func (t *Trainer) download(names []string, list device.Tensors) (model.Weights, error) {
	w := model.Weights{}
	for i, x := range list.First() {
		data, err := device.Download[float32](x)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", names[i], err)
		}
		w[names[i]] = &model.Tensor{Shape: x.Shape().Dimensions, Data: data}
	}
	return w, nil
}
