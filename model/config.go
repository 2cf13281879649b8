package model

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"distilvit/model/preset"
)

// EncoderConfig is the encoder, by the keys of Hugging Face's ViTConfig; other kinds' keys are read into
// them.
type EncoderConfig struct {
	Kind              EncoderKind `json:"-"`
	HiddenSize        int         `json:"hidden_size"`
	NumHiddenLayers   int         `json:"num_hidden_layers"`
	NumAttentionHeads int         `json:"num_attention_heads"`
	IntermediateSize  int         `json:"intermediate_size"`
	ImageSize         int         `json:"image_size"` // side of the square picture, pixels
	PatchSize         int         `json:"patch_size"` // side of a patch, pixels
	NumChannels       int         `json:"num_channels"`
	LayerNormEps      float64     `json:"layer_norm_eps"`
	HiddenAct         string      `json:"hidden_act"` // one of activations
	QKVBias           bool        `json:"qkv_bias"`

	Tower        bool `json:"-"` // of a captioner of the kind Prefix, where it has another name
	UnusedLayers int  `json:"-"` // so many of the last layers are not run, and no norm behind them
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
	// not scale_attn_weights: scores are not divided by √(head width)
	Unscaled bool `json:"-"`
	// scores of layer i, from 1, are divided by i
	ScaleByLayer bool `json:"scale_attn_by_inverse_layer_idx"`
}

// Kind is how a captioner's decoder knows of the picture.
type Kind int

// The kinds of captioners, by the Hugging Face model that each is.
const (
	CrossAttention Kind = iota // a VisionEncoderDecoderModel whose GPT-2 attends to the picture beside the caption
	Prefix                     // a LlavaForConditionalGeneration: the picture's vectors stand before the caption's tokens
)

// Config is a captioner's architecture and special tokens, read from and
// written to the config.json of the Hugging Face model that its kind is.
type Config struct {
	Kind                Kind
	Encoder             EncoderConfig
	Projector           ProjectorConfig // of a Prefix
	Decoder             GPT2Config      // of a CrossAttention, and of a Prefix with GPT2
	Llama               LlamaConfig     // of a Prefix without GPT2, in the place of Decoder
	GPT2                bool            // of a Prefix: its decoder is a GPT-2 without cross-attention
	DecoderStartTokenID int
	BOSTokenID          int
	EOSTokenID          int
	PadTokenID          int
	TieWordEmbeddings   bool // the decoder's: logits are computed with its table, not with an lm_head

	// of a Prefix: the id that stands for each of a picture's vectors where transformers is given ids
	ImageTokenID int

	// of a Prefix: the prompt, which stands between the start token and what a caption says; empty: none
	PromptIDs []int32
}

// HasLlama says whether the decoder is a Llama; else it is a GPT-2.
func (c *Config) HasLlama() bool { return c.Kind == Prefix && !c.GPT2 }

// VocabSize is the number of tokens.
func (c *Config) VocabSize() int { return *c.vocabSize() }

// SetVocabSize makes it another.
func (c *Config) SetVocabSize(n int) { *c.vocabSize() = n }

func (c *Config) vocabSize() *int {
	if c.HasLlama() {
		return &c.Llama.VocabSize
	}
	return &c.Decoder.VocabSize
}

// Positions is the number of tokens of a caption at most, start token included, without a prompt's.
func (c *Config) Positions() int { return c.allPositions() - c.PrefixLength() - len(c.PromptIDs) }

// allPositions are those of whatever the decoder reads.
func (c *Config) allPositions() int {
	if c.HasLlama() {
		return c.Llama.MaxPositionEmbeddings
	}
	return c.Decoder.NPositions
}

// PrefixLength is the number of a picture's vectors that stand before a caption.
func (c *Config) PrefixLength() int {
	switch {
	case c.Kind != Prefix:
		return 0
	case c.Projector.DropFirst:
		return c.Encoder.Tokens() - 1
	case c.Projector.ScaleFactor > 0:
		return c.Encoder.Tokens() / (c.Projector.ScaleFactor * c.Projector.ScaleFactor)
	}
	return c.Encoder.Tokens()
}

// DecoderWidth is that of the decoder's vectors.
func (c *Config) DecoderWidth() int {
	if c.HasLlama() {
		return c.Llama.HiddenSize
	}
	return c.Decoder.NEmbd
}

// DecoderLayers is the number of the decoder's layers.
func (c *Config) DecoderLayers() int { return *c.decoderLayers() }

func (c *Config) decoderLayers() *int {
	if c.HasLlama() {
		return &c.Llama.NumHiddenLayers
	}
	return &c.Decoder.NLayer
}

// KeyHeads are the heads of the decoder's keys and values, and their width.
func (c *Config) KeyHeads() (heads, width int) {
	if c.HasLlama() {
		return c.Llama.NumKeyValueHeads, c.Llama.HeadDim
	}
	return c.Decoder.NHead, c.Decoder.NEmbd / c.Decoder.NHead
}

// TableName is the name of the token embeddings.
func (c *Config) TableName() string {
	switch {
	case c.HasLlama():
		return llamaTokenName
	case c.Kind == Prefix:
		return gpt2Tokens + ".weight"
	}
	return wteName
}

// HeadName is the name of the logits' matrix where it is not the table's.
func (c *Config) HeadName() string {
	if c.Kind == Prefix {
		return textHeadName
	}
	return lmHeadName
}

// decoderRoot begins the names of the decoder's tensors.
func (c *Config) decoderRoot() string {
	if c.Kind == Prefix {
		return languageModel
	}
	return "decoder."
}

// TiedEmbedding is the name of the token embeddings where the logits are computed with them, too; else "".
func (c *Config) TiedEmbedding() string {
	if !c.TieWordEmbeddings {
		return ""
	}
	return c.TableName()
}

// SetSpecialToken makes one id start, begin, end and pad captions, as GPT-2's
// <|endoftext|> does.
func (c *Config) SetSpecialToken(id int) {
	c.DecoderStartTokenID, c.BOSTokenID, c.EOSTokenID, c.PadTokenID = id, id, id, id
	c.setImageToken()
}

// setImageToken takes the first id that stands for nothing else.
func (c *Config) setImageToken() {
	if c.Kind != Prefix {
		return
	}
	taken := []int{c.DecoderStartTokenID, c.BOSTokenID, c.EOSTokenID, c.PadTokenID}
	for _, id := range c.PromptIDs {
		taken = append(taken, int(id))
	}
	for c.ImageTokenID = 0; slices.Contains(taken, c.ImageTokenID); c.ImageTokenID++ {
	}
}

// SetPrompt makes these tokens a Prefix's prompt.
func (c *Config) SetPrompt(ids []int32) {
	if c.PromptIDs = ids; slices.Contains(ids, int32(c.ImageTokenID)) {
		c.setImageToken()
	}
}

// SetDropout says with which dropout the decoder was, or will be, trained: one rate for its
// embeddings, attention probabilities and residuals; a Llama's for attention probabilities alone. The encoder has none.
func (c *Config) SetDropout(rate float64) {
	if c.HasLlama() {
		c.Llama.AttentionDropout = rate
		return
	}
	c.Decoder.EmbdPdrop, c.Decoder.AttnPdrop, c.Decoder.ResidPdrop = rate, rate, rate
}

// Tokens is the number of vectors the encoder makes of a picture: one a patch, and the class token and
// DeiT's distillation token where the kind has them.
func (c *EncoderConfig) Tokens() int {
	side, names := c.ImageSize/c.PatchSize, c.Names()
	tokens := side * side
	for _, name := range []string{names.ClassToken, names.DistillationToken} {
		if name != "" {
			tokens++
		}
	}
	return tokens
}

// ScoreScale is what the encoder's attention scores are multiplied with.
func (c *EncoderConfig) ScoreScale() float64 {
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

// Preset returns the network a name stands for, see package preset. The special token is left to set.
func Preset(name string) (Config, bool) {
	sizes, ok := preset.Of(name)
	return NewConfig(sizes), ok
}

// NewConfig is a network of these sizes, in all else as Hugging Face has it by default. The special
// token is left to set.
func NewConfig(s preset.Sizes) Config {
	if s.Prefix {
		return newPrefix(s)
	}
	c := Config{Encoder: encoderKinds[ViT].defaults, Decoder: defaultGPT2(), TieWordEmbeddings: true}
	e, d := &c.Encoder, &c.Decoder
	e.ImageSize, e.PatchSize = s.ImageSize, s.PatchSize
	e.HiddenSize, e.IntermediateSize = s.HiddenSize, cmp.Or(s.MLPSize, 4*s.HiddenSize)
	e.NumHiddenLayers, e.NumAttentionHeads = s.EncoderLayers, s.Heads
	d.NEmbd, d.NInner, d.NLayer, d.NHead = s.HiddenSize, s.MLPSize, s.DecoderLayers, s.Heads
	d.VocabSize, d.NPositions = s.VocabSize, s.Positions
	return c
}

// newPrefix is SmolLM2 behind a SigLIP, of these sizes.
func newPrefix(s preset.Sizes) Config {
	c := Config{Kind: Prefix, Encoder: encoderKinds[SigLIP].defaults, Llama: defaultLlama(), TieWordEmbeddings: true}
	c.Projector.setProjection("")
	e, l := &c.Encoder, &c.Llama
	e.Tower, e.ImageSize, e.PatchSize = true, s.ImageSize, s.PatchSize
	e.HiddenSize, e.IntermediateSize = s.HiddenSize, cmp.Or(s.MLPSize, 4*s.HiddenSize)
	e.NumHiddenLayers, e.NumAttentionHeads = s.EncoderLayers, s.Heads
	l.HiddenSize, l.IntermediateSize, l.NumHiddenLayers = s.DecoderHiddenSize, s.DecoderMLPSize, s.DecoderLayers
	l.NumAttentionHeads, l.NumKeyValueHeads = s.DecoderHeads, s.KeyValueHeads
	if l.NumAttentionHeads > 0 {
		l.HeadDim = l.HiddenSize / l.NumAttentionHeads
	}
	l.VocabSize, l.MaxPositionEmbeddings = s.VocabSize, s.Positions
	l.RMSNormEps, l.RopeTheta = 1e-5, 100000
	return c
}

// SetProjection makes a Prefix's projector one of Projections; "" is mlp.
func (c *Config) SetProjection(kind string) { c.Projector.setProjection(kind) }

// SetScaleFactor makes a Prefix's projector a SmolVLM's connector, see ProjectorConfig.ScaleFactor.
func (c *Config) SetScaleFactor(n int) { c.Projector.setScaleFactor(n) }

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
		check(ok, "%s is %q; must be one of %s", name, activation,
			strings.Join(slices.Sorted(maps.Keys(activations)), ", "))
	}
	e, d := &c.Encoder, &c.Decoder
	hidden := size("encoder.hidden_size", e.HiddenSize)
	if size("encoder.num_attention_heads", e.NumAttentionHeads) && hidden {
		check(
			e.HiddenSize%e.NumAttentionHeads == 0,
			"encoder.num_attention_heads is %d; must divide hidden_size %d",
			e.NumAttentionHeads, e.HiddenSize,
		)
	}
	within("encoder.num_hidden_layers", e.NumHiddenLayers, maxLayers)
	size("encoder.intermediate_size", e.IntermediateSize)
	image := within("encoder.image_size", e.ImageSize, maxSide)
	if size("encoder.patch_size", e.PatchSize) && image {
		check(e.ImageSize%e.PatchSize == 0, "encoder.patch_size is %d; must divide image_size %d",
			e.PatchSize, e.ImageSize)
	}
	check(e.NumChannels == 3, "encoder.num_channels is %d; must be 3", e.NumChannels)
	check(e.LayerNormEps > 0 && e.LayerNormEps < 1, "encoder.layer_norm_eps is %g; must be between 0 and 1",
		e.LayerNormEps)
	known("encoder.hidden_act", e.HiddenAct)

	at := "decoder."
	if c.Kind == Prefix {
		at = "text_config."
	}
	if c.HasLlama() {
		c.Llama.validate(check, within)
	} else {
		d.validate(at, check, within, known)
	}
	if c.Kind == Prefix {
		c.validatePrefix(check)
	}
	if size(at+"vocab_size", c.VocabSize()) {
		ids := []struct {
			name string
			id   int
		}{
			{"decoder_start_token_id", c.DecoderStartTokenID}, {"bos_token_id", c.BOSTokenID},
			{"eos_token_id", c.EOSTokenID}, {"pad_token_id", c.PadTokenID},
		}
		if c.Kind == Prefix {
			ids = append(ids, struct {
				name string
				id   int
			}{"image_token_index", c.ImageTokenID})
		}
		for i, id := range c.PromptIDs {
			check(id >= 0 && int(id) < c.VocabSize() && int(id) != c.ImageTokenID, "prompt_ids[%d] is %d; must be from 0 to "+
				"below vocab_size %d, and not image_token_index", i, id, c.VocabSize())
		}
		for _, t := range ids {
			check(t.id >= 0 && t.id < c.VocabSize(), "%s is %d; must be from 0 to below vocab_size %d", t.name,
				t.id, c.VocabSize())
		}
	}
	return oneLine(errs)
}

// validate reports every value that cannot work; at begins the names of its keys.
func (d *GPT2Config) validate(
	at string, check func(ok bool, format string, args ...any), within func(string, int, int) bool, known func(name, act string),
) {
	width := within(at+"n_embd", d.NEmbd, maxSize)
	if within(at+"n_head", d.NHead, maxSize) && width {
		check(d.NEmbd%d.NHead == 0, at+"n_head is %d; must divide n_embd %d", d.NHead, d.NEmbd)
	}
	within(at+"n_layer", d.NLayer, maxLayers)
	within(at+"n_positions", d.NPositions, maxSize)
	check(d.NInner >= 0 && d.NInner <= maxSize, at+"n_inner is %d; must be from 0 to %d",
		d.NInner, maxSize)
	check(d.LayerNormEpsilon > 0 && d.LayerNormEpsilon < 1,
		at+"layer_norm_epsilon is %g; must be between 0 and 1", d.LayerNormEpsilon)
	known(at+"activation_function", d.ActivationFunction)
	for _, p := range []struct {
		name string
		rate float64
	}{{"embd_pdrop", d.EmbdPdrop}, {"attn_pdrop", d.AttnPdrop}, {"resid_pdrop", d.ResidPdrop}} {
		check(p.rate >= 0 && p.rate < 1, at+"%s is %g; must be from 0 to below 1", p.name, p.rate)
	}
}

// validatePrefix reports every value of the projector that cannot work, and positions that leave no room for captions.
func (c *Config) validatePrefix(check func(ok bool, format string, args ...any)) {
	act := c.Projector.HiddenAct
	_, ok := activations[act]
	check(ok || act == linearAct, "projector_hidden_act is %q; must be %s or one of %s", act, linearAct,
		strings.Join(slices.Sorted(maps.Keys(activations)), ", "))
	c.validateScaleFactor(check)
	e := &c.Encoder
	check(e.UnusedLayers < e.NumHiddenLayers, "vision_feature_layer is %d; must be from -%d to -1", -1-e.UnusedLayers,
		e.NumHiddenLayers)
	positions := "n_positions"
	if c.HasLlama() {
		positions = "max_position_embeddings"
	}
	if e.PatchSize > 0 && e.ImageSize > 0 {
		check(c.Positions() >= 2, "text_config.%s is %d, and a picture's vectors take %d of them%s; there "+
			"must be room for captions", positions, c.allPositions(), c.PrefixLength(), c.promptTakes())
	}
}

// promptTakes says how many positions a prompt takes, if there is one.
func (c *Config) promptTakes() string {
	if len(c.PromptIDs) == 0 {
		return ""
	}
	return fmt.Sprintf(", the prompt %d", len(c.PromptIDs))
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
