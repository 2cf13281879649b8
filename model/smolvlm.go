package model

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	. "github.com/gomlx/gomlx/core/graph"
)

// A captioner of the kind Prefix whose picture has fewer vectors than patches, in Hugging Face's form: a
// SmolVLMForConditionalGeneration, or an Idefics3's, of SigLIP, connector and a Llama or a GPT-2. The network's tensors have the names
// of a LLaVA's; SmolVLMNames says which those of transformers are.

const (
	smolvlm     = "smolvlm"              // model_type
	idefics3    = "idefics3"             // model_type of the same network
	smolvlmEyes = "smolvlm_vision"       // model_type of the vision tower
	connector   = projectorRoot + "proj" // the network's name of the one layer
)

// SmolVLMNames are the beginnings of the network's names, and what they are in a SmolVLM, longest first.
var SmolVLMNames = [][2]string{
	{connector, "model.connector.modality_projection.proj"},
	{visionTower + towerPrefix, "model." + towerPrefix},
	{textRoot, "model.text_model."},
	{textHeadName, headEnd},
}

// smolvlmJSON is what this package reads of, and writes to, a SmolVLMForConditionalGeneration's config.json.
type smolvlmJSON struct {
	Architectures       []string         `json:"architectures,omitempty"`
	BOSTokenID          *int             `json:"bos_token_id"`
	DecoderStartTokenID *int             `json:"decoder_start_token_id"`
	DType               string           `json:"torch_dtype,omitempty"`
	EOSTokenID          *int             `json:"eos_token_id"`
	ImageTokenID        *int             `json:"image_token_id"`
	ModelType           string           `json:"model_type"`
	PadTokenID          *int             `json:"pad_token_id"`
	PromptIDs           []int32          `json:"prompt_ids,omitempty"` // no key of transformers'
	ScaleFactor         int              `json:"scale_factor"`
	TextConfig          textJSON         `json:"text_config"`
	TieWordEmbeddings   *bool            `json:"tie_word_embeddings,omitempty"`
	VisionConfig        smolvlmTowerJSON `json:"vision_config"`
}

// smolvlmTowerJSON is a SigLIP under another name and with other values of absent keys.
type smolvlmTowerJSON struct{ encoderJSON }

func (t *smolvlmTowerJSON) UnmarshalJSON(b []byte) error {
	keys := map[string]any{"hidden_size": 1152, "intermediate_size": 3072, "num_attention_heads": 16, "patch_size": 32}
	if err := json.Unmarshal(b, &keys); err != nil {
		return err
	}
	keys["model_type"] = encoderKinds[SigLIP].modelType
	siglip, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	return json.Unmarshal(siglip, &t.encoderJSON)
}

func defaultSmolVLM() smolvlmJSON {
	return smolvlmJSON{ScaleFactor: 2, TextConfig: defaultText()}
}

// config is the network that the keys describe, sizes not checked.
func (j *smolvlmJSON) config() (*Config, error) {
	if j.ScaleFactor < 1 {
		return nil, fmt.Errorf("scale_factor is %d; must be at least 1", j.ScaleFactor)
	}
	yes := true
	like := llavaJSON{
		BOSTokenID: j.BOSTokenID, EOSTokenID: j.EOSTokenID, PadTokenID: j.PadTokenID, DecoderStartTokenID: j.DecoderStartTokenID,
		ImageTokenID: j.ImageTokenID, PromptIDs: j.PromptIDs, TextConfig: j.TextConfig,
		ProjectorHiddenAct: linearAct, FeatureLayer: -1, SelectStrategy: selectFull,
		VisionConfig: towerJSON{encoderJSON: j.VisionConfig.encoderJSON, TieLast: &yes},
	}
	c, err := like.config()
	if err != nil {
		return nil, err
	}
	c.Projector.setScaleFactor(j.ScaleFactor)
	return c, nil
}

// smolvlmJSON is a Prefix captioner with pixel shuffle in Hugging Face's form.
func (c *Config) smolvlmJSON() smolvlmJSON {
	tower := c.Encoder.json()
	tower.Architectures, tower.ModelType, tower.VisionUseHead = nil, smolvlmEyes, nil
	return smolvlmJSON{
		Architectures: []string{"SmolVLMForConditionalGeneration"}, ModelType: smolvlm, DType: "float32",
		BOSTokenID: &c.BOSTokenID, EOSTokenID: &c.EOSTokenID, PadTokenID: &c.PadTokenID,
		DecoderStartTokenID: &c.DecoderStartTokenID, ImageTokenID: &c.ImageTokenID, PromptIDs: c.PromptIDs,
		ScaleFactor: c.Projector.ScaleFactor, TextConfig: c.textJSON(), TieWordEmbeddings: &c.TieWordEmbeddings,
		VisionConfig: smolvlmTowerJSON{tower},
	}
}

// setScaleFactor makes a projector a SmolVLM's connector: pixel shuffle, then one layer without bias.
func (p *ProjectorConfig) setScaleFactor(n int) {
	*p = ProjectorConfig{HiddenAct: linearAct, ScaleFactor: n}
}

// validateScaleFactor reports a pixel shuffle that cannot work.
func (c *Config) validateScaleFactor(check func(ok bool, format string, args ...any)) {
	r, e := c.Projector.ScaleFactor, &c.Encoder
	if r == 0 || e.PatchSize < 1 {
		return
	}
	side := e.ImageSize / e.PatchSize
	check(r >= 1 && side%max(r, 1) == 0, "scale_factor is %d; must divide the %d patches of a picture's side", r, side)
	check(e.Kind == SigLIP && e.UnusedLayers == 0, "scale_factor is %d, which is of a SigLIP with all its layers; the encoder is "+
		"a %s", r, e.Name())
}

// smolvlmName is the network's name of a SmolVLM's tensor.
func smolvlmName(name string) string {
	for _, n := range SmolVLMNames {
		if rest, ok := strings.CutPrefix(name, n[1]); ok {
			return n[0] + rest
		}
	}
	return name
}

// shuffled is SmolVLM's pixel_shuffle: r × r neighbours become one vector, row by row.
//
//	x [B, side·side, width] → [B, side·side/(r·r), r·r·width]
func shuffled(x *Node, r int) *Node {
	b, n, width := x.Shape().Dim(0), x.Shape().Dim(1), x.Shape().Dim(2)
	side := int(math.Sqrt(float64(n)))
	x = Reshape(x, b, side/r, r, side/r, r, width)
	return Reshape(TransposeAllAxes(x, 0, 1, 3, 2, 4, 5), b, n/(r*r), r*r*width)
}
