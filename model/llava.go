package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// A captioner of the kind Prefix in Hugging Face's form: a LlavaForConditionalGeneration of vision tower, projector and
// a Llama or a GPT-2. Names of tensors are those that save_pretrained of transformers 4.57 writes and every version reads.

// ProjectorConfig is what makes a picture's vectors those that stand before a caption: LLaVA's multi_modal_projector.
type ProjectorConfig struct {
	HiddenAct string // between the two layers: one of activations, or linear for none
	Bias      bool
	DropFirst bool // without the encoder's first vector, as vision_feature_select_strategy default has it

	// above 0 a SmolVLM's connector in the place of both layers: vectors of as many by as many neighbouring patches
	// become one (pixel shuffle), which one layer without bias makes one of the decoder's
	ScaleFactor int
}

// Kinds of projections that a projector is made as.
const (
	ProjectionMLP    = "mlp"    // two layers, gelu between them
	ProjectionLinear = "linear" // two layers, nothing between them; the second begins as the identity
)

// Projections are the kinds of projections.
func Projections() []string { return []string{ProjectionMLP, ProjectionLinear} }

// setProjection makes a projector of a kind; "" is mlp.
func (p *ProjectorConfig) setProjection(kind string) {
	p.Bias, p.HiddenAct, p.ScaleFactor = true, "gelu", 0
	if kind == ProjectionLinear {
		p.HiddenAct = linearAct
	}
}

const (
	llava         = "llava" // model_type
	linearAct     = "linear"
	visionTower   = "vision_tower."
	projectorRoot = "multi_modal_projector."
	projectorIn   = projectorRoot + "linear_1"
	projectorOut  = projectorRoot + "linear_2"
)

func newLlavaProjector(c *Config, bind Bind) *Projector {
	width, p := c.DecoderWidth(), &c.Projector
	if r := p.ScaleFactor; r > 0 {
		return &Projector{
			First: newLinear(bind, connector, c.Encoder.HiddenSize*r*r, width, false), Shuffle: r, names: [2]string{connector},
		}
	}
	second := newLinear(bind, projectorOut, width, width, p.Bias)
	return &Projector{
		First: newLinear(bind, projectorIn, c.Encoder.HiddenSize, width, p.Bias), Act: activations[p.HiddenAct],
		Second: &second, DropFirst: p.DropFirst, names: [2]string{projectorIn, projectorOut},
	}
}

// llavaJSON is what this package reads of, and writes to, a LlavaForConditionalGeneration's config.json.
type llavaJSON struct {
	Architectures       []string     `json:"architectures,omitempty"`
	BOSTokenID          *int         `json:"bos_token_id"`
	DecoderStartTokenID *int         `json:"decoder_start_token_id"`
	DType               string       `json:"torch_dtype,omitempty"`
	EOSTokenID          *int         `json:"eos_token_id"`
	ImageSeqLength      int          `json:"image_seq_length"`
	ImageTokenIndex     *int         `json:"image_token_index"`
	ImageTokenID        *int         `json:"image_token_id,omitempty"` // read in the place of image_token_index
	ModelType           string       `json:"model_type"`
	ProjectorBias       *bool        `json:"multimodal_projector_bias"`
	PadTokenID          *int         `json:"pad_token_id"`
	PromptIDs           []int32      `json:"prompt_ids,omitempty"` // no key of transformers'
	ProjectorHiddenAct  string       `json:"projector_hidden_act"`
	TextConfig          textJSON     `json:"text_config"`
	TieWordEmbeddings   *bool        `json:"tie_word_embeddings,omitempty"`
	VisionConfig        towerJSON    `json:"vision_config"`
	FeatureLayer        featureLayer `json:"vision_feature_layer"`
	SelectStrategy      string       `json:"vision_feature_select_strategy"`
}

// towerJSON is the vision tower.
type towerJSON struct {
	encoderJSON
	// hidden_states[-1] is the last_hidden_state, as transformers 4.57 has it, which does not know the key; transformers
	// 5 otherwise takes a SigLIP's before its last norm
	TieLast *bool `json:"tie_last_hidden_states,omitempty"`
}

func (t *towerJSON) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &t.encoderJSON); err != nil {
		return err
	}
	var own struct {
		TieLast *bool `json:"tie_last_hidden_states"`
	}
	err := json.Unmarshal(b, &own)
	t.TieLast = own.TieLast
	return err
}

// textJSON is the decoder: a Llama, or a GPT-2 where gpt2 says so.
type textJSON struct {
	llama llamaJSON
	gpt2  *decoderJSON
}

func (t textJSON) MarshalJSON() ([]byte, error) {
	if t.gpt2 != nil {
		return json.Marshal(t.gpt2)
	}
	return json.Marshal(t.llama)
}

func (t *textJSON) UnmarshalJSON(b []byte) error {
	var of struct {
		ModelType string `json:"model_type"`
	}
	if err := json.Unmarshal(b, &of); err != nil {
		return err
	}
	if of.ModelType == gpt2Type {
		t.gpt2 = &decoderJSON{GPT2Config: defaultGPT2(), InitializerRange: 0.02}
		return json.Unmarshal(b, t.gpt2)
	}
	return json.Unmarshal(b, &t.llama)
}

// padTokenID is the decoder's own.
func (t *textJSON) padTokenID() **int {
	if t.gpt2 != nil {
		return &t.gpt2.PadTokenID
	}
	return &t.llama.PadTokenID
}

// initializerRange is the deviation of the decoder's initial weights.
func (t *textJSON) initializerRange() float64 {
	if t.gpt2 != nil {
		return t.gpt2.InitializerRange
	}
	return t.llama.InitializerRange
}

// fill sets what the keys say of a captioner: the decoder, its special tokens, and whether the table is tied.
func (t *textJSON) fill(c *Config) error {
	if t.gpt2 != nil {
		return t.gpt2.fill(c)
	}
	return t.llama.fill(c)
}

// llamaJSON is LlamaConfig as a file has it.
type llamaJSON struct {
	Architectures []string `json:"architectures,omitempty"`
	ModelType     string   `json:"model_type"`
	LlamaConfig
	NumKeyValueHeads  *int      `json:"num_key_value_heads"`
	HeadDim           *int      `json:"head_dim"`
	RopeScaling       *ropeJSON `json:"rope_scaling"`
	RopeParameters    *ropeJSON `json:"rope_parameters,omitempty"` // both keys in one, as transformers 5 writes them
	BOSTokenID        *int      `json:"bos_token_id"`
	EOSTokenID        *int      `json:"eos_token_id"`
	PadTokenID        *int      `json:"pad_token_id"`
	InitializerRange  float64   `json:"initializer_range"`
	TieWordEmbeddings *bool     `json:"tie_word_embeddings"`
	UseCache          bool      `json:"use_cache"`
	PretrainingTP     int       `json:"pretraining_tp,omitempty"`
	PartialRotary     *float64  `json:"partial_rotary_factor,omitempty"`
}

type ropeJSON struct {
	RopeScaling
	OldType string   `json:"type,omitempty"` // of rope_type
	Theta   *float64 `json:"rope_theta,omitempty"`
}

// featureLayer is the number of one of the encoder's hidden states, counted from behind.
type featureLayer int

func (f *featureLayer) UnmarshalJSON(b []byte) error {
	var n int
	if json.Unmarshal(b, &n) != nil || n >= 0 {
		return fmt.Errorf("vision_feature_layer is %s; only one that is counted from behind is supported, such as -1", b)
	}
	*f = featureLayer(n)
	return nil
}

// Strategies of vision_feature_select_strategy.
const (
	selectFull    = "full"
	selectDefault = "default" // the first vector is left out
)

// llavaJSON is a Prefix captioner in Hugging Face's form.
func (c *Config) llavaJSON() llavaJSON {
	yes, bias, prefix := true, c.Projector.Bias, c.PrefixLength()
	j := llavaJSON{
		Architectures: []string{"LlavaForConditionalGeneration"}, ModelType: llava, DType: "float32",
		BOSTokenID: &c.BOSTokenID, EOSTokenID: &c.EOSTokenID, PadTokenID: &c.PadTokenID,
		DecoderStartTokenID: &c.DecoderStartTokenID, ImageTokenIndex: &c.ImageTokenID, ImageSeqLength: prefix,
		ProjectorBias: &bias, ProjectorHiddenAct: c.Projector.HiddenAct,
		FeatureLayer: featureLayer(-1 - c.Encoder.UnusedLayers), SelectStrategy: selectFull,
		TextConfig: c.textJSON(), TieWordEmbeddings: &c.TieWordEmbeddings, PromptIDs: c.PromptIDs,
		VisionConfig: towerJSON{encoderJSON: c.Encoder.json()},
	}
	if c.Projector.DropFirst {
		j.SelectStrategy = selectDefault
	}
	if c.Encoder.UnusedLayers == 0 && c.Encoder.Names().Norm != "" {
		j.VisionConfig.TieLast = &yes
	}
	return j
}

// textJSON is a Prefix's decoder in Hugging Face's form.
func (c *Config) textJSON() textJSON {
	if c.GPT2 {
		gpt2 := c.gpt2JSON()
		return textJSON{gpt2: &gpt2}
	}
	return textJSON{llama: c.llamaJSON()}
}

// llamaJSON is a Llama in Hugging Face's form.
func (c *Config) llamaJSON() llamaJSON {
	l := c.Llama
	j := llamaJSON{
		Architectures: []string{"LlamaForCausalLM"}, ModelType: llamaType, LlamaConfig: l,
		NumKeyValueHeads: &l.NumKeyValueHeads, HeadDim: &l.HeadDim, UseCache: true,
		BOSTokenID: &c.BOSTokenID, EOSTokenID: &c.EOSTokenID, // no pad_token_id, whose embedding transformers does not train
		TieWordEmbeddings: &c.TieWordEmbeddings, InitializerRange: initStd(l.HiddenSize),
	}
	if l.Rope.Type != "" {
		j.RopeScaling = &ropeJSON{RopeScaling: l.Rope}
	}
	return j
}

// defaultLlava is what absent keys mean.
func defaultLlava() llavaJSON {
	return llavaJSON{
		ProjectorHiddenAct: "gelu", FeatureLayer: -2, SelectStrategy: selectDefault, TextConfig: defaultText(),
	}
}

func defaultText() textJSON {
	return textJSON{llama: llamaJSON{ModelType: llamaType, LlamaConfig: defaultLlama(), InitializerRange: 0.02}}
}

// config is the network that the keys describe, sizes not checked.
func (j *llavaJSON) config() (*Config, error) {
	if err := j.supported(); err != nil {
		return nil, err
	}
	c := &Config{Kind: Prefix, Encoder: j.VisionConfig.config()}
	c.Encoder.Tower, c.Encoder.UnusedLayers = true, -1-int(j.FeatureLayer)
	c.Projector = ProjectorConfig{
		HiddenAct: j.ProjectorHiddenAct, Bias: j.ProjectorBias == nil || *j.ProjectorBias,
		DropFirst: j.SelectStrategy == selectDefault,
	}
	if err := j.TextConfig.fill(c); err != nil {
		return nil, fmt.Errorf("text_config.%w", err)
	}
	c.BOSTokenID = first(&c.BOSTokenID, j.BOSTokenID)
	c.EOSTokenID = first(&c.EOSTokenID, j.EOSTokenID)
	c.PadTokenID = first(&c.EOSTokenID, j.PadTokenID, *j.TextConfig.padTokenID())
	c.DecoderStartTokenID = first(&c.BOSTokenID, j.DecoderStartTokenID)
	imageToken := 32000 // LlavaConfig's default
	c.ImageTokenID = first(&imageToken, j.ImageTokenIndex, j.ImageTokenID)
	if len(j.PromptIDs) > 0 {
		c.PromptIDs = j.PromptIDs
	}
	return c, nil
}

// supported checks the keys that are not sizes.
func (j *llavaJSON) supported() error {
	e := &j.VisionConfig
	switch {
	case e.ModelType != e.kind().modelType:
		return fmt.Errorf("vision_config.model_type is %q; must be %s", e.ModelType, encoderTypes())
	case e.UseSwiGLU != nil && *e.UseSwiGLU:
		return errors.New("vision_config.use_swiglu_ffn is true; only DINOv2 models without it are supported")
	case j.SelectStrategy != selectFull && j.SelectStrategy != selectDefault:
		return fmt.Errorf("vision_feature_select_strategy is %q; must be %s or %s", j.SelectStrategy, selectFull, selectDefault)
	case j.SelectStrategy == selectDefault && e.Names().ClassToken == "":
		return fmt.Errorf("vision_feature_select_strategy is %s, which leaves out the class token, and a %s has none: it must "+
			"be %s", selectDefault, e.Name(), selectFull)
	case j.FeatureLayer == -1 && e.Names().Norm != "" && (e.TieLast == nil || !*e.TieLast):
		return fmt.Errorf("vision_feature_layer is -1, which is before the %s's last norm for some versions of transformers "+
			"and after it for others: set vision_config.tie_last_hidden_states to true for after, the only one that is "+
			"supported, or choose another layer", e.Name())
	}
	return nil
}

// fill sets what a Llama's keys say of a captioner: the decoder, its special tokens, and whether the table is tied.
func (j *llamaJSON) fill(c *Config) error {
	if err := j.supported(); err != nil {
		return err
	}
	l := j.LlamaConfig
	l.NumKeyValueHeads = first(&l.NumAttentionHeads, j.NumKeyValueHeads)
	if l.NumAttentionHeads > 0 {
		l.HeadDim = l.HiddenSize / l.NumAttentionHeads
	}
	l.HeadDim = first(&l.HeadDim, j.HeadDim)
	for _, r := range []*ropeJSON{j.RopeScaling, j.RopeParameters} {
		if r == nil {
			continue
		}
		if l.Rope = r.RopeScaling; l.Rope.Type == "" {
			l.Rope.Type = r.OldType
		}
		if r.Theta != nil {
			l.RopeTheta = *r.Theta
		}
	}
	if l.Rope.Type == ropeDefault {
		l.Rope = RopeScaling{}
	}
	c.Llama, c.TieWordEmbeddings = l, j.TieWordEmbeddings != nil && *j.TieWordEmbeddings
	bos, eos := 1, 2 // LlamaConfig's defaults
	c.BOSTokenID, c.EOSTokenID = first(&bos, j.BOSTokenID), first(&eos, j.EOSTokenID)
	c.PadTokenID, c.DecoderStartTokenID = first(&c.EOSTokenID, j.PadTokenID), c.BOSTokenID
	return nil
}

func (j *llamaJSON) supported() error {
	switch {
	case j.ModelType != llamaType:
		return fmt.Errorf("model_type is %q; must be %s or %s", j.ModelType, llamaType, gpt2Type)
	case j.PretrainingTP > 1:
		return fmt.Errorf("pretraining_tp is %d; must be 1", j.PretrainingTP)
	case j.PartialRotary != nil && *j.PartialRotary != 1:
		return fmt.Errorf("partial_rotary_factor is %g; must be 1", *j.PartialRotary)
	}
	return nil
}

// llavaName is the network's name of a LLaVA's tensor, as older and newer versions of transformers write it; "" for
// what it has no use for.
func (c *Config) llavaName(name string) string {
	if c.Projector.ScaleFactor > 0 {
		name = smolvlmName(name)
	}
	name = strings.TrimPrefix(name, "model.")
	switch {
	case strings.HasPrefix(name, visionTower):
		return c.towerName(strings.TrimPrefix(name, visionTower))
	case strings.HasPrefix(name, projectorRoot):
		return name
	case name == headEnd:
		return textHeadName
	case strings.HasPrefix(name, languageModel):
		return c.textName(strings.TrimPrefix(name, languageModel))
	}
	return name
}

// headEnd ends the name of the logits' matrix.
const headEnd = "lm_head.weight"

// textName is the network's name of a tensor of a Llama or a GPT-2 by itself.
func (c *Config) textName(name string) string {
	for _, unused := range []string{".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"} {
		if strings.HasSuffix(name, unused) {
			return ""
		}
	}
	if name == headEnd {
		return textHeadName
	}
	return textRoot + strings.TrimPrefix(strings.TrimPrefix(name, "model."), "transformer.")
}

// towerName is the network's name of a vision tower's tensor, without those of layers that are not run.
func (c *Config) towerName(name string) string {
	name = c.Encoder.tensor(name)
	if c.Encoder.UnusedLayers == 0 {
		return name
	}
	if n := c.Encoder.Names(); n.Norm != "" && strings.HasPrefix(name, n.Norm+".") {
		return ""
	}
	for i := range c.Encoder.UnusedLayers {
		prefix := fmt.Sprintf(c.Encoder.Names().Layer, c.Encoder.NumHiddenLayers-1-i)
		if strings.HasPrefix(name, prefix) {
			return ""
		}
	}
	return name
}

// inMemory is the name that a tensor or module has in Python, by which PEFT knows it: a LLaVA's files have others.
func (c *Config) inMemory(name string) string {
	if c.Kind != Prefix {
		return name
	}
	if c.Projector.ScaleFactor > 0 {
		for _, n := range SmolVLMNames {
			if rest, ok := strings.CutPrefix(name, n[0]); ok {
				return n[1] + rest
			}
		}
	}
	for _, r := range [][2]string{
		{textRoot, "model.language_model."}, {languageModel, ""}, {visionTower, "model." + visionTower},
		{projectorRoot, "model." + projectorRoot},
	} {
		if rest, ok := strings.CutPrefix(name, r[0]); ok {
			return r[1] + rest
		}
	}
	return name
}
