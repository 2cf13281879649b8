package model

import "math"

// LlamaConfig is the decoder of a captioner of the kind Prefix: Hugging Face's LlamaConfig.
type LlamaConfig struct {
	VocabSize             int         `json:"vocab_size"`
	HiddenSize            int         `json:"hidden_size"`
	IntermediateSize      int         `json:"intermediate_size"`
	NumHiddenLayers       int         `json:"num_hidden_layers"`
	NumAttentionHeads     int         `json:"num_attention_heads"`
	NumKeyValueHeads      int         `json:"num_key_value_heads"` // as many share those of queries
	HeadDim               int         `json:"head_dim"`            // width of a head
	MaxPositionEmbeddings int         `json:"max_position_embeddings"`
	RMSNormEps            float64     `json:"rms_norm_eps"`
	HiddenAct             string      `json:"hidden_act"` // silu
	RopeTheta             float64     `json:"rope_theta"`
	Rope                  RopeScaling `json:"-"`
	AttentionBias         bool        `json:"attention_bias"`
	MLPBias               bool        `json:"mlp_bias"`
	AttentionDropout      float64     `json:"attention_dropout"`
}

// RopeScaling stretches the positions of RoPE. It is the same at every length that max_position_embeddings allows, so
// that dynamic scaling, which begins behind it, does nothing.
type RopeScaling struct {
	Type                          string  `json:"rope_type"` // "": none
	Factor                        float64 `json:"factor,omitempty"`
	LowFreqFactor                 float64 `json:"low_freq_factor,omitempty"`  // llama3's
	HighFreqFactor                float64 `json:"high_freq_factor,omitempty"` // llama3's
	OriginalMaxPositionEmbeddings int     `json:"original_max_position_embeddings,omitempty"`
}

// Types of RoPE's scaling that are known.
const (
	RopeLinear  = "linear"
	RopeDynamic = "dynamic"
	RopeLlama3  = "llama3"
	ropeDefault = "default" // none
)

const llamaType = "llama" // model_type

// defaultLlama are the values an absent key of Hugging Face's LlamaConfig has.
func defaultLlama() LlamaConfig {
	return LlamaConfig{
		VocabSize: 32000, HiddenSize: 4096, IntermediateSize: 11008, NumHiddenLayers: 32, NumAttentionHeads: 32,
		MaxPositionEmbeddings: 2048, RMSNormEps: 1e-6, HiddenAct: "silu", RopeTheta: 10000,
	}
}

// validate reports every value that cannot work.
func (c *LlamaConfig) validate(check func(ok bool, format string, args ...any), within func(string, int, int) bool) {
	const at = "text_config."
	within(at+"hidden_size", c.HiddenSize, maxSize)
	within(at+"intermediate_size", c.IntermediateSize, maxSize)
	within(at+"num_hidden_layers", c.NumHiddenLayers, maxLayers)
	within(at+"max_position_embeddings", c.MaxPositionEmbeddings, maxSize)
	heads := within(at+"num_attention_heads", c.NumAttentionHeads, maxSize)
	if within(at+"num_key_value_heads", c.NumKeyValueHeads, maxSize) && heads {
		check(c.NumAttentionHeads%c.NumKeyValueHeads == 0, at+"num_key_value_heads is %d; must divide num_attention_heads %d",
			c.NumKeyValueHeads, c.NumAttentionHeads)
	}
	if within(at+"head_dim", c.HeadDim, maxSize) {
		check(c.HeadDim%2 == 0, at+"head_dim is %d; must be even", c.HeadDim)
	}
	check(c.RMSNormEps > 0 && c.RMSNormEps < 1, at+"rms_norm_eps is %g; must be between 0 and 1", c.RMSNormEps)
	check(c.HiddenAct == "silu", at+"hidden_act is %q; must be silu", c.HiddenAct)
	check(c.RopeTheta > 0 && !math.IsInf(c.RopeTheta, 0), at+"rope_theta is %g; must be above 0", c.RopeTheta)
	check(c.AttentionDropout >= 0 && c.AttentionDropout < 1, at+"attention_dropout is %g; must be from 0 to below 1",
		c.AttentionDropout)
	c.Rope.validate(check)
}

func (r *RopeScaling) validate(check func(ok bool, format string, args ...any)) {
	const at = "text_config.rope_scaling."
	switch r.Type {
	case "":
	case RopeLinear, RopeDynamic, RopeLlama3:
		check(r.Factor >= 1 && !math.IsInf(r.Factor, 0), at+"factor is %g; must be at least 1", r.Factor)
	default:
		check(false, at+"rope_type is %q; must be %s, %s, %s or %s", r.Type, ropeDefault, RopeLinear, RopeDynamic, RopeLlama3)
	}
	if r.Type == RopeLlama3 {
		check(r.LowFreqFactor > 0 && r.HighFreqFactor > r.LowFreqFactor,
			at+"low_freq_factor is %g and high_freq_factor %g; must be above 0, the second the larger",
			r.LowFreqFactor, r.HighFreqFactor)
		check(r.OriginalMaxPositionEmbeddings >= 1, at+"original_max_position_embeddings is %d; must be at least 1",
			r.OriginalMaxPositionEmbeddings)
	}
}
