package train

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model"
	"distilvit/model/safetensors"
)

func TestLossAndGradientsEqualPyTorch(t *testing.T) {
	for _, dir := range slices.Concat(goldenDirs, llavaDirs) {
		t.Run(filepath.Base(dir), func(t *testing.T) { lossAndGradients(t, dir, false) })
		t.Run(filepath.Base(dir)+", computed again", func(t *testing.T) { lossAndGradients(t, dir, true) })
	}
}

func lossAndGradients(t *testing.T, dir string, checkpointing bool) {
	g, b, c, w, err := readGoldenOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := goldenTensors(t, dir)
	be := backendtest.Open(t, backend.Go) // XLA's gradients are tested by the steps below
	config := goldenConfig(g)
	config.GradientCheckpointing = checkpointing
	tr, err := New(be, c, w, config)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	sum, tokens, err := tr.Loss(b)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(sum-g.LossSum) > 1e-5*g.LossSum || tokens != g.LabelTokens {
		t.Errorf("loss %g over %d tokens instead of %g over %d", sum, tokens, g.LossSum, g.LabelTokens)
	}
	got, err := tr.Gradients(b)
	if err != nil {
		t.Fatal(err)
	}
	for name, found := range got {
		expected, err := want.Float32s("grad." + name)
		if err != nil {
			t.Fatal(err)
		}
		var worst, largest float64
		for j := range expected {
			worst = max(worst, math.Abs(float64(found.Data[j]-expected[j])))
			largest = max(largest, math.Abs(float64(expected[j])))
		}
		// the true gradient of a key's bias is 0: softmax ignores it
		if !isKeyBias(name) && worst > 2e-5*largest+1e-7 {
			t.Errorf("gradient of %s is off by %g of %g", name, worst, largest)
		}
	}
}

func isKeyBias(name string) bool {
	return strings.HasSuffix(name, ".key.bias") || strings.HasSuffix(name, ".k_proj.bias")
}

// biasesKey reports whether the j-th of n elements is of a key's bias; GPT-2 keeps
// those of query, key and value in one tensor, of cross-attention's key and value.
func biasesKey(name string, j, n int) bool {
	switch {
	case strings.HasSuffix(name, ".crossattention.c_attn.bias"):
		return j < n/2
	case strings.HasSuffix(name, ".c_attn.bias"):
		return 3*j/n == 1
	}
	return isKeyBias(name)
}

func TestStepsOfAdamWEqualPyTorch(t *testing.T) {
	for _, dir := range goldenDirs {
		t.Run(filepath.Base(dir), func(t *testing.T) { stepsOfAdamW(t, dir) })
	}
}

func stepsOfAdamW(t *testing.T, dir string) {
	g, b, c, w, err := readGoldenOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := goldenTensors(t, dir)
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		tr, err := New(be, c, w, goldenConfig(g))
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		for i, r := range wantSteps(t, filepath.Base(dir), tr, b, g.Steps) {
			if want := g.Steps[i].LearningRate; math.Abs(r.LearningRate-want) > 1e-12 {
				t.Errorf("step %d: learning rate %g instead of %g", i, r.LearningRate, want)
			}
		}
		wantWeights(t, tr, want, goldenConfig(g).LearningRate)
	})
}

// wantSteps trains on a batch and compares losses and gradient norms with PyTorch's.
func wantSteps(t *testing.T, what string, tr *Trainer, b *dataset.Batch, want []goldenStep) (made []StepResult) {
	t.Helper()
	for i, step := range want {
		r, err := tr.Step(b)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(r.LossSum-step.LossSum) > 1e-4*step.LossSum || math.Abs(r.GradNorm-step.GradNorm) > 1e-4*step.GradNorm {
			t.Errorf("%s, step %d: loss %g and norm %g instead of %g and %g", what, i, r.LossSum, r.GradNorm, step.LossSum,
				step.GradNorm)
		}
		made = append(made, r)
	}
	return made
}

// wantWeights compares the trainer's weights with PyTorch's.
func wantWeights(t *testing.T, tr *Trainer, want *safetensors.File, learningRate float64) {
	t.Helper()
	after, err := tr.Weights()
	if err != nil {
		t.Fatal(err)
	}
	wantTensors(t, after, want, "after.", 2e-5, 10*learningRate)
}

// wantTensors compares weights with PyTorch's. Adam turns a key bias's gradient, which is rounding noise, into whole
// steps.
func wantTensors(
	t *testing.T, found model.Weights, want *safetensors.File, prefix string, tolerance, keyTolerance float64,
) {
	t.Helper()
	for name, x := range found {
		expected, err := want.Float32s(prefix + name)
		if err != nil {
			t.Fatal(err)
		}
		for j := range expected {
			most := tolerance
			if biasesKey(name, j, len(expected)) {
				most = keyTolerance
			}
			if d := math.Abs(float64(x.Data[j] - expected[j])); d > most {
				t.Errorf("%s%s[%d] is %g instead of %g", prefix, name, j, x.Data[j], expected[j])
				break
			}
		}
	}
}
