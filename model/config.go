package model

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// ViTConfig is the encoder: Hugging Face's ViTConfig or DeiTConfig.
type ViTConfig struct {
	HiddenSize        int     `json:"hidden_size"`
	NumHiddenLayers   int     `json:"num_hidden_layers"`
	NumAttentionHeads int     `json:"num_attention_heads"`
	IntermediateSize  int     `json:"intermediate_size"`
	ImageSize         int     `json:"image_size"` // side of the square picture, pixels
	PatchSize         int     `json:"patch_size"` // side of a patch, pixels
	NumChannels       int     `json:"num_channels"`
	LayerNormEps      float64 `json:"layer_norm_eps"`
	HiddenAct         string  `json:"hidden_act"` // one of activations
	QKVBias           bool    `json:"qkv_bias"`
	Distilled         bool    `json:"-"` // DeiT: a distillation token stands after the class token
}

// GPT2Config is the decoder: Hugging Face's GPT2Config with cross-attention.
type GPT2Config struct {
	VocabSize          int     `json:"vocab_size"`
	NPositions         int     `json:"n_positions"`
	NEmbd              int     `json:"n_embd"`
	NLayer             int     `json:"n_layer"`
	NHead              int     `json:"n_head"`
	NInner             int     `json:"n_inner"` // 0: 4 × n_embd
	LayerNormEpsilon   float64 `json:"layer_norm_epsilon"`
	ActivationFunction string  `json:"activation_function"` // one of activations
	EmbdPdrop          float64 `json:"embd_pdrop"`
	AttnPdrop          float64 `json:"attn_pdrop"`
	ResidPdrop         float64 `json:"resid_pdrop"`
	Unscaled           bool    `json:"-"`                               // not scale_attn_weights: scores are not divided by √(head width)
	ScaleByLayer       bool    `json:"scale_attn_by_inverse_layer_idx"` // scores of layer i, from 1, are divided by i
}

// Config is a captioner's architecture and special tokens, read from and
// written to the config.json of a VisionEncoderDecoderModel.
type Config struct {
	Encoder             ViTConfig
	Decoder             GPT2Config
	DecoderStartTokenID int
	BOSTokenID          int
	EOSTokenID          int
	PadTokenID          int
	TieWordEmbeddings   bool // the decoder's: logits are computed with wte, not with an lm_head
}

// SetSpecialToken makes one id start, begin, end and pad captions, as GPT-2's
// <|endoftext|> does.
func (c *Config) SetSpecialToken(id int) {
	c.DecoderStartTokenID, c.BOSTokenID, c.EOSTokenID, c.PadTokenID = id, id, id, id
}

// Tokens is the number of vectors the encoder makes of a picture: one a patch,
// the class token and DeiT's distillation token.
func (c *ViTConfig) Tokens() int {
	side := c.ImageSize / c.PatchSize
	if c.Distilled {
		return side*side + 2
	}
	return side*side + 1
}

// Name is the architecture's.
func (c *ViTConfig) Name() string {
	if c.Distilled {
		return "DeiT"
	}
	return "ViT"
}

// ScoreScale is what the encoder's attention scores are multiplied with.
func (c *ViTConfig) ScoreScale() float64 {
	return 1 / math.Sqrt(float64(c.HiddenSize/c.NumAttentionHeads))
}

// ScoreScale is what a layer's attention scores, its own and those of the
// encoder's vectors, are multiplied with.
func (c *GPT2Config) ScoreScale(layer int) float64 {
	scale := 1.0
	if !c.Unscaled {
		scale = 1 / math.Sqrt(float64(c.NEmbd/c.NHead))
	}
	if c.ScaleByLayer {
		scale /= float64(layer + 1)
	}
	return scale
}

// Inner is the width of the decoder's MLPs.
func (c *GPT2Config) Inner() int {
	if c.NInner == 0 {
		return 4 * c.NEmbd
	}
	return c.NInner
}

// Preset returns the sizes a name stands for. tiny trains within minutes on
// two cores; base is ViT-base/16-224 with DistilGPT2. The vocabulary of tiny and
// small is the tokenizer's: set VocabSize and the special token.
func Preset(name string) (Config, bool) {
	switch name {
	case "tiny":
		return preset(64, 8, 128, 3, 3, 4, 0, 64), true
	case "small":
		return preset(128, 16, 256, 6, 4, 8, 0, 128), true
	case "base":
		c := preset(224, 16, 768, 12, 6, 12, 50257, 1024)
		c.SetSpecialToken(50256)
		return c, true
	}
	return Config{}, false
}

func preset(image, patch, hidden, encoderLayers, decoderLayers, heads, vocab, positions int) Config {
	c := Config{TieWordEmbeddings: true}
	c.Encoder = defaultViT()
	c.Encoder.ImageSize, c.Encoder.PatchSize = image, patch
	c.Encoder.HiddenSize, c.Encoder.IntermediateSize = hidden, 4*hidden
	c.Encoder.NumHiddenLayers, c.Encoder.NumAttentionHeads = encoderLayers, heads
	c.Decoder = defaultGPT2()
	c.Decoder.NEmbd, c.Decoder.NLayer, c.Decoder.NHead = hidden, decoderLayers, heads
	c.Decoder.VocabSize, c.Decoder.NPositions = vocab, positions
	return c
}

// defaultViT are the values an absent key of Hugging Face's ViTConfig has.
func defaultViT() ViTConfig {
	return ViTConfig{
		HiddenSize: 768, NumHiddenLayers: 12, NumAttentionHeads: 12, IntermediateSize: 3072,
		ImageSize: 224, PatchSize: 16, NumChannels: 3, LayerNormEps: 1e-12, HiddenAct: "gelu", QKVBias: true,
	}
}

// defaultGPT2 are the values an absent key of Hugging Face's GPT2Config has.
func defaultGPT2() GPT2Config {
	return GPT2Config{
		VocabSize: 50257, NPositions: 1024, NEmbd: 768, NLayer: 12, NHead: 12, LayerNormEpsilon: 1e-5,
		ActivationFunction: "gelu_new", EmbdPdrop: 0.1, AttnPdrop: 0.1, ResidPdrop: 0.1,
	}
}

// maxSize bounds each size in a config, so that a damaged file cannot make the
// program reserve absurd memory.
const maxSize = 1 << 20

// maxLayers bounds the tensors' number and maxSide a picture's memory for the same
// reason: no weights have to be in a file for them.
const (
	maxLayers = 1 << 10
	maxSide   = 1 << 12 // pixels
)

// Validate reports every value that cannot work, with the value.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	within := func(name string, v, most int) bool {
		ok := v >= 1 && v <= most
		check(ok, "%s is %d; must be from 1 to %d", name, v, most)
		return ok
	}
	size := func(name string, v int) bool { return within(name, v, maxSize) }
	known := func(name, activation string) {
		_, ok := activations[activation]
		check(ok, "%s is %q; must be one of %s", name, activation, strings.Join(slices.Sorted(maps.Keys(activations)), ", "))
	}
	e, d := &c.Encoder, &c.Decoder
	hidden := size("encoder.hidden_size", e.HiddenSize)
	if size("encoder.num_attention_heads", e.NumAttentionHeads) && hidden {
		check(e.HiddenSize%e.NumAttentionHeads == 0, "encoder.num_attention_heads is %d; must divide hidden_size %d", e.NumAttentionHeads, e.HiddenSize)
	}
	within("encoder.num_hidden_layers", e.NumHiddenLayers, maxLayers)
	size("encoder.intermediate_size", e.IntermediateSize)
	image := within("encoder.image_size", e.ImageSize, maxSide)
	if size("encoder.patch_size", e.PatchSize) && image {
		check(e.ImageSize%e.PatchSize == 0, "encoder.patch_size is %d; must divide image_size %d", e.PatchSize, e.ImageSize)
	}
	check(e.NumChannels == 3, "encoder.num_channels is %d; must be 3", e.NumChannels)
	check(e.LayerNormEps > 0 && e.LayerNormEps < 1, "encoder.layer_norm_eps is %g; must be between 0 and 1", e.LayerNormEps)
	known("encoder.hidden_act", e.HiddenAct)

	width := size("decoder.n_embd", d.NEmbd)
	if size("decoder.n_head", d.NHead) && width {
		check(d.NEmbd%d.NHead == 0, "decoder.n_head is %d; must divide n_embd %d", d.NHead, d.NEmbd)
	}
	within("decoder.n_layer", d.NLayer, maxLayers)
	size("decoder.n_positions", d.NPositions)
	check(d.NInner >= 0 && d.NInner <= maxSize, "decoder.n_inner is %d; must be from 0 to %d", d.NInner, maxSize)
	check(d.LayerNormEpsilon > 0 && d.LayerNormEpsilon < 1, "decoder.layer_norm_epsilon is %g; must be between 0 and 1", d.LayerNormEpsilon)
	known("decoder.activation_function", d.ActivationFunction)
	for _, p := range []struct {
		name string
		rate float64
	}{{"embd_pdrop", d.EmbdPdrop}, {"attn_pdrop", d.AttnPdrop}, {"resid_pdrop", d.ResidPdrop}} {
		check(p.rate >= 0 && p.rate < 1, "decoder.%s is %g; must be from 0 to below 1", p.name, p.rate)
	}
	if size("decoder.vocab_size", d.VocabSize) {
		ids := []struct {
			name string
			id   int
		}{{"decoder_start_token_id", c.DecoderStartTokenID}, {"bos_token_id", c.BOSTokenID}, {"eos_token_id", c.EOSTokenID}, {"pad_token_id", c.PadTokenID}}
		for _, t := range ids {
			check(t.id >= 0 && t.id < d.VocabSize, "%s is %d; must be from 0 to below vocab_size %d", t.name, t.id, d.VocabSize)
		}
	}
	return oneLine(errs)
}

// oneLine joins errors as one line.
func oneLine(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	text := errs[0].Error()
	for _, e := range errs[1:] {
		text += "; " + e.Error()
	}
	return errors.New(text)
}
