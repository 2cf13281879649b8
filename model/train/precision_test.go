package train

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/artifact/record"
	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model"
)

// trained is three steps on the golden batch with dropout, of which the last two are also made from a checkpoint, to the
// same bits, and once more with each tensor updated by itself: the updates are the same programs however gradients are made,
// so that is left to the first.
func trained(
	t *testing.T, be compute.Backend, golden string, change func(*Config, *model.Config, model.Weights),
) (losses []float64, after model.Weights) {
	t.Helper()
	g, b, c, w, err := readSmall(golden)
	if err != nil {
		t.Fatal(err)
	}
	config := goldenConfig(g)
	config.Dropout, config.WarmupSteps = 0.1, 0
	change(&config, c, w)
	tr, err := New(be, c, w, config)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	steps := func(n int) model.Weights {
		losses = losses[:tr.step]
		for range n {
			r, err := tr.Step(b)
			if err != nil {
				t.Fatal(err)
			}
			losses = append(losses, r.LossSum/float64(r.Tokens))
		}
		w, err := tr.Weights()
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	steps(1)
	dir := filepath.Join(t.TempDir(), "checkpoint")
	if _, err := tr.Save(dir, record.State{}); err != nil {
		t.Fatal(err)
	}
	after = steps(2)
	updates := []int64{tr.updateBytes, 1}
	if config.GradientCheckpointing {
		updates = updates[:1]
	}
	for _, bytes := range updates {
		if _, err := tr.Load(dir); err != nil {
			t.Fatal(err)
		}
		tr.updateBytes = bytes
		again := steps(2)
		for name, x := range after {
			if !slices.Equal(x.Data, again[name].Data) {
				t.Fatalf("from the checkpoint, with updates of %d bytes: %s has other bits", bytes, name)
			}
		}
	}
	return losses, after
}

// apart is the norm of the difference of two models' weights by the norm of the first.
func apart(a, b model.Weights) float64 {
	var square, diff float64
	for name, x := range a {
		for i, v := range x.Data {
			if !biasesKey(name, i, len(x.Data)) {
				square += float64(v) * float64(v)
				diff += math.Pow(float64(b[name].Data[i])-float64(v), 2)
			}
		}
	}
	return math.Sqrt(diff / square)
}

// TestCheckpointingChangesRoundingAndBF16Little: a layer that is computed again must drop
// what it did at first, so the weights are the same but for rounding. A bfloat16 has 8
// significant bits: a factor is off by up to 2⁻⁹, 0.2 %, and the mean loss by about as much at most.
func TestCheckpointingChangesRoundingAndBF16Little(t *testing.T) {
	for _, golden := range smallDirs {
		t.Run(filepath.Base(golden), func(t *testing.T) { checkpointing(t, golden) })
	}
}

func checkpointing(t *testing.T, golden string) {
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		losses, weights := trained(t, be, golden, func(*Config, *model.Config, model.Weights) {})
		recomputed, weightsOfRecomputed := trained(t, be, golden, func(c *Config, _ *model.Config, _ model.Weights) {
			c.GradientCheckpointing = true
		})
		d := apart(weights, weightsOfRecomputed)
		t.Logf("with gradient checkpointing: losses %v and %v, weights apart by %.2g", losses, recomputed, d)
		if d > 2e-6 {
			t.Errorf("gradient checkpointing: weights differ by %g of their norm", d)
		}
		if filepath.Base(t.Name()) == backend.Go {
			return // no bfloat16, see trainer.CheckPrecision
		}
		mixed, weightsOfMixed := trained(t, be, golden, func(c *Config, _ *model.Config, _ model.Weights) {
			c.Precision, c.GradientCheckpointing = BF16, true
		})
		d = apart(weights, weightsOfMixed)
		t.Logf("with bf16 too: losses %v, weights apart by %.2g", mixed, d)
		for i := range losses {
			if off := math.Abs(mixed[i]-losses[i]) / losses[i]; off > 4e-3 || off == 0 {
				t.Errorf("bf16: the loss of step %d is off by %g of itself", i+1, off)
			}
		}
		if d > 5e-3 {
			t.Errorf("bf16: weights differ by %g of their norm", d)
		}
		isBF16 := func(x float32) bool { return math.Float32bits(x)&0xffff == 0 }
		if table := weightsOfMixed[tableName(golden)].Data; !slices.ContainsFunc(table,
			func(x float32) bool { return !isBF16(x) }) {
			t.Error("bf16: weights have the bits of bfloat16 only")
		}
	})
}

// tableName is the name of the tokens' table of a golden model.
func tableName(golden string) string {
	if golden == goldenDir {
		return "decoder.transformer.wte.weight"
	}
	return "language_model.model.embed_tokens.weight"
}

func TestEvaluationIsFloat32WhateverTrainingIs(t *testing.T) {
	loss := func(change func(*Config)) float64 {
		tr, _ := newTrainer(t, func(c *Config, _ model.Weights) { change(c) })
		_, b, _, _, err := readGolden()
		if err != nil {
			t.Fatal(err)
		}
		sum, _, err := tr.Loss(b)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	want := loss(func(*Config) {})
	if got := loss(func(c *Config) { c.Precision, c.GradientCheckpointing = BF16, true }); got != want {
		t.Errorf("loss %v instead of %v", got, want)
	}
}

func TestOtherPrecisionsAreRefused(t *testing.T) {
	g, _, c, w, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	config := goldenConfig(g)
	config.Precision = "fp8"
	if _, err := New(backendtest.Open(t, backend.Go), c, w, config); err == nil ||
		!strings.Contains(err.Error(), `precision is "fp8"; must be float32, tf32 or bf16`) {
		t.Errorf("got %v", err)
	}
}
