package model

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
)

// Parts are the directories of an encoder and a decoder that a captioner is made of: an encoder of any kind with or
// without a classifier or a text model, and a GPT-2 that is given cross-attention, as from_encoder_decoder_pretrained
// does, or a Llama or GPT-2 that a projector gives the picture's vectors as if they were tokens'.
type Parts struct {
	Encoder, Decoder string
	Prefix           bool   // a GPT-2 is given no cross-attention; a Llama never is
	Projection       string // of a Prefix, one of Projections; "": mlp
	ScaleFactor      int    // of a Prefix, in the place of Projection; see ProjectorConfig
}

// ReadConfig reads the captioner that the parts make together. Captions begin with the decoder's begin token and are
// padded with its end token.
func (p Parts) ReadConfig() (*Config, error) {
	c, _, err := p.readConfig()
	return c, err
}

// Read reads the weights of both, too, and draws those that join them by seed.
func (p Parts) Read(seed uint64) (*Config, Weights, error) {
	c, std, err := p.readConfig()
	if err != nil {
		return nil, nil, err
	}
	w, missing := Weights{}, c.Shapes()
	for _, part := range []struct {
		dir, prefix string
		rename      func(string) string
	}{{p.Encoder, c.Encoder.root(), c.encoderName}, {p.Decoder, c.decoderRoot(), c.decoderName}} {
		read, err := readPart(c, part.dir, part.prefix, part.rename)
		if err != nil {
			return nil, nil, err
		}
		for name, t := range read {
			w[name] = t
			delete(missing, name)
		}
	}
	for name, shape := range missing {
		w[name] = join(c, name, shape, std, seed)
	}
	c.setIdentity(w)
	return c, w, nil
}

// TextModelBeside says whether an encoder's directory holds a text model, too, which ReadParts leaves out.
func TextModelBeside(dir string) (bool, error) {
	var j struct {
		ModelType string `json:"model_type"`
	}
	if err := readConfigFile(dir, &j); err != nil {
		return false, err
	}
	_, towers, _ := encoderKindOf(j.ModelType)
	return towers, nil
}

// readConfig also answers the deviation of the decoder's initial weights.
func (p Parts) readConfig() (c *Config, std float64, err error) {
	var encoder encoderJSON
	if err := readConfigFile(p.Encoder, &encoder); err != nil {
		return nil, 0, err
	}
	var of struct {
		ModelType string `json:"model_type"`
	}
	if err := readConfigFile(p.Decoder, &of); err != nil {
		return nil, 0, err
	}
	switch {
	case of.ModelType != llamaType && of.ModelType != gpt2Type:
		err = fmt.Errorf("decoder.model_type is %q; must be %s or %s", of.ModelType, gpt2Type, llamaType)
	case of.ModelType == llamaType || p.Prefix:
		c, std, err = p.asPrefix(encoder)
	default:
		c, std, err = p.withGPT2(encoder)
	}
	if err == nil {
		err = c.Validate()
	}
	if err == nil && (std <= 0 || std > 1) {
		err = fmt.Errorf("decoder.initializer_range is %g; must be above 0 and at most 1", std)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s and %s: %w", filepath.Join(p.Encoder, configName),
			filepath.Join(p.Decoder, configName), err)
	}
	return c, std, nil
}

func (p Parts) withGPT2(encoder encoderJSON) (*Config, float64, error) {
	if p.ScaleFactor != 0 {
		return nil, 0, fmt.Errorf("scale_factor is %d; only of the kind prefix are a picture's vectors made fewer", p.ScaleFactor)
	}
	if p.Projection != "" {
		return nil, 0, fmt.Errorf("projection is %s; only the kind prefix has one, a GPT-2 of another attends to the encoder's "+
			"vectors", p.Projection)
	}
	j := defaultVED()
	j.ModelType, j.Encoder, j.Decoder.InitializerRange = visionEncoderDecoder, encoder, 0.02
	if err := readConfigFile(p.Decoder, &j.Decoder); err != nil {
		return nil, 0, err
	}
	j.Decoder.AddCrossAttention = true
	j.Decoder.DecoderStartTokenID, j.Decoder.PadTokenID = nil, nil // follow from the others
	c, err := j.config()
	return c, j.Decoder.InitializerRange, err
}

func (p Parts) asPrefix(encoder encoderJSON) (*Config, float64, error) {
	yes := true
	j := defaultLlava()
	j.VisionConfig = towerJSON{encoderJSON: encoder, TieLast: &yes}
	j.FeatureLayer, j.SelectStrategy = -1, selectFull
	if err := readConfigFile(p.Decoder, &j.TextConfig); err != nil {
		return nil, 0, err
	}
	*j.TextConfig.padTokenID() = nil // follows from the end token
	c, err := j.config()
	if err != nil {
		return nil, 0, err
	}
	if c.Projector.setProjection(p.Projection); p.ScaleFactor > 0 {
		c.Projector.setScaleFactor(p.ScaleFactor)
	}
	c.setImageToken()
	return c, j.TextConfig.initializerRange(), nil
}

// readPart reads the tensors under prefix. The decoder's cross-attention may be missing.
func readPart(c *Config, dir, prefix string, rename func(string) string) (Weights, error) {
	f, err := openTensors(dir)
	if err != nil {
		return nil, err
	}
	defer f.close()
	f.rename(rename)
	f.tie(c)
	shapes := c.Shapes()
	for name := range shapes {
		_, found := f.found[name]
		if !strings.HasPrefix(name, prefix) || !found && crossAttention(name) {
			delete(shapes, name)
		}
	}
	return f.read(shapes)
}

func crossAttention(name string) bool {
	return strings.Contains(name, ".crossattention.") || strings.Contains(name, ".ln_cross_attn.")
}

// besideEncoder begin the names of what models have beside the encoder: classifiers, and a text model and
// what compares it with the picture.
var besideEncoder = []string{
	"classifier.", "cls_classifier.", "distillation_classifier.",
	"text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias",
}

// encoderName is the network's name of an encoder's tensor, "" for those it does not need.
func (c *Config) encoderName(name string) string {
	for _, base := range []string{"vit.", "deit.", "dinov2."} {
		name = strings.TrimPrefix(name, base)
	}
	for _, head := range besideEncoder {
		if strings.HasPrefix(name, head) {
			return ""
		}
	}
	if c.Kind == Prefix {
		return c.towerName(name)
	}
	return c.tensorName(encoderRoot + name)
}

// decoderName is the network's name of the decoder's tensor, "" for what it has no use for.
func (c *Config) decoderName(name string) string {
	if c.Kind == Prefix {
		return c.textName(name)
	}
	if name == "lm_head.weight" {
		return lmHeadName
	}
	return c.tensorName("decoder.transformer." + strings.TrimPrefix(name, "transformer."))
}

// join draws a tensor between encoder and decoder as transformers initialises
// it: the decoder's cross-attention as all of GPT-2, a LLaVA's projector as all of its decoder, and the projection
// before cross-attention, which no initialisation of theirs reaches, as torch's nn.Linear by its input's width.
func join(c *Config, name string, shape []int, std float64, seed uint64) *Tensor {
	if !strings.HasPrefix(name, crossProjector+".") {
		return draw(name, shape, std, c.DecoderLayers(), seed)
	}
	t := &Tensor{Shape: shape, Data: make([]float32, elements(shape))}
	rng, bound := generator(name, seed), 1/math.Sqrt(float64(c.Encoder.HiddenSize))
	for i := range t.Data {
		t.Data[i] = float32((2*rng.Float64() - 1) * bound)
	}
	return t
}
