package model

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
)

// ReadPartsConfig reads the captioner that an encoder's and a decoder's
// directories make together, as from_encoder_decoder_pretrained does: an encoder of any kind
// with or without a classifier or a text model, and a GPT-2 that is given cross-attention.
// Captions begin with the decoder's begin token and are padded with its end token.
func ReadPartsConfig(encoder, decoder string) (*Config, error) {
	c, _, err := readPartsConfig(encoder, decoder)
	return c, err
}

// ReadParts reads the weights of both, too, and draws those that join them by seed.
func ReadParts(encoder, decoder string, seed uint64) (*Config, Weights, error) {
	c, std, err := readPartsConfig(encoder, decoder)
	if err != nil {
		return nil, nil, err
	}
	w, missing := Weights{}, c.Shapes()
	for _, part := range []struct {
		dir, prefix string
		rename      func(string) string
	}{{encoder, "encoder.", c.encoderName}, {decoder, "decoder.", c.decoderName}} {
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

// readPartsConfig also answers the deviation of the decoder's initial weights.
func readPartsConfig(encoder, decoder string) (*Config, float64, error) {
	j := defaultVED()
	if err := readConfigFile(encoder, &j.Encoder); err != nil {
		return nil, 0, err
	}
	j.Decoder.InitializerRange = 0.02
	if err := readConfigFile(decoder, &j.Decoder); err != nil {
		return nil, 0, err
	}
	j.ModelType = visionEncoderDecoder
	j.Decoder.AddCrossAttention = true
	j.Decoder.DecoderStartTokenID, j.Decoder.PadTokenID = nil, nil // follow from the others
	c, err := j.config()
	if err == nil {
		err = c.Validate()
	}
	std := j.Decoder.InitializerRange
	if err == nil && (std <= 0 || std > 1) {
		err = fmt.Errorf("decoder.initializer_range is %g; must be above 0 and at most 1", std)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s and %s: %w", filepath.Join(encoder, configName),
			filepath.Join(decoder, configName), err)
	}
	return c, std, nil
}

// readPart reads the tensors under prefix. The decoder's cross-attention may be missing.
func readPart(c *Config, dir, prefix string, rename func(string) string) (Weights, error) {
	f, err := openTensors(dir)
	if err != nil {
		return nil, err
	}
	defer f.close()
	f.rename(rename)
	if c.TieWordEmbeddings {
		f.tie()
	}
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
	return c.tensorName("encoder." + name)
}

// decoderName is the network's name of a GPT-2's tensor, "" for those of its masks.
func (c *Config) decoderName(name string) string {
	if name == "lm_head.weight" {
		return lmHeadName
	}
	return c.tensorName("decoder.transformer." + strings.TrimPrefix(name, "transformer."))
}

// join draws a tensor between encoder and decoder as transformers initialises
// it: the decoder's cross-attention as all of GPT-2, and the projection, which no
// initialisation of theirs reaches, as torch's nn.Linear by its input's width.
func join(c *Config, name string, shape []int, std float64, seed uint64) *Tensor {
	if !strings.HasPrefix(name, "enc_to_dec_proj.") {
		return draw(name, shape, std, c.Decoder.NLayer, seed)
	}
	t := &Tensor{Shape: shape, Data: make([]float32, elements(shape))}
	rng, bound := generator(name, seed), 1/math.Sqrt(float64(c.Encoder.HiddenSize))
	for i := range t.Data {
		t.Data[i] = float32((2*rng.Float64() - 1) * bound)
	}
	return t
}
