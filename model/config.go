package model

// ViTConfig is the encoder: Hugging Face's ViTConfig.
type ViTConfig struct {
	HiddenSize        int     `json:"hidden_size"`
	NumHiddenLayers   int     `json:"num_hidden_layers"`
	NumAttentionHeads int     `json:"num_attention_heads"`
	IntermediateSize  int     `json:"intermediate_size"`
	ImageSize         int     `json:"image_size"` // side of the square picture, pixels
	PatchSize         int     `json:"patch_size"` // side of a patch, pixels
	NumChannels       int     `json:"num_channels"`
	LayerNormEps      float64 `json:"layer_norm_eps"`
	HiddenAct         string  `json:"hidden_act"` // gelu
	QKVBias           bool    `json:"qkv_bias"`
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
	ActivationFunction string  `json:"activation_function"` // gelu_new
	EmbdPdrop          float64 `json:"embd_pdrop"`
	AttnPdrop          float64 `json:"attn_pdrop"`
	ResidPdrop         float64 `json:"resid_pdrop"`
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
	TieWordEmbeddings   bool // always true: logits are computed with wte
}
