package onnx

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"distilvit/internal/atomicfile"
	"distilvit/model"
)

// prefixConfig is a captioner of 32 × 32 pixels whose Llama has as many key heads as given, of 3 or 6 heads of queries.
func prefixConfig() *model.Config {
	c := testConfig(32, 32)
	kindOf(model.SigLIP)(c)
	c.Kind, c.Decoder, c.Encoder.Tower = model.Prefix, model.GPT2Config{}, true
	c.Projector = model.ProjectorConfig{HiddenAct: "gelu", Bias: true}
	c.Llama = model.LlamaConfig{
		VocabSize: 301, HiddenSize: 48, IntermediateSize: 80, NumHiddenLayers: 3, NumAttentionHeads: 6,
		NumKeyValueHeads: 2, HeadDim: 8, MaxPositionEmbeddings: 64, RMSNormEps: 1e-5, HiddenAct: "silu", RopeTheta: 10000,
	}
	return c
}

// The network in ONNX Runtime and in Go: the same token ids, logits within 1e-4.
func TestPrefixExportComputesWhatTheModelComputes(t *testing.T) {
	for name, change := range map[string]func(*model.Config){
		"as SmolLM2":        func(*model.Config) {},
		"one head of keys":  func(c *model.Config) { c.Llama.NumKeyValueHeads = 1 },
		"a head of each":    func(c *model.Config) { c.Llama.NumKeyValueHeads = 6 },
		"wide heads":        func(c *model.Config) { c.Llama.HeadDim = 20 },
		"biases":            func(c *model.Config) { c.Llama.AttentionBias, c.Llama.MLPBias = true, true },
		"untied lm_head":    func(c *model.Config) { c.TieWordEmbeddings = false },
		"linear projection": func(c *model.Config) { c.Projector = model.ProjectorConfig{HiddenAct: "linear"} },
		"layers not run":    func(c *model.Config) { c.Encoder.UnusedLayers = 1 },
		"without the class token": func(c *model.Config) {
			kindOf(model.CLIP)(c)
			c.Projector.DropFirst = true
		},
		"more positions than a table has rows": func(c *model.Config) {
			c.Encoder.PatchSize, c.Llama.MaxPositionEmbeddings = 2, 300 // 256 patches
		},
		"llama3": func(c *model.Config) {
			c.Llama.RopeTheta = 500
			c.Llama.Rope = model.RopeScaling{Type: model.RopeLlama3, Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4,
				OriginalMaxPositionEmbeddings: 64}
		},
		"pixel shuffle":   func(c *model.Config) { c.SetScaleFactor(2) },
		"a prompt":        func(c *model.Config) { c.SetPrompt([]int32{7, 250, 3}) },
		"a prompt of one": func(c *model.Config) { c.SetPrompt([]int32{9}) },
		"a GPT-2":         behindGPT2,
		"a GPT-2, pixel shuffle and a prompt": func(c *model.Config) {
			behindGPT2(c)
			c.SetScaleFactor(2)
			c.SetPrompt([]int32{7, 250, 3})
		},
		"a GPT-2, untied, scaled by layer": func(c *model.Config) {
			behindGPT2(c)
			c.TieWordEmbeddings, c.Decoder.ScaleByLayer, c.Decoder.NInner, c.Decoder.ActivationFunction = false, true, 80, "relu"
		},
		"linear scaling": func(c *model.Config) {
			c.Llama.Rope = model.RopeScaling{Type: model.RopeLinear, Factor: 3}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := prefixConfig()
			change(c)
			wantExported(t, c, lively(c, 7))
		})
	}
}

// behindGPT2 puts a GPT-2 in the Llama's place.
func behindGPT2(c *model.Config) {
	c.GPT2, c.Llama = true, model.LlamaConfig{}
	c.Decoder = model.GPT2Config{
		VocabSize: 301, NPositions: 64, NEmbd: 48, NLayer: 3, NHead: 6, LayerNormEpsilon: 1e-5, ActivationFunction: "gelu_new",
	}
}

// llava is the golden model of make_prefix.py.
func llava(t *testing.T) (*model.Config, model.Weights) {
	t.Helper()
	c, err := model.ReadConfig(llavaDir)
	if err != nil {
		t.Fatal(err)
	}
	w, err := model.ReadWeights(llavaDir, c)
	if err != nil {
		t.Fatal(err)
	}
	return c, w
}

const llavaDir = "testdata/prefix"

// A LLaVA's files caption as transformers does. Its weights are random, so that rounding changes captions: of dtypes that
// round little the logits are compared, and 4 bits are too few for it (see TestPrefixInFourBitsComputesWithItsCodes).
func TestPrefixExportCaptionsAsTransformers(t *testing.T) {
	var golden []struct {
		Pixels, Logits []byte
		IDs            []int32
	}
	raw, err := os.ReadFile(filepath.Join(llavaDir, "golden.json"))
	if err == nil {
		err = json.Unmarshal(raw, &golden)
	}
	if err != nil || len(golden) < 5 {
		t.Fatalf("%d golden pictures, %v", len(golden), err)
	}
	c, w := llava(t)
	for dtype, least := range map[string]float64{
		"fp32": 1 - 1e-9, "fp16": 0.9999, "q8": 0.99, "int8": 0.97,
	} {
		session := open(t, export(t, c, w, dtype), dtype)
		for i, g := range golden {
			values := PixelValues(g.Pixels, model.HalfNormalization)
			inputs := append([]int32{session.StartTokenID()}, g.IDs[:len(g.IDs)-1]...)
			got, err := session.Logits(values, inputs)
			if err != nil {
				t.Fatal(err)
			}
			want := floats(g.Logits)
			if cosine := cosine(got, want); cosine < least {
				t.Errorf("%s, picture %d: cosine of the logits is %.5f, want %v", dtype, i, cosine, least)
			}
			if dtype != "fp32" {
				continue
			}
			if d := distance(got, want); d > 1e-4 {
				t.Errorf("picture %d: logits differ by %g", i, d)
			}
			ids, err := session.Generate(values, model.GenerateOptions{MaxLength: 13})
			if err != nil || !slices.Equal(ids, g.IDs) {
				t.Errorf("picture %d: ids %v, transformers has %v, %v", i, ids, g.IDs, err)
			}
		}
	}
}

// floats are little-endian float32.
func floats(raw []byte) []float32 {
	list := make([]float32, len(raw)/4)
	for i := range list {
		list[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return list
}

func cosine(a, b []float32) float64 {
	var dot, aa, bb float64
	for i := range a {
		dot += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	return dot / math.Sqrt(aa*bb)
}

// Transformers.js and this program read the same config.json, each its own part of it.
func TestPrefixConfigIsReadBack(t *testing.T) {
	gpt2, at := prefixConfig(), t.TempDir()
	behindGPT2(gpt2)
	if err := WriteConfigs(at, gpt2, greedy, []string{"q8"}); err != nil {
		t.Fatal(err)
	}
	if got, err := model.ReadConfig(at); err != nil || !reflect.DeepEqual(got, gpt2) {
		t.Errorf("%+v is read back instead of %+v, %v", got, gpt2, err)
	}
	c, dir := prefixConfig(), t.TempDir()
	c.Llama.Rope = model.RopeScaling{Type: model.RopeLinear, Factor: 2}
	c.Encoder.UnusedLayers = 1
	if err := WriteConfigs(dir, c, greedy, []string{"q8"}); err != nil {
		t.Fatal(err)
	}
	got, err := model.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, c) {
		t.Errorf("%+v is read back instead of %+v", got, c)
	}
	var keys struct {
		ModelType string         `json:"model_type"`
		Decoder   map[string]any `json:"decoder"`
	}
	decode(t, read(t, dir, "config.json"), &keys)
	for key, want := range map[string]any{"model_type": "gpt2", "n_layer": 3.0, "n_head": 2.0, "n_embd": 16.0} {
		if keys.Decoder[key] != want {
			t.Errorf("decoder.%s is %v, want %v", key, keys.Decoder[key], want)
		}
	}
	if keys.ModelType != "vision-encoder-decoder" {
		t.Errorf("model_type is %s", keys.ModelType)
	}
	names, err := WriteLlava(dir, c, greedy)
	if err != nil || len(names) != 2 {
		t.Fatalf("%v are written, %v", names, err)
	}
	if got, err = model.ReadConfig(filepath.Join(dir, LlavaFolder)); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%+v is read back for Python, %v", got, err)
	}
}

// rounded stores what 4 bits stand for as float32.
type rounded struct{ float32Numbers }

func (n rounded) of(w matrix) matrix {
	w.data = nibbles{}.decode(w, nibbles{}.encode(w, nil))
	return w
}

func (n rounded) matmul(b *builder, x string, w matrix) string {
	return n.float32Numbers.matmul(b, x, n.of(w))
}

func (n rounded) gather(b *builder, table matrix, ids string) string {
	return n.float32Numbers.gather(b, n.of(table), ids)
}

// Files in 4 bits compute with what their codes stand for, and with nothing else.
func TestPrefixInFourBitsComputesWithItsCodes(t *testing.T) {
	c := prefixConfig()
	w := lively(c, 3)
	dir := export(t, c, w, "fp32")
	for name, build := range map[string]builds{EncoderFile("fp32"): encoder, DecoderFile("fp32"): prefixDecoder} {
		g, err := build(c, w, rounded{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := atomicfile.Write(filepath.Join(dir, name), 0o644, g.writeTo); err != nil {
			t.Fatal(err)
		}
	}
	want, got := open(t, dir, "fp32"), open(t, export(t, c, w, "q4"), "q4")
	for n := range 4 {
		values := PixelValues(picture(n, c.Encoder.ImageSize), model.HalfNormalization)
		ids := []int32{300, 5, 17, 255, 0, 299, 64, 128, 3}
		a, err := want.Logits(values, ids)
		if err != nil {
			t.Fatal(err)
		}
		b, err := got.Logits(values, ids)
		if err != nil {
			t.Fatal(err)
		}
		if d := distance(a, b); d > 1e-4 {
			t.Errorf("picture %d: logits differ by %g", n, d)
		}
	}
}
