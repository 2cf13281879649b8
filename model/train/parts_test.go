package train

import (
	"encoding/json"
	"errors"
	"math"
	"os"
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

const partsDir = "../testdata/parts"

func some[T any](x T) *T { return &x }

// goldenParts are the paces of ../testdata/make_parts.py.
func goldenParts(c *Config) {
	c.LayerDecay = 0.8
	c.Parts = []Part{
		{Match: "encoder.embeddings", Freeze: some(true)}, {Match: "encoder.layers.0", Freeze: some(true)},
		{Match: "encoder", LearningRate: some(5e-4)},
		{Match: "decoder.cross_attention", LearningRate: some(4e-3), WeightDecay: some(0.0)},
		{Match: "encoder.embeddings.position_embeddings", Freeze: some(false)},
		{Match: "decoder.transformer.wte", Freeze: some(true)},
	}
}

// partsGolden are the steps of PyTorch, and the names that it froze.
func partsGolden(t *testing.T) (golden struct {
	Frozen []string     `json:"frozen"`
	Steps  []goldenStep `json:"steps"`
}) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(partsDir, "golden.json"))
	if err == nil {
		err = json.Unmarshal(raw, &golden)
	}
	if err != nil {
		t.Fatal(err)
	}
	return golden
}

func TestStepsOfPartsEqualPyTorch(t *testing.T) {
	g, b, c, w, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	golden, want := partsGolden(t), goldenTensors(t, partsDir)
	config := goldenConfig(g)
	goldenParts(&config)
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		tr, err := New(be, c, w, config)
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		if !slices.Equal(tr.plan.frozen, golden.Frozen) {
			t.Fatalf("frozen are %v, of PyTorch %v", tr.plan.frozen, golden.Frozen)
		}
		wantSteps(t, "parts", tr, b, golden.Steps)
		after, err := tr.Weights()
		if err != nil {
			t.Fatal(err)
		}
		wantTensors(t, after, want, "after.", 2e-5, 10*4e-3)
		for _, name := range golden.Frozen {
			if !slices.Equal(after[name].Data, w[name].Data) {
				t.Errorf("frozen %s has changed", name)
			}
		}
		if len(after) != len(w) {
			t.Errorf("%d tensors instead of %d", len(after), len(w))
		}
	})
}

// A captioner sees every tensor in its place, whatever is frozen between them.
func TestFrozenPartsChangeNoLossAndNoGradientOfTheOthers(t *testing.T) {
	whole, _ := newTrainer(t, nil)
	parts, _ := newTrainer(t, func(c *Config, _ model.Weights) { goldenParts(c) })
	_, b, _, _, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := whole.Loss(b)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := parts.Loss(b); err != nil || got != want {
		t.Errorf("loss %g instead of %g: %v", got, want, err)
	}
	wants, err := whole.Gradients(b)
	if err != nil {
		t.Fatal(err)
	}
	gots, err := parts.Gradients(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(gots) != len(parts.names) {
		t.Errorf("%d gradients of %d trained tensors", len(gots), len(parts.names))
	}
	for name, g := range gots {
		for i, x := range g.Data {
			if math.Abs(float64(x-wants[name].Data[i])) > 1e-6 {
				t.Errorf("gradient of %s is %g instead of %g", name, x, wants[name].Data[i])
				break
			}
		}
	}
	logits := func(tr *Trainer) []float32 {
		g, err := tr.Captioner()
		if err != nil {
			t.Fatal(err)
		}
		x, err := g.Logits(b.Pixels[:len(b.Pixels)/b.N], []int32{39, 1, 2})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	if !slices.Equal(logits(whole), logits(parts)) {
		t.Error("logits differ")
	}
}

// tensorNames of a file of a checkpoint.
func tensorNames(t *testing.T, path string) (names []string) {
	t.Helper()
	for _, x := range tensorsOf(t, path).Tensors() {
		names = append(names, x.Name)
	}
	slices.Sort(names)
	return names
}

func TestCheckpointHasWhatIsTrainedAndGoesOnBitForBit(t *testing.T) {
	change := func(c *Config, _ model.Weights) {
		goldenParts(c)
		c.Dropout, c.EMA = 0.1, 0.9
	}
	tr, step := newTrainer(t, change)
	dir, end := filepath.Join(t.TempDir(), "middle"), filepath.Join(t.TempDir(), "end")
	for range 3 {
		if _, err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.Save(dir, record.State{}); err != nil {
		t.Fatal(err)
	}
	if got := tensorNames(t, filepath.Join(dir, weightsFile)); !slices.Equal(got, tr.names) {
		t.Errorf("the checkpoint has %v", got)
	}
	if got := tensorNames(t, filepath.Join(dir, momentsFile)); len(got) != 3*len(tr.names) {
		t.Errorf("the checkpoint has %d moments and weights of %d trained tensors", len(got), len(tr.names))
	}
	again, stepAgain := newTrainer(t, change)
	st, err := again.Load(dir)
	if err != nil || len(st.Frozen) != 64 {
		t.Fatalf("%+v, %v", st, err)
	}
	wantAlike(t, end, tr, again, step, stepAgain)

	// With the frozen tensors that training began with, it is the whole model again.
	trained, err := model.ReadTrained(end, tr.model.Shapes())
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, base, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := WithFrozen(trained, base, st.Frozen)
	if err != nil {
		t.Fatal(err)
	}
	want, err := tr.Weights()
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range want {
		if !slices.Equal(whole[name].Data, x.Data) {
			t.Errorf("%s is another one", name)
		}
	}
	base["decoder.transformer.wte.weight"].Data[7]++
	if _, err := WithFrozen(trained, base, st.Frozen); err == nil || !strings.Contains(err.Error(), "wte") {
		t.Errorf("weights that are not the ones training began with were taken: %v", err)
	}
}

func TestCheckpointOfOtherFrozenTensorsIsRefused(t *testing.T) {
	frozen, _ := newTrainer(t, func(c *Config, _ model.Weights) { goldenParts(c) })
	dir := filepath.Join(t.TempDir(), "checkpoint")
	if _, err := frozen.Save(dir, record.State{}); err != nil {
		t.Fatal(err)
	}
	plain, _ := newTrainer(t, nil)
	other, _ := newTrainer(t, func(c *Config, w model.Weights) {
		goldenParts(c)
		w["decoder.transformer.wte.weight"].Data[0]++
	})
	for what, tr := range map[string]*Trainer{"a trainer that freezes nothing": plain, "one of other weights": other} {
		if _, err := tr.Load(dir); err == nil || !strings.Contains(err.Error(), "other tensors are frozen, or of other weights") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestLastPartWinsAndLayerDecayMultiplies(t *testing.T) {
	_, _, c, _, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	config := Config{LearningRate: 1, WeightDecay: 0.5, LayerDecay: 0.5, Parts: []Part{
		{Match: "encoder", Freeze: some(true), LearningRate: some(3.0)},
		{Match: "encoder.layers.1", Freeze: some(false)},
		{Match: "decoder", LearningRate: some(2.0)},
		{Match: "decoder.layers.0-1.mlp", WeightDecay: some(0.25)},
		{Match: "*.mlp.c_fc", WeightDecay: some(0.125)},
	}}
	p, err := config.plan(c)
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]pace{}
	for i, name := range p.names {
		of[name] = p.paces[i]
	}
	for name, want := range map[string]pace{
		"encoder.encoder.layer.1.output.dense.weight":   {3 * 0.5, 0.5},
		"decoder.transformer.h.0.mlp.c_fc.weight":       {2 * 0.25, 0.125},
		"decoder.transformer.h.1.mlp.c_proj.weight":     {2 * 0.5, 0.25},
		"decoder.transformer.h.1.attn.c_attn.weight":    {2 * 0.5, 0.5},
		"decoder.transformer.wte.weight":                {2 * 0.125, 0.5},
		"decoder.transformer.ln_f.weight":               {2, 0.5},
		"decoder.transformer.h.0.ln_cross_attn.weight":  {2 * 0.25, 0.5},
		"encoder.encoder.layer.1.layernorm_before.bias": {3 * 0.5, 0.5},
	} {
		if of[name] != want {
			t.Errorf("%s is trained at %v, want %v", name, of[name], want)
		}
	}
	if slices.Contains(p.names, "encoder.layernorm.weight") || !slices.Contains(p.frozen, "encoder.layernorm.weight") {
		t.Error("encoder.layernorm is trained")
	}
}

func TestPartsThatMeanNothingAreErrors(t *testing.T) {
	_, _, c, w, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	be := backendtest.Open(t, backend.Go)
	g, _, _, _, _ := readGolden()
	config := goldenConfig(g)
	config.Parts = []Part{{Match: "encoder", Freeze: some(true)}, {Match: "decoder.layer.0", Freeze: some(true)}}
	_, err = New(be, c, w, config)
	var pattern *PatternError
	if !errors.As(err, &pattern) || pattern.Part != 1 || !strings.Contains(err.Error(), "decoder.layers.0") {
		t.Errorf("%v", err)
	}
	config.Parts[1].Match = "decoder"
	if err := CheckParts(c, config); err == nil || !strings.Contains(err.Error(), "nothing to train") {
		t.Errorf("%v", err)
	}
}
