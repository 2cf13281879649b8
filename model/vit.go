package model

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph"
)

// ViT is Hugging Face's ViTModel or DeiTModel without the pooler.
type ViT struct {
	Config     *ViTConfig
	Embeddings ViTEmbeddings
	Layer      []ViTLayer // encoder.layer
	LayerNorm  LayerNorm

	GradientCheckpointing bool // compute each layer again in the backward pass instead of keeping what it computed
}

// ViTEmbeddings makes a vector of each patch.
type ViTEmbeddings struct {
	ClsToken           *Node // [1, 1, hidden]
	DistillationToken  *Node // [1, 1, hidden], DeiT's, or nil
	PositionEmbeddings *Node // [1, S, hidden]
	Projection         struct {
		Weight *Node // [hidden, 3, patch, patch]
		Bias   *Node // [hidden]
	}
}

// ViTLayer is one transformer layer, norms first.
type ViTLayer struct {
	LayerNormBefore   LayerNorm
	Query, Key, Value Linear // attention.attention
	AttentionOutput   Linear // attention.output.dense
	LayerNormAfter    LayerNorm
	Intermediate      Linear // intermediate.dense
	Output            Linear // output.dense
}

func newViT(c *ViTConfig, bind Bind) ViT {
	h := c.HiddenSize
	m := ViT{Config: c}
	m.Embeddings.ClsToken = bind("encoder.embeddings.cls_token", 1, 1, h)
	if c.Distilled {
		m.Embeddings.DistillationToken = bind("encoder.embeddings.distillation_token", 1, 1, h)
	}
	m.Embeddings.PositionEmbeddings = bind("encoder.embeddings.position_embeddings", 1, c.Tokens(), h)
	patch := "encoder.embeddings.patch_embeddings.projection"
	m.Embeddings.Projection.Weight = bind(patch+".weight", h, c.NumChannels, c.PatchSize, c.PatchSize)
	m.Embeddings.Projection.Bias = bind(patch+".bias", h)
	for i := range c.NumHiddenLayers {
		p := fmt.Sprintf("encoder.encoder.layer.%d.", i)
		m.Layer = append(m.Layer, ViTLayer{
			LayerNormBefore: newLayerNorm(bind, p+"layernorm_before", h, c.LayerNormEps),
			Query:           newLinear(bind, p+"attention.attention.query", h, h, c.QKVBias),
			Key:             newLinear(bind, p+"attention.attention.key", h, h, c.QKVBias),
			Value:           newLinear(bind, p+"attention.attention.value", h, h, c.QKVBias),
			AttentionOutput: newLinear(bind, p+"attention.output.dense", h, h, true),
			LayerNormAfter:  newLayerNorm(bind, p+"layernorm_after", h, c.LayerNormEps),
			Intermediate:    newLinear(bind, p+"intermediate.dense", h, c.IntermediateSize, true),
			Output:          newLinear(bind, p+"output.dense", c.IntermediateSize, h, true),
		})
	}
	m.LayerNorm = newLayerNorm(bind, "encoder.layernorm", h, c.LayerNormEps)
	return m
}

// Forward: pixels [B, H, W, 3] float32 → [B, S, hidden]
func (m *ViT) Forward(pixels *Node) *Node {
	x := m.Embeddings.Forward(pixels, m.Config)
	for i := range m.Layer {
		if m.GradientCheckpointing {
			x = x.Checkpoint()
		}
		x = m.Layer[i].Forward(x, m.Config)
	}
	if m.GradientCheckpointing {
		x = x.StopCheckpoint()
	}
	return m.LayerNorm.Forward(x)
}

// Forward: pixels [B, H, W, 3] → [B, S, hidden]
func (m *ViTEmbeddings) Forward(pixels *Node, c *ViTConfig) *Node {
	b, n, p, h := pixels.Shape().Dim(0), c.ImageSize/c.PatchSize, c.PatchSize, c.HiddenSize
	// a convolution whose stride is its kernel is one matrix product a patch
	x := Reshape(pixels, b, n, p, n, p, c.NumChannels)
	x = TransposeAllAxes(x, 0, 1, 3, 2, 4, 5) // [B, n, n, p, p, 3]
	x = Reshape(x, b, n*n, p*p*c.NumChannels)
	w := TransposeAllAxes(m.Projection.Weight, 0, 2, 3, 1) // [hidden, p, p, 3]
	x = Linear{Weight: Reshape(w, h, p*p*c.NumChannels), Bias: m.Projection.Bias}.Forward(x)
	tokens := []*Node{BroadcastToDims(m.ClsToken, b, 1, h), x}
	if m.DistillationToken != nil {
		tokens = []*Node{tokens[0], BroadcastToDims(m.DistillationToken, b, 1, h), x}
	}
	x = Concatenate(tokens, 1) // [B, S, hidden]
	return Add(x, m.PositionEmbeddings)
}

// Forward: [B, S, hidden] → the same
func (l *ViTLayer) Forward(x *Node, c *ViTConfig) *Node {
	heads := c.NumAttentionHeads
	h := l.LayerNormBefore.Forward(x)
	kv := newKV(l.Key.Forward(h), l.Value.Forward(h), heads, l.Query.Weight.DType())
	x = Add(x, l.AttentionOutput.Forward(attend(l.Query.Forward(h), kv, c.ScoreScale(), nil, nil)))
	h = activations[c.HiddenAct](l.Intermediate.Forward(l.LayerNormAfter.Forward(x)))
	return Add(x, l.Output.Forward(h))
}
