package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"distilvit/internal/pyjson"
)

// configName is Hugging Face's name of the file.
const configName = "config.json"

// ReadConfig reads and validates dir's config.json.
func ReadConfig(dir string) (*Config, error) {
	var c Config
	if err := readConfigFile(dir, &c); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, configName), err)
	}
	return &c, nil
}

// readConfigFile reads dir's config.json into v.
func readConfigFile(dir string, v any) error {
	path := filepath.Join(dir, configName)
	b, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no config.json: not a model directory", dir)
	}
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// maxJSON bounds a config or an index, bytes: one with the names of 20,000 classes has 2 MiB.
const maxJSON = 32 << 20

// readSmall reads a JSON file, which may hold the numbers that only Python writes.
func readSmall(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxJSON {
		return nil, fmt.Errorf("%s has %d bytes; must be at most %d", path, st.Size(), maxJSON)
	}
	b, err := os.ReadFile(path)
	return pyjson.Clean(b), err
}

// WriteFile writes dir's config.json.
func (c *Config) WriteFile(dir string) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, configName), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	return nil
}

// Model types.
const (
	visionEncoderDecoder = "vision-encoder-decoder"
	gpt2Type             = "gpt2"
)

// vedJSON is what this package reads of, and writes to, a VisionEncoderDecoderModel's
// config.json. Pointers are keys that may be absent or null.
type vedJSON struct {
	Architectures       []string    `json:"architectures,omitempty"`
	BOSTokenID          *int        `json:"bos_token_id"`
	Decoder             decoderJSON `json:"decoder"`
	DecoderStartTokenID *int        `json:"decoder_start_token_id"`
	DType               string      `json:"torch_dtype,omitempty"`
	Encoder             encoderJSON `json:"encoder"`
	EOSTokenID          *int        `json:"eos_token_id"`
	IsEncoderDecoder    bool        `json:"is_encoder_decoder"`
	ModelType           string      `json:"model_type"`
	PadTokenID          *int        `json:"pad_token_id"`
	TieWordEmbeddings   *bool       `json:"tie_word_embeddings,omitempty"`
}

type encoderJSON struct {
	Architectures []string `json:"architectures,omitempty"`
	ModelType     string   `json:"model_type"`
	EncoderConfig
	ImageSize        side     `json:"image_size"`
	PatchSize        side     `json:"patch_size"`
	HiddenDropout    float64  `json:"hidden_dropout_prob"`
	AttentionDropout float64  `json:"attention_probs_dropout_prob"`
	InitializerRange float64  `json:"initializer_range"`
	MLPRatio         *float64 `json:"mlp_ratio,omitempty"`       // DINOv2's, in place of intermediate_size
	UseSwiGLU        *bool    `json:"use_swiglu_ffn,omitempty"`  // DINOv2's
	UseMaskToken     *bool    `json:"use_mask_token,omitempty"`  // DINOv2's: is it in the checkpoint?
	VisionUseHead    *bool    `json:"vision_use_head,omitempty"` // SigLIP's: is its pooling head in the checkpoint?
}

type decoderJSON struct {
	Architectures     []string `json:"architectures,omitempty"`
	ModelType         string   `json:"model_type"`
	AddCrossAttention bool     `json:"add_cross_attention"`
	IsDecoder         bool     `json:"is_decoder"`
	UseCache          bool     `json:"use_cache"`
	GPT2Config
	NInner              *int    `json:"n_inner"`
	BOSTokenID          *int    `json:"bos_token_id"`
	EOSTokenID          *int    `json:"eos_token_id"`
	PadTokenID          *int    `json:"pad_token_id"`
	DecoderStartTokenID *int    `json:"decoder_start_token_id"`
	InitializerRange    float64 `json:"initializer_range"`
	ScaleAttnWeights    *bool   `json:"scale_attn_weights,omitempty"`
	CrossHiddenSize     *int    `json:"cross_attention_hidden_size,omitempty"`
	TieWordEmbeddings   *bool   `json:"tie_word_embeddings,omitempty"`
}

// side is a square's side, written as a number and read also as [side, side].
type side int

func (s *side) UnmarshalJSON(b []byte) error {
	var one int
	if err := json.Unmarshal(b, &one); err == nil {
		*s = side(one)
		return nil
	}
	var two []int
	if err := json.Unmarshal(b, &two); err != nil {
		return fmt.Errorf("%s is not a size", b)
	}
	if len(two) != 2 || two[0] != two[1] {
		text, err := json.Marshal(two) // in one line
		if err != nil {
			return err
		}
		return fmt.Errorf("size %s is not square", text)
	}
	*s = side(two[0])
	return nil
}

// MarshalJSON writes the config in Hugging Face's form.
func (c Config) MarshalJSON() ([]byte, error) {
	if c.Kind == Prefix && c.Projector.ScaleFactor > 0 {
		return json.Marshal(c.smolvlmJSON())
	}
	if c.Kind == Prefix {
		return json.Marshal(c.llavaJSON())
	}
	no, decoder := false, c.gpt2JSON()
	decoder.AddCrossAttention, decoder.IsDecoder = true, true
	decoder.PadTokenID, decoder.DecoderStartTokenID = &c.PadTokenID, &c.DecoderStartTokenID
	return json.Marshal(vedJSON{
		Architectures: []string{"VisionEncoderDecoderModel"},
		ModelType:     visionEncoderDecoder, IsEncoderDecoder: true, DType: "float32",
		BOSTokenID: &c.BOSTokenID, EOSTokenID: &c.EOSTokenID, PadTokenID: &c.PadTokenID,
		DecoderStartTokenID: &c.DecoderStartTokenID,
		TieWordEmbeddings:   &no, // of encoder and decoder, says Hugging Face; the decoder's own is below
		Encoder:             c.Encoder.json(),
		Decoder:             decoder,
	})
}

// gpt2JSON is a GPT-2 without cross-attention in Hugging Face's form.
func (c *Config) gpt2JSON() decoderJSON {
	scaled, inner := !c.Decoder.Unscaled, c.Decoder.Inner()
	j := decoderJSON{
		Architectures: []string{"GPT2LMHeadModel"}, ModelType: gpt2Type, GPT2Config: c.Decoder, UseCache: true,
		ScaleAttnWeights: &scaled, InitializerRange: initStd(c.Decoder.NEmbd),
		BOSTokenID: &c.BOSTokenID, EOSTokenID: &c.EOSTokenID, TieWordEmbeddings: &c.TieWordEmbeddings,
	}
	if c.Decoder.NInner != 0 {
		j.NInner = &inner
	}
	return j
}

// json is the encoder in Hugging Face's form.
func (c *EncoderConfig) json() encoderJSON {
	k, no := c.kind(), false
	j := encoderJSON{
		Architectures: []string{k.class}, ModelType: k.modelType, EncoderConfig: *c,
		ImageSize: side(c.ImageSize), PatchSize: side(c.PatchSize), InitializerRange: initStd(c.HiddenSize),
	}
	switch c.Kind {
	case SigLIP:
		j.VisionUseHead = &no
	case DINOv2:
		ratio := float64(c.IntermediateSize) / float64(c.HiddenSize)
		for int(float64(c.HiddenSize)*ratio) < c.IntermediateSize { // Python's int() cuts
			ratio = math.Nextafter(ratio, math.Inf(1))
		}
		j.MLPRatio, j.UseMaskToken = &ratio, &no
	}
	return j
}

// UnmarshalJSON reads an encoder's config, or the vision_config of one that has a text model beside it.
// Absent keys are the defaults of the kind.
func (e *encoderJSON) UnmarshalJSON(b []byte) error {
	var of struct {
		ModelType    string          `json:"model_type"`
		VisionConfig json.RawMessage `json:"vision_config"`
	}
	if err := json.Unmarshal(b, &of); err != nil {
		return err
	}
	kind, towers, known := encoderKindOf(of.ModelType)
	if towers {
		if b = of.VisionConfig; b == nil {
			b = []byte("{}")
		}
		of.ModelType = encoderKinds[kind].modelType
	}
	type keys encoderJSON
	d := encoderKinds[kind].defaults
	j := keys{EncoderConfig: d, ImageSize: side(d.ImageSize), PatchSize: side(d.PatchSize)}
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	if j.ModelType = of.ModelType; !known {
		*e = encoderJSON(j) // supported says that it is not
		return nil
	}
	switch kind {
	case SigLIP, CLIP:
		j.QKVBias = true // neither knows the key
	case DINOv2:
		ratio := 4.0
		if j.MLPRatio != nil {
			ratio = *j.MLPRatio
		}
		if !(ratio > 0 && ratio <= maxSize) {
			return fmt.Errorf("encoder.mlp_ratio is %g; must be above 0 and at most %d", ratio, maxSize)
		}
		j.IntermediateSize = int(float64(j.HiddenSize) * ratio)
	}
	*e = encoderJSON(j)
	return nil
}

// UnmarshalJSON reads Hugging Face's form. What this network cannot do is an
// error that names the key; sizes are checked by Validate.
func (c *Config) UnmarshalJSON(b []byte) error {
	var of struct {
		ModelType string          `json:"model_type"`
		Llava     json.RawMessage `json:"llava"` // of what is published for Transformers.js, see onnx.WriteConfigs
	}
	if err := json.Unmarshal(b, &of); err != nil {
		return err
	}
	if own := of.Llava; of.ModelType == visionEncoderDecoder && own != nil {
		if err := json.Unmarshal(own, &of); err != nil {
			return err
		}
		b = own
	}
	ved := defaultVED()
	var j interface{ config() (*Config, error) } = &ved
	switch of.ModelType {
	case llava:
		llava := defaultLlava()
		j = &llava
	case smolvlm, idefics3:
		smolvlm := defaultSmolVLM()
		j = &smolvlm
	}
	if err := json.Unmarshal(b, j); err != nil {
		return err
	}
	read, err := j.config()
	if err == nil {
		*c = *read
	}
	return err
}

// config is the encoder that the keys describe, sizes not checked.
func (e *encoderJSON) config() EncoderConfig {
	c := e.EncoderConfig
	c.ImageSize, c.PatchSize = int(e.ImageSize), int(e.PatchSize)
	return c
}

// defaultVED is what absent keys mean.
func defaultVED() vedJSON {
	return vedJSON{
		Decoder: decoderJSON{GPT2Config: defaultGPT2()},
	}
}

// config is the network that the keys describe, sizes not checked.
func (j *vedJSON) config() (*Config, error) {
	if err := j.supported(); err != nil {
		return nil, err
	}
	c, d := &Config{Encoder: j.Encoder.config()}, &j.Decoder
	d.describe(c)
	c.EOSTokenID = first(&c.EOSTokenID, j.EOSTokenID)
	c.BOSTokenID = first(&c.BOSTokenID, j.BOSTokenID)
	c.PadTokenID = first(&c.EOSTokenID, j.PadTokenID, d.PadTokenID)
	c.DecoderStartTokenID = first(&c.BOSTokenID, j.DecoderStartTokenID, d.DecoderStartTokenID)
	return c, nil
}

// describe sets what a GPT-2's keys say of a captioner: the decoder, its begin and end tokens, and whether the table is tied,
// of which transformers asks the decoder's key and not the captioner's.
func (d *decoderJSON) describe(c *Config) {
	c.Decoder = d.GPT2Config
	c.Decoder.Unscaled = d.ScaleAttnWeights != nil && !*d.ScaleAttnWeights
	if d.NInner != nil {
		c.Decoder.NInner = *d.NInner
	}
	c.TieWordEmbeddings = d.TieWordEmbeddings == nil || *d.TieWordEmbeddings
	end := 50256 // GPT2Config's default
	c.EOSTokenID, c.BOSTokenID = first(&end, d.EOSTokenID), first(&end, d.BOSTokenID)
}

// fill makes a GPT-2 the decoder of a Prefix.
func (d *decoderJSON) fill(c *Config) error {
	if d.AddCrossAttention {
		return errors.New("add_cross_attention is true; must be false: before a caption the picture's vectors are read as its " +
			"first tokens")
	}
	d.describe(c)
	c.GPT2 = true
	c.PadTokenID, c.DecoderStartTokenID = first(&c.EOSTokenID, d.PadTokenID), c.BOSTokenID
	return nil
}

// first returns the first value that is set, else the default.
func first(def *int, values ...*int) int {
	for _, v := range values {
		if v != nil {
			return *v
		}
	}
	return *def
}

// supported checks the keys that are not sizes.
func (j *vedJSON) supported() error {
	e, d := &j.Encoder, &j.Decoder
	switch {
	case j.ModelType != visionEncoderDecoder:
		return fmt.Errorf("model_type is %q; must be %s, %s, %s or %s", j.ModelType, visionEncoderDecoder, llava, smolvlm, idefics3)
	case e.ModelType != e.kind().modelType:
		return fmt.Errorf("encoder.model_type is %q; must be %s", e.ModelType, encoderTypes())
	case e.UseSwiGLU != nil && *e.UseSwiGLU:
		return errors.New("encoder.use_swiglu_ffn is true; only DINOv2 models without it are supported")
	case d.ModelType != gpt2Type:
		return fmt.Errorf("decoder.model_type is %q; must be gpt2", d.ModelType)
	case !d.AddCrossAttention:
		return errors.New("decoder.add_cross_attention is false; must be true")
	case d.CrossHiddenSize != nil && (*d.CrossHiddenSize != d.NEmbd || *d.CrossHiddenSize != e.HiddenSize):
		return fmt.Errorf("decoder.cross_attention_hidden_size is %d; must be absent, or n_embd and the "+
			"encoder's hidden_size", *d.CrossHiddenSize)
	}
	return nil
}
