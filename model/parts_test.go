package model

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
)

const partsDir = "testdata/variants/parts"

// TestPartsJoinedEqualPyTorch puts in the golden file's weights for those that are drawn.
func TestPartsJoinedEqualPyTorch(t *testing.T) {
	for _, decoder := range []string{"decoder", "decoder-bare"} {
		c, w, err := (Parts{Encoder: partsDir + "/encoder", Decoder: filepath.Join(partsDir, decoder)}).Read(1)
		if err != nil {
			t.Fatal(err)
		}
		if c.DecoderStartTokenID != 23 || c.EOSTokenID != 23 || c.PadTokenID != 23 ||
			c.Encoder.HiddenSize != 12 || c.Decoder.NEmbd != 8 {
			t.Errorf("config %+v", c)
		}
		if err := w.Check(c); err != nil {
			t.Error(err)
		}
		wantJoinedLogits(t, c, w, partsDir)
	}
}

// wantJoinedLogits compares with what PyTorch computed with its own draw of what joins encoder and decoder.
func wantJoinedLogits(t *testing.T, c *Config, w Weights, dir string) {
	t.Helper()
	golden := openGolden(t, dir+"/golden.safetensors")
	drawn := 0
	for _, info := range golden.Tensors() {
		if info.Name == "logits" {
			continue
		}
		drawn++
		if !slices.Equal(w[info.Name].Shape, info.Shape) {
			t.Fatalf("%s is %v instead of %v", info.Name, w[info.Name].Shape, info.Shape)
		}
		var err error
		if w[info.Name].Data, err = golden.Float32s(info.Name); err != nil {
			t.Fatal(err)
		}
	}
	if want := 2 + 2*8; drawn != want {
		t.Errorf("%d tensors are drawn instead of %d", drawn, want)
	}
	wantLogits(t, backendtest.Open(t, backend.Go), c, w, golden)
}

// Of a checkpoint with a text model the vision model is taken, with a classifier or without; a DINOv2 for
// larger pictures gets its positions interpolated.
func TestEncodersOfOtherKindsJoinedEqualPyTorch(t *testing.T) {
	for kind, dir := range map[EncoderKind]string{
		SigLIP: "testdata/variants/parts-siglip", CLIP: "testdata/variants/parts-clip",
		DINOv2: "testdata/variants/parts-dinov2",
	} {
		c, w, err := (Parts{Encoder: dir + "/encoder", Decoder: partsDir + "/decoder"}).Read(1)
		if err != nil {
			t.Fatal(err)
		}
		if c.Encoder.Kind != kind {
			t.Errorf("%s is a %s", dir, c.Encoder.Name())
		}
		if err := c.FitPictures(w, variantSide); err != nil {
			t.Fatal(err)
		}
		if err := w.Check(c); err != nil {
			t.Error(err)
		}
		wantJoinedLogits(t, c, w, dir)
		err = c.FitPictures(w, 2*variantSide)
		if (err == nil) != (kind == DINOv2) {
			t.Errorf("pictures of another size for a %s: %v", c.Encoder.Name(), err)
		}
	}
}

// writeParts writes an encoder and a decoder apart, of different widths and wide
// enough to measure deviations.
func writeParts(t *testing.T, change func(encoder, decoder Weights)) (encoder, decoder string) {
	t.Helper()
	c := tiny(t)
	c.Encoder.HiddenSize, c.Encoder.IntermediateSize = 64, 96
	parts := map[string]Weights{"encoder.": {}, "decoder.": {}}
	for name, x := range Init(&c, 1) {
		for prefix, w := range parts {
			if own, ok := strings.CutPrefix(name, prefix); ok && !crossAttention(name) {
				w[own] = x
			}
		}
	}
	change(parts["encoder."], parts["decoder."])
	encoder, decoder = t.TempDir(), t.TempDir()
	for dir, part := range map[string]struct {
		weights Weights
		config  string
	}{
		encoder: {parts["encoder."], `{"model_type": "vit", "hidden_size": 64,
			"num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96,
			"image_size": 64, "patch_size": 8}`},
		decoder: {parts["decoder."], `{"model_type": "gpt2", "n_embd": 128,
			"n_layer": 3, "n_head": 4, "n_positions": 64, "vocab_size": 300,
			"bos_token_id": 298, "eos_token_id": 299, "pad_token_id": 7}`},
	} {
		if err := os.WriteFile(filepath.Join(dir, configName), []byte(part.config), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := WriteWeights(filepath.Join(dir, weightsName), part.weights, nil); err != nil {
			t.Fatal(err)
		}
	}
	return encoder, decoder
}

func TestWhatJoinsPartsIsDrawnAsTransformersDoes(t *testing.T) {
	encoder, decoder := writeParts(t, func(e, d Weights) {
		e["pooler.dense.bias"] = &Tensor{Shape: []int{1}, Data: []float32{1}}
		d["transformer.h.0.attn.bias"] = &Tensor{Shape: []int{1}, Data: []float32{1}}
	})
	c, w, err := (Parts{Encoder: encoder, Decoder: decoder}).Read(5)
	if err != nil {
		t.Fatal(err)
	}
	if c.DecoderStartTokenID != 298 || c.BOSTokenID != 298 || c.EOSTokenID != 299 || c.PadTokenID != 299 {
		t.Errorf("start %d, begin %d, end %d, padding %d", c.DecoderStartTokenID, c.BOSTokenID,
			c.EOSTokenID, c.PadTokenID)
	}
	// measured in from_encoder_decoder_pretrained: normal 0.02, c_proj by the depth, norms 1, biases 0, a
	// uniform nn.Linear
	const block = "decoder.transformer.h.2."
	for name, want := range map[string]float64{
		block + "crossattention.c_attn.weight": 0.02, block + "crossattention.q_attn.weight": 0.02,
		block + "crossattention.c_proj.weight": 0.02 / math.Sqrt(6), block + "crossattention.c_attn.bias": 0,
		block + "ln_cross_attn.weight": 1, block + "ln_cross_attn.bias": 0,
		"enc_to_dec_proj.weight": 1 / math.Sqrt(64*3), "enc_to_dec_proj.bias": 1 / math.Sqrt(64*3),
	} {
		var sum float64
		for _, x := range w[name].Data {
			sum += float64(x) * float64(x)
		}
		got := math.Sqrt(sum / float64(len(w[name].Data)))
		tolerance := 0.02
		if len(w[name].Data) < 1000 {
			tolerance = 0.15
		}
		if math.Abs(got-want) > tolerance*want {
			t.Errorf("%s has deviation %g instead of %g", name, got, want)
		}
	}
	_, again, err := (Parts{Encoder: encoder, Decoder: decoder}).Read(5)
	if err != nil || !reflect.DeepEqual(w, again) {
		t.Errorf("the same seed gives other weights (%v)", err)
	}
	_, other, err := (Parts{Encoder: encoder, Decoder: decoder}).Read(6)
	if err != nil || reflect.DeepEqual(w, other) {
		t.Errorf("another seed gives the same weights (%v)", err)
	}
}

func TestPartsThatDoNotFitAreNamed(t *testing.T) {
	for want, change := range map[string]func(e, d Weights){
		"1 tensors missing: encoder.layernorm.bias": func(e, d Weights) {
			delete(e,
				"layernorm.bias")
		},
		"1 tensors unknown: decoder.transformer.score.weight": func(e, d Weights) {
			d["score.weight"] = e["layernorm.bias"]
		},
		"decoder.transformer.ln_f.bias is [64] instead of [128]": func(e, d Weights) {
			d["transformer.ln_f.bias"] = e["layernorm.bias"]
		},
		"52 tensors missing: encoder.embeddings.patch_embeddings.projection.bias, " +
			"encoder": func(e, d Weights) { maps.DeleteFunc(e, notTokens) },
		" and 42 more": func(e, d Weights) { maps.DeleteFunc(e, notTokens) },
	} {
		encoder, decoder := writeParts(t, change)
		if _, _, err := (Parts{Encoder: encoder, Decoder: decoder}).Read(1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	encoder, decoder := writeParts(t, func(e, d Weights) {})
	for want, dirs := range map[string][2]string{
		`encoder.model_type is "gpt2"; must be vit, deit, siglip_vision_model, clip_vision_model or dinov2`: {decoder, decoder},
		`decoder.model_type is "vit"; must be gpt2 or llama`:                                                {encoder, encoder},
		"has no config.json": {t.TempDir(), decoder},
	} {
		if _, err := (Parts{Encoder: dirs[0], Decoder: dirs[1]}).ReadConfig(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func notTokens(name string, _ *Tensor) bool {
	return name != "embeddings.cls_token" && name != "embeddings.position_embeddings"
}
