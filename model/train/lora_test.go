package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model"
	"distilvit/model/safetensors"
)

// peftCase is an adapter of ../testdata/make_lora.py: what PEFT computed with it, and how it is trained here.
type peftCase struct {
	config Config
	start  model.Weights // the network's, and the adapter as PEFT saved it
	want   *safetensors.File
	steps  []goldenStep
}

func readPEFT(t *testing.T, name string) (p peftCase, b *dataset.Batch, c *model.Config) {
	t.Helper()
	g, b, c, w, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("../testdata/lora", name)
	l, adapter, err := model.ReadAdapter(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	p.config, p.want = goldenConfig(g), goldenTensors(t, dir)
	p.config.LoRA = l
	if name == "whole" {
		l.TargetModules = []string{"all-linear"}
		p.config.Parts = []Part{{Match: "decoder.cross_attention", Freeze: some(false)}}
	}
	if adapter, err = Adapters(c, p.config, adapter, 0); err != nil {
		t.Fatal(err)
	}
	for name, x := range adapter {
		w[name] = x
	}
	p.start = w
	raw, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err == nil {
		err = json.Unmarshal(raw, &struct{ Steps any }{&p.steps})
	}
	if err != nil {
		t.Fatal(err)
	}
	return p, b, c
}

var peftCases = []string{"plain", "whole"}

func TestLoRALossAndGradientsEqualPEFT(t *testing.T) {
	for _, name := range peftCases {
		p, b, c := readPEFT(t, name)
		tr, err := New(backendtest.Open(t, backend.Go), c, p.start, p.config)
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		if sum, _, err := tr.Loss(b); err != nil || math.Abs(sum-p.steps[0].LossSum) > 1e-5*sum {
			t.Errorf("%s: loss %g instead of %g: %v", name, sum, p.steps[0].LossSum, err)
		}
		if len(tr.names) != len(p.want.Tensors())/2 { // a gradient and an end of each, and logits
			t.Errorf("%s: %d tensors are trained, of PEFT %d", name, len(tr.names), len(p.want.Tensors())/2)
		}
		wantGradients(t, tr, b, p.want)
	}
}

// Training goes on from an adapter that PEFT wrote, as PEFT does. Captions are those of the merged weights.
func TestLoRAStepsEqualPEFT(t *testing.T) {
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		for _, name := range peftCases {
			p, b, c := readPEFT(t, name)
			tr, err := New(be, c, p.start, p.config)
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			wantLogits(t, tr, b, p.want)
			wantSteps(t, name, tr, b, p.steps)
			after, err := tr.download(tr.names, tr.weights)
			if err != nil {
				t.Fatal(err)
			}
			wantTensors(t, after, p.want, "after.", 2e-5, 10*p.config.LearningRate)
		}
	})
}

// wantLogits compares the logits of the batch's first caption of each picture with PEFT's.
func wantLogits(t *testing.T, tr *Trainer, b *dataset.Batch, want *safetensors.File) {
	t.Helper()
	all, err := want.Float32s("logits")
	if err != nil {
		t.Fatal(err)
	}
	g, err := tr.Captioner()
	if err != nil {
		t.Fatal(err)
	}
	worst, vocab, bytes := 0.0, tr.model.Decoder.VocabSize, tr.pictureBytes()
	for i := range b.N {
		row := i * b.K * b.T
		ids := []int32{int32(tr.model.DecoderStartTokenID)}
		for _, id := range b.Labels[row : row+b.T-1] {
			if id == ignored {
				id = int32(tr.model.PadTokenID)
			}
			ids = append(ids, id)
		}
		got, err := g.Logits(b.Pixels[i*bytes:(i+1)*bytes], ids)
		if err != nil {
			t.Fatal(err)
		}
		for j, x := range got {
			worst = max(worst, math.Abs(float64(x-all[row*vocab+j])))
		}
	}
	if worst > 2e-5 {
		t.Errorf("logits differ by %g", worst)
	}
}

// loraDropped trains adapters with all that changes how: dropout of both kinds, an average, micro-batches, layers
// computed again, and a part that is trained whole.
func loraDropped(t *testing.T) func(*Config, model.Weights) {
	return func(c *Config, w model.Weights) {
		_, _, mc, _, err := readGolden()
		if err == nil {
			err = adapted(mc, c, w)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.Dropout, c.EMA, c.MicroBatchSize, c.GradientCheckpointing = 0.1, 0.9, 1, true
	}
}

func TestLoRACheckpointHasAdaptersAndGoesOnBitForBit(t *testing.T) {
	tr, step := newTrainer(t, loraDropped(t))
	dir, end := filepath.Join(t.TempDir(), "middle"), filepath.Join(t.TempDir(), "end")
	for range 3 {
		if _, err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.Weights(); err != nil { // looking at it changes nothing
		t.Fatal(err)
	}
	if _, err := tr.Save(dir, record.State{}); err != nil {
		t.Fatal(err)
	}
	got := tensorNames(t, filepath.Join(dir, weightsFile))
	if !slices.Equal(got, tr.names) || !slices.Contains(got, "decoder.transformer.h.0.mlp.c_fc.lora_A.weight") ||
		slices.Contains(got, "decoder.transformer.h.0.mlp.c_fc.weight") ||
		!slices.Contains(got, "decoder.transformer.h.0.crossattention.c_attn.weight") {
		t.Errorf("the checkpoint has %v", got)
	}
	again, stepAgain := newTrainer(t, loraDropped(t))
	st, err := again.Load(dir)
	if err != nil || len(st.Frozen) != 64 {
		t.Fatalf("%+v, %v", st, err)
	}
	wantAlike(t, end, tr, again, step, stepAgain)
}

// Micro-batches drop the same elements as the whole batch.
func TestLoRADropoutIsTheExamplesOwn(t *testing.T) {
	norm := func(change func(*Config)) float64 {
		_, step := newTrainer(t, func(c *Config, w model.Weights) {
			loraDropped(t)(c, w)
			change(c)
		})
		r, err := step()
		if err != nil {
			t.Fatal(err)
		}
		return r.GradNorm
	}
	parts := norm(func(*Config) {})
	whole := norm(func(c *Config) { c.MicroBatchSize, c.GradientCheckpointing = 0, false })
	undropped := norm(func(c *Config) { c.LoRA.Dropout = 0 })
	if math.Abs(parts-whole) > 1e-5*whole || math.Abs(parts-undropped) < 1e-3*whole {
		t.Errorf("gradient norms %g in micro-batches, %g whole, %g without the adapters' dropout", parts, whole, undropped)
	}
}

// With bfloat16 the factors of products are rounded, adapters' too; adapters themselves, as all weights, are float32, and so
// is the adapter that is merged for captions: bounds are those of a training of all weights.
func TestLoRAInBF16ComesNearFloat32(t *testing.T) {
	be := backendtest.Open(t, backend.XLA) // pure Go has no bfloat16, see trainer.CheckPrecision
	run := func(precision string) (losses []float64, after model.Weights) {
		return trained(t, be, goldenDir, func(c *Config, mc *model.Config, w model.Weights) {
			c.Precision = precision
			if err := adapted(mc, c, w); err != nil {
				t.Fatal(err)
			}
		})
	}
	losses, weights := run(Float32)
	mixed, weightsOfMixed := run(BF16)
	d := apart(weights, weightsOfMixed)
	t.Logf("losses %v and %v, weights apart by %.2g", losses, mixed, d)
	for i := range losses {
		if off := math.Abs(mixed[i]-losses[i]) / losses[i]; off > 4e-3 || off == 0 {
			t.Errorf("the loss of step %d is off by %g of itself", i+1, off)
		}
	}
	if d > 5e-3 || d == 0 {
		t.Errorf("weights differ by %g of their norm", d)
	}
}

func TestLoRAThatCannotBeIsRefused(t *testing.T) {
	_, _, c, _, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	part := func(pattern string, freeze bool) []Part { return []Part{{Match: pattern, Freeze: &freeze}} }
	of := func(targets ...string) *model.LoRA { return &model.LoRA{TargetModules: targets} }
	for want, config := range map[string]Config{
		`no linear layer has the name "c_atn"; near ones are c_attn`: {LoRA: of("c_atn")},
		`"wpe" is no linear layer`:                                   {LoRA: of("query", "wpe")},
		"is trained beside an adapter":                               {LoRA: of(), Parts: part("*.bias", false)},
		"as one of the two":                                          {LoRA: of(), Parts: part("decoder.embeddings", false)},
		"one half of the adapter":                                    {LoRA: of(), Parts: part("*.lora_A", true)},
		"nothing to train":                                           {LoRA: of("query"), Parts: part("encoder", true)},
	} {
		if err := CheckParts(c, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v instead of %s", err, want)
		}
	}
	config := Config{LoRA: &model.LoRA{R: 4, Alpha: 6, TargetModules: []string{"c_attn"}}}
	l, given, err := model.ReadAdapter("../testdata/lora/plain", c)
	if err != nil || l.R != 4 || l.Alpha != 6 {
		t.Fatal(l, err)
	}
	if _, err := Adapters(c, config, given, 0); err == nil || !strings.Contains(err.Error(), "has encoder.encoder.layer.0") {
		t.Error(err)
	}
}
