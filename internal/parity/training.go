package parity

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"distilvit/dataset"
	"distilvit/model/train"
)

// trainingVectors are the optimisation of the steps whose result is after.NAME, all on
// the same batch, and what each step reported.
type trainingVectors struct {
	Steps        int     `json:"steps"`
	LearningRate float64 `json:"learning_rate"`
	WeightDecay  float64 `json:"weight_decay"`
	Beta1        float64 `json:"beta1"`
	Beta2        float64 `json:"beta2"`
	Epsilon      float64 `json:"epsilon"`
	MaxGradNorm  float64 `json:"max_grad_norm"`
	WarmupSteps  int64   `json:"warmup_steps"`
	TotalSteps   int64   `json:"total_steps"`
	Each         []struct {
		Loss         float64 `json:"loss"`
		GradNorm     float64 `json:"grad_norm"` // before clipping
		LearningRate float64 `json:"learning_rate"`
	} `json:"each"`
}

// config of the trainer that does these steps; without vectors of steps, one that only
// computes loss and gradients.
func (v *modelVectors) trainConfig() train.Config {
	t := v.training
	if t == nil {
		t = &trainingVectors{Epsilon: 1e-8, TotalSteps: 1}
	}
	return train.Config{
		BatchSize: v.b, CaptionsPerPicture: v.k, MaxLength: v.t, LearningRate: t.LearningRate,
		WeightDecay: t.WeightDecay,
		Beta1:       t.Beta1, Beta2: t.Beta2, Epsilon: t.Epsilon, MaxGradNorm: t.MaxGradNorm,
		WarmupSteps: t.WarmupSteps, TotalSteps: t.TotalSteps, Normalization: v.pixel,
	}
}

func (v *modelVectors) batch() *dataset.Batch {
	b := &dataset.Batch{N: v.b, Pixels: v.pixels, Labels: v.labels, T: v.t, K: v.k}
	for i := range v.b {
		b.IDs, b.Rows = append(b.IDs, strconv.Itoa(i)), append(b.Rows, uint64(i))
	}
	return b
}

// training compares loss, gradients and AdamW's steps.
func (r *run) training(v *modelVectors, be Backend) error {
	if !v.tensors.has("loss") && v.training == nil {
		return nil
	}
	if v.labels == nil {
		return layoutf("vectors %s: no tensor labels", v.tensors.path)
	}
	t, err := train.New(be.Compute, v.config, v.weights, v.trainConfig())
	if err != nil {
		r.row(v, loss, be.Name).fail(v.name, err)
		return nil
	}
	defer t.Close()
	type comparison func(*modelVectors, *train.Trainer, string) error
	for _, compare := range []comparison{r.loss, r.gradients, r.steps} {
		if err := compare(v, t, be.Name); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) loss(v *modelVectors, t *train.Trainer, backend string) error {
	if !v.tensors.has("loss") {
		return nil
	}
	want, err := v.tensors.floats("loss")
	if err != nil {
		return err
	}
	row := r.row(v, loss, backend)
	sum, tokens, err := t.Loss(v.batch())
	if err != nil {
		row.fail(v.name, err)
		return nil
	}
	got := sum / float64(tokens)
	row.near(v.name, relative(got, float64(want[0])), got, want[0])
	return nil
}

func relative(got, want float64) float64 {
	if got == want {
		return 0
	}
	return math.Abs(got-want) / math.Abs(want)
}

func (r *run) gradients(v *modelVectors, t *train.Trainer, backend string) error {
	want, err := v.all("grad.")
	if want == nil || err != nil {
		return err
	}
	row, keyRow := r.row(v, gradients, backend), r.row(v, keyGradients, backend)
	got, err := t.Gradients(v.batch())
	if err != nil {
		row.fail(v.name, err)
		return nil
	}
	norm := 0.0
	for _, name := range sorted(want) {
		for _, x := range want[name] {
			norm += float64(x) * float64(x)
		}
	}
	norm = math.Sqrt(norm)
	for _, name := range sorted(want) {
		i, d := worstOf(got[name].Data, want[name])
		at := fmt.Sprintf("%s, %s[%d]", v.name, name, i)
		if keyBias(name) {
			keyRow.near(at, d/norm, got[name].Data[i], want[name][i])
		} else {
			row.near(at, d/max(largest(want[name]), 1e-6*norm), got[name].Data[i], want[name][i])
		}
	}
	return nil
}

// all reads the tensors with a prefix before each weight's name: nil where there is
// none, an error where some are missing.
func (v *modelVectors) all(prefix string) (map[string][]float32, error) {
	any := false
	for _, t := range v.tensors.Tensors() {
		any = any || strings.HasPrefix(t.Name, prefix)
	}
	if !any {
		return nil, nil
	}
	list := map[string][]float32{}
	for name, w := range v.weights {
		x, err := v.tensors.floats(prefix+name, w.Shape...)
		if err != nil {
			return nil, err
		}
		list[name] = x
	}
	return list, nil
}

// steps compares what each step reports and the weights after all.
func (r *run) steps(v *modelVectors, t *train.Trainer, backend string) error {
	if v.training == nil {
		return nil
	}
	if !(v.training.LearningRate > 0) {
		return layoutf("vectors %s: training.learning_rate is %v; must be above 0", v.dir,
			v.training.LearningRate)
	}
	want, err := v.all("after.")
	if err != nil {
		return err
	}
	row, keyRow := r.row(v, stepWeights, backend), r.row(v, stepKeyBiases, backend)
	for i := range v.training.Steps {
		done, err := t.Step(v.batch())
		if err != nil {
			row.fail(fmt.Sprintf("%s, step %d", v.name, i), err)
			return nil
		}
		if i < len(v.training.Each) {
			r.step(v, i, backend, done)
		}
	}
	got, err := t.Weights()
	if err != nil {
		row.fail(v.name, err)
		return nil
	}
	for _, name := range sorted(want) {
		both := [2]worst{}
		for i, x := range want[name] {
			key := 0
			if keyElement(name, i, len(want[name])) {
				key = 1
			}
			both[key].add(i, got[name].Data[i], x)
		}
		for key, to := range []*Row{row, keyRow} {
			if w := both[key]; w.n > 0 {
				to.near(fmt.Sprintf("%s, %s[%d]", v.name, name, w.at), w.difference/v.training.LearningRate,
					w.got, w.want)
			}
		}
	}
	return nil
}

// step compares what step i, from 0, reported.
func (r *run) step(v *modelVectors, i int, backend string, done train.StepResult) {
	each := v.training.Each[i]
	at := fmt.Sprintf("%s, step %d", v.name, i)
	mean := done.LossSum / float64(done.Tokens)
	r.row(v, stepLoss, backend).near(at, relative(mean, each.Loss), mean, each.Loss)
	r.row(v, stepNorm, backend).near(
		at, relative(done.GradNorm, each.GradNorm), done.GradNorm, each.GradNorm,
	)
	r.row(v, stepRate, backend).near(at, relative(done.LearningRate, each.LearningRate), done.LearningRate,
		each.LearningRate)
}

// worst is the largest difference so far.
type worst struct {
	n, at      int
	difference float64
	got, want  float32
}

func (w *worst) add(at int, got, want float32) {
	d := math.Abs(float64(got) - float64(want))
	if w.n++; w.n == 1 || !(d <= w.difference) {
		w.at, w.difference, w.got, w.want = at, d, got, want
	}
}

// keyBias reports whether a tensor is the bias of keys alone: the encoder's. Softmax
// ignores what is added to all scores of a row, so that its true gradient is 0, and
// Adam makes whole steps of what rounding leaves there.
func keyBias(name string) bool {
	return strings.HasSuffix(name, ".key.bias") || strings.HasSuffix(name, ".k_proj.bias")
}

// keyElement reports whether element i of n is of a key's bias; GPT-2 keeps those of
// query, key and value in one tensor, those of cross-attention's key and value in another.
func keyElement(name string, i, n int) bool {
	switch {
	case strings.HasSuffix(name, ".crossattention.c_attn.bias"):
		return i < n/2
	case strings.HasSuffix(name, ".attn.c_attn.bias"):
		return 3*i/n == 1
	}
	return keyBias(name)
}
