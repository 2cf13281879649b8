package model

import (
	"encoding/json"
	"strings"
	"testing"
)

// Absent keys mean what they do in transformers, which differs from kind to kind.
func TestAnEncodersAbsentKeysAreItsKinds(t *testing.T) {
	for config, want := range map[string]EncoderConfig{
		`{"model_type": "vit"}`:                 {Kind: ViT, PatchSize: 16, LayerNormEps: 1e-12},
		`{"model_type": "deit"}`:                {Kind: DeiT, PatchSize: 16, LayerNormEps: 1e-12},
		`{"model_type": "siglip_vision_model"}`: {Kind: SigLIP, PatchSize: 16, LayerNormEps: 1e-6},
		`{"model_type": "siglip"}`:              {Kind: SigLIP, PatchSize: 16, LayerNormEps: 1e-6},
		`{"model_type": "clip", "vision_config": {"patch_size": 16}, "patch_size": 3}`: {
			Kind: CLIP, PatchSize: 16, LayerNormEps: 1e-5,
		},
		`{"model_type": "clip_vision_model", "qkv_bias": false}`: {Kind: CLIP, PatchSize: 32, LayerNormEps: 1e-5},
		`{"model_type": "dinov2", "intermediate_size": 7}`:       {Kind: DINOv2, PatchSize: 14, LayerNormEps: 1e-6},
	} {
		want.HiddenSize, want.NumHiddenLayers, want.NumAttentionHeads, want.IntermediateSize = 768, 12, 12, 3072
		want.ImageSize, want.NumChannels, want.QKVBias, want.HiddenAct = 224, 3, true, "gelu"
		switch want.Kind {
		case SigLIP:
			want.HiddenAct = "gelu_pytorch_tanh"
		case CLIP:
			want.HiddenAct = "quick_gelu"
		}
		var j encoderJSON
		if err := json.Unmarshal([]byte(config), &j); err != nil {
			t.Fatal(err)
		}
		if j.ImageSize != 224 || int(j.PatchSize) != want.PatchSize {
			t.Errorf("%s: pictures of %d, patches of %d", config, j.ImageSize, j.PatchSize)
		}
		got := j.EncoderConfig
		got.PatchSize = want.PatchSize // beside it until the whole config is read
		if got != want {
			t.Errorf("%s is %+v, want %+v", config, got, want)
		}
	}
}

func TestEncodersThatAreNotSupportedAreNamed(t *testing.T) {
	for config, want := range map[string]string{
		`{"model_type": "dinov2", "use_swiglu_ffn": true}`: "encoder.use_swiglu_ffn is true",
		`{"model_type": "dinov2", "mlp_ratio": -1}`:        "encoder.mlp_ratio is -1",
		`{"model_type": "siglip2"}`:                        `encoder.model_type is "siglip2"`,
		`{"model_type": "clip", "vision_config": 3}`:       "cannot unmarshal",
		`{}`: `encoder.model_type is ""`,
	} {
		var c Config
		err := json.Unmarshal([]byte(`{"model_type": "vision-encoder-decoder",
			"decoder": {"model_type": "gpt2", "add_cross_attention": true}, "encoder": `+config+`}`), &c)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

// A width of the MLP that no short ratio gives comes back.
func TestMLPRatioGivesTheWidthBack(t *testing.T) {
	for hidden := 1; hidden < 200; hidden++ {
		for inner := 1; inner < 4*hidden; inner += 3 {
			c := encoderKinds[DINOv2].defaults
			c.HiddenSize, c.IntermediateSize = hidden, inner
			if got := int(float64(hidden) * *c.json().MLPRatio); got != inner {
				t.Fatalf("%d of %d comes back as %d", inner, hidden, got)
			}
		}
	}
}
