package train

import (
	"math"
	"slices"
	"testing"

	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model"
	"distilvit/model/safetensors"
)

const variantPictures, variantTokens, variantSide, variantVocab = 2, 6, 16, 24

// variantTrainer trains a model of ../testdata/make_variants.py on that script's batch.
func variantTrainer(t *testing.T, kind, dir string, rate float64) (*Trainer, model.Weights, *dataset.Batch) {
	t.Helper()
	c, err := model.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	w, err := model.ReadWeights(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	b := &dataset.Batch{
		N: variantPictures, IDs: []string{"0", "1"}, Rows: []uint64{0, 1}, T: variantTokens, K: 1,
	}
	for i := range variantPictures * variantSide * variantSide * 3 {
		b.Pixels = append(b.Pixels, uint8((i*i+31*i)/7%256))
	}
	for i := range variantPictures * variantTokens {
		b.Labels = append(b.Labels, int32(i*5%variantVocab))
	}
	tr, err := New(backendtest.Open(t, kind), c, w, Config{
		BatchSize: variantPictures, CaptionsPerPicture: 1, MaxLength: variantTokens, LearningRate: rate,
		WeightDecay: 0.1, Beta1: 0.9, Beta2: 0.98, Epsilon: 1e-8, TotalSteps: 100, Seed: 5,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return tr, w, b
}

// The gradients of all weights are PyTorch's, and two steps change every one of them: an lm_head of its own,
// and every kind of encoder.
func TestGradientsOfVariantsEqualPyTorch(t *testing.T) {
	for _, name := range []string{"untied", "siglip", "clip", "dinov2"} {
		t.Run(name, func(t *testing.T) {
			dir := "../testdata/variants/" + name
			tr, w, b := variantTrainer(t, backend.Go, dir, 1e-3)
			wantGradients(t, tr, b, goldenTensors(t, dir))
			before := map[string][]float32{}
			for name, x := range w {
				before[name] = slices.Clone(x.Data)
			}
			for range 2 {
				if _, err := tr.Step(b); err != nil {
					t.Fatal(err)
				}
			}
			after, err := tr.Weights()
			if err != nil {
				t.Fatal(err)
			}
			for name, x := range after {
				if slices.Equal(x.Data, before[name]) {
					t.Errorf("%s is not trained", name)
				}
			}
		})
	}
}

// wantGradients compares all gradients but those of keys' biases, which are 0 but for rounding.
func wantGradients(t *testing.T, tr *Trainer, b *dataset.Batch, golden *safetensors.File) {
	t.Helper()
	got, err := tr.Gradients(b)
	if err != nil {
		t.Fatal(err)
	}
	worstOfAll := 0.0
	for name, found := range got {
		if isKeyBias(name) {
			continue
		}
		want, err := golden.Float32s("grad." + name)
		if err != nil {
			t.Fatal(err)
		}
		var worst, largest float64
		for j := range want {
			worst = max(worst, math.Abs(float64(found.Data[j]-want[j])))
			largest = max(largest, math.Abs(float64(want[j])))
		}
		if worstOfAll = max(worstOfAll, worst/largest); worst > 2e-5*largest+1e-7 {
			t.Errorf("gradient of %s is off by %g of %g", name, worst, largest)
		}
	}
	t.Logf("%d gradients, largest relative difference: %.2g", len(got), worstOfAll)
}

// A captioner of every kind of encoder learns two pictures by heart.
func TestEveryKindOfEncoderLearns(t *testing.T) {
	for name, kind := range map[string]string{
		"siglip": backend.XLA, "clip": backend.Go, "dinov2": backend.Go, // XLA takes seconds to compile
	} {
		tr, _, b := variantTrainer(t, kind, "../testdata/variants/"+name, 2e-2)
		var first, last StepResult
		for i := range 60 {
			var err error
			if last, err = tr.Step(b); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = last
			}
		}
		if last.LossSum > first.LossSum/20 {
			t.Errorf("%s: a loss of %.3f is %.3f after 60 steps", name, first.LossSum, last.LossSum)
		}
	}
}
