package train

import (
	"math"
	"testing"

	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model"
)

// TestGradientsOfAnUntiedHeadEqualPyTorch: what ../testdata/make_variants.py made of
// the model with an lm_head of its own.
func TestGradientsOfAnUntiedHeadEqualPyTorch(t *testing.T) {
	const dir, pictures, tokens, side, vocab = "../testdata/variants/untied", 2, 6, 16, 24
	c, err := model.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	w, err := model.ReadWeights(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	b := &dataset.Batch{N: pictures, IDs: []string{"0", "1"}, Rows: []uint64{0, 1}, T: tokens, K: 1}
	for i := range pictures * side * side * 3 {
		b.Pixels = append(b.Pixels, uint8((i*i+31*i)/7%256))
	}
	for i := range pictures * tokens {
		b.Labels = append(b.Labels, int32(i*5%vocab))
	}
	tr, err := New(backendtest.Open(t, backend.Go), c, w, Config{
		BatchSize: pictures, CaptionsPerPicture: 1, MaxLength: tokens, LearningRate: 1e-3, WeightDecay: 0.1,
		Beta1: 0.9, Beta2: 0.98, Epsilon: 1e-8, TotalSteps: 10, Seed: 5,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	got, err := tr.Gradients(b)
	if err != nil {
		t.Fatal(err)
	}
	golden := goldenTensors(t, dir)
	heads, worstOfAll := 0, 0.0
	for name, found := range got {
		want, err := golden.Float32s("grad." + name)
		if err != nil {
			t.Fatal(err)
		}
		var worst, largest float64
		for j := range want {
			worst = max(worst, math.Abs(float64(found.Data[j]-want[j])))
			largest = max(largest, math.Abs(float64(want[j])))
		}
		if isKeyBias(name) {
			continue
		}
		if worstOfAll = max(worstOfAll, worst/largest); worst > 2e-5*largest+1e-7 {
			t.Errorf("gradient of %s is off by %g of %g", name, worst, largest)
		}
		if name == "decoder.lm_head.weight" {
			heads++
		}
	}
	t.Logf("largest relative difference: %.2g", worstOfAll)
	if heads != 1 {
		t.Errorf("%d gradients of the lm_head", heads)
	}
	before := w["decoder.lm_head.weight"].Data[0]
	for range 2 {
		if _, err := tr.Step(b); err != nil {
			t.Fatal(err)
		}
	}
	after, err := tr.Weights()
	if err != nil {
		t.Fatal(err)
	}
	if after["decoder.lm_head.weight"].Data[0] == before {
		t.Error("the lm_head is not trained")
	}
}
