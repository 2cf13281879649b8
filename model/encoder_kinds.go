package model

import (
	"fmt"
	"slices"
	"strings"
)

// EncoderKind is the architecture of an encoder.
type EncoderKind int

// The kinds of encoders, by the Hugging Face model that each is.
const (
	ViT    EncoderKind = iota // ViTModel
	DeiT                      // DeiTModel: a distillation token stands after the class token
	SigLIP                    // SiglipVisionModel, also that of a SigLIP 2 of fixed picture size
	CLIP                      // CLIPVisionModel
	DINOv2                    // Dinov2Model
)

// encoderKind is all in which encoders differ.
type encoderKind struct {
	name       string // of the architecture
	modelType  string // in config.json
	towersType string // model_type of a checkpoint that has a text model beside this one, "" if there is none
	class      string // the architecture in config.json
	defaults   EncoderConfig
	names      EncoderNames
	flat       bool // token and positions are stored without an axis of length 1 before them
	patchBias  bool
	// positions are interpolated where a picture is not of image_size
	interpolates bool
	// begin the names, without "encoder.", of what a checkpoint holds and last_hidden_state does not need
	unused []string
}

// EncoderNames are the names of an encoder's tensors in a captioner's checkpoint; of norms and linear layers
// without ".weight". Those of a layer stand behind its prefix. "" is what the kind does not have.
type EncoderNames struct {
	ClassToken, DistillationToken, Positions, Patches string
	PreNorm                                           string // before the layers
	Layer                                             string // prefix of a layer's names, by its number
	Norm1, Query, Key, Value, AttentionOutput, Scale1 string
	Norm2, Up, Down, Scale2                           string
	Norm                                              string // after the layers
}

// OfLayer are the names with those of layer i in full.
func (n EncoderNames) OfLayer(i int) EncoderNames {
	prefix := fmt.Sprintf(n.Layer, i)
	for _, name := range []*string{
		&n.Norm1, &n.Query, &n.Key, &n.Value, &n.AttentionOutput, &n.Scale1, &n.Norm2, &n.Up, &n.Down, &n.Scale2,
	} {
		if *name != "" {
			*name = prefix + *name
		}
	}
	return n
}

var vitNames = EncoderNames{
	ClassToken: "encoder.embeddings.cls_token", Positions: "encoder.embeddings.position_embeddings",
	Patches: "encoder.embeddings.patch_embeddings.projection",
	Layer:   "encoder.encoder.layer.%d.",
	Norm1:   "layernorm_before", Query: "attention.attention.query", Key: "attention.attention.key",
	Value: "attention.attention.value", AttentionOutput: "attention.output.dense",
	Norm2: "layernorm_after", Up: "intermediate.dense", Down: "output.dense",
	Norm: "encoder.layernorm",
}

var deitNames = func(n EncoderNames) EncoderNames {
	n.DistillationToken = "encoder.embeddings.distillation_token"
	return n
}(vitNames)

var siglipNames = EncoderNames{
	Positions: "encoder.vision_model.embeddings.position_embedding.weight",
	Patches:   "encoder.vision_model.embeddings.patch_embedding",
	Layer:     "encoder.vision_model.encoder.layers.%d.",
	Norm1:     "layer_norm1", Query: "self_attn.q_proj", Key: "self_attn.k_proj", Value: "self_attn.v_proj",
	AttentionOutput: "self_attn.out_proj", Norm2: "layer_norm2", Up: "mlp.fc1", Down: "mlp.fc2",
	Norm: "encoder.vision_model.post_layernorm",
}

// CLIP's last_hidden_state is that before post_layernorm, which only its pooled output passes.
var clipNames = func(n EncoderNames) EncoderNames {
	n.ClassToken = "encoder.vision_model.embeddings.class_embedding"
	n.PreNorm, n.Norm = "encoder.vision_model.pre_layrnorm", ""
	return n
}(siglipNames)

var dinov2Names = func(n EncoderNames) EncoderNames {
	n.Norm1, n.Norm2, n.Up, n.Down = "norm1", "norm2", "mlp.fc1", "mlp.fc2"
	n.Scale1, n.Scale2 = "layer_scale1.lambda1", "layer_scale2.lambda1"
	return n
}(vitNames)

// encoderKinds holds every kind in its place. Defaults are the values of absent keys in transformers.
var encoderKinds = [...]encoderKind{
	ViT: {
		name: "ViT", modelType: "vit", class: "ViTModel", names: vitNames, patchBias: true,
		defaults: defaultEncoder(ViT, 16, 1e-12, "gelu"),
		unused:   []string{"pooler.", "embeddings.mask_token"},
	},
	DeiT: {
		name: "DeiT", modelType: "deit", class: "DeiTModel", names: deitNames, patchBias: true,
		defaults: defaultEncoder(DeiT, 16, 1e-12, "gelu"),
		unused:   []string{"pooler.", "embeddings.mask_token"},
	},
	SigLIP: {
		name: "SigLIP", modelType: "siglip_vision_model", towersType: "siglip", class: "SiglipVisionModel",
		names: siglipNames, flat: true, patchBias: true,
		defaults: defaultEncoder(SigLIP, 16, 1e-6, "gelu_pytorch_tanh"),
		unused:   []string{towerPrefix + "head.", towerPrefix + "embeddings.position_ids"},
	},
	CLIP: {
		name: "CLIP", modelType: "clip_vision_model", towersType: "clip", class: "CLIPVisionModel",
		names: clipNames, flat: true,
		defaults: defaultEncoder(CLIP, 32, 1e-5, "quick_gelu"),
		unused:   []string{towerPrefix + "post_layernorm.", towerPrefix + "embeddings.position_ids"},
	},
	DINOv2: {
		name: "DINOv2", modelType: "dinov2", class: "Dinov2Model", names: dinov2Names, patchBias: true,
		defaults:     defaultEncoder(DINOv2, 14, 1e-6, "gelu"),
		unused:       []string{"embeddings.mask_token"},
		interpolates: true,
	},
}

// towerPrefix begins the names of the vision model beside a text model.
const towerPrefix = "vision_model."

// defaultEncoder is an encoder of the sizes that Hugging Face's configs have in common by default.
func defaultEncoder(kind EncoderKind, patch int, eps float64, act string) EncoderConfig {
	return EncoderConfig{
		Kind: kind, HiddenSize: 768, NumHiddenLayers: 12, NumAttentionHeads: 12, IntermediateSize: 3072,
		ImageSize: 224, PatchSize: patch, NumChannels: 3, LayerNormEps: eps, HiddenAct: act, QKVBias: true,
	}
}

func (c *EncoderConfig) kind() *encoderKind { return &encoderKinds[c.Kind] }

// Names are those of the encoder's tensors.
func (c *EncoderConfig) Names() EncoderNames {
	n := c.kind().names
	if !c.Tower {
		return n
	}
	for _, name := range []*string{&n.ClassToken, &n.DistillationToken, &n.Positions, &n.Patches, &n.PreNorm, &n.Layer, &n.Norm} {
		if *name != "" {
			*name = visionTower + strings.TrimPrefix(*name, encoderRoot)
		}
	}
	return n
}

// root begins the names of the encoder's tensors.
func (c *EncoderConfig) root() string {
	if c.Tower {
		return visionTower
	}
	return encoderRoot
}

const encoderRoot = "encoder."

// Name is the architecture's.
func (c *EncoderConfig) Name() string { return c.kind().name }

// encoderKindOf finds a kind by its model_type, or by that of a checkpoint with a text model beside it.
func encoderKindOf(modelType string) (kind EncoderKind, towers, found bool) {
	for i := range encoderKinds {
		k := &encoderKinds[i]
		if modelType == k.modelType || k.towersType != "" && modelType == k.towersType {
			return EncoderKind(i), modelType != k.modelType, true
		}
	}
	return 0, false, false
}

// encoderTypes lists the model types that are known.
func encoderTypes() string {
	var types []string
	for _, k := range encoderKinds {
		types = append(types, k.modelType)
	}
	last := len(types) - 1
	return strings.Join(types[:last], ", ") + " or " + types[last]
}

// tensor is the network's name of an encoder's tensor, given without "encoder.", or "" if it has no use.
func (c *EncoderConfig) tensor(name string) string {
	k := c.kind()
	// transformers 5 leaves the prefix out in memory; files may have either form
	if strings.HasPrefix(k.names.Positions, encoderRoot+towerPrefix) && !strings.HasPrefix(name, towerPrefix) {
		name = towerPrefix + name
	}
	if slices.ContainsFunc(k.unused, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		return ""
	}
	return c.root() + name
}
