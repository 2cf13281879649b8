package model

import (
	. "github.com/gomlx/gomlx/core/graph"
)

// Encoder makes vectors of a picture as the Hugging Face model of its kind does, without what comes behind
// its last_hidden_state.
type Encoder struct {
	Config     *EncoderConfig
	Embeddings Embeddings
	PreNorm    *LayerNorm // before the layers, or nil
	Layer      []EncoderLayer
	Norm       *LayerNorm // after the layers, or nil

	// compute each layer again in the backward pass instead of keeping what it computed
	GradientCheckpointing bool
}

// Embeddings makes a vector of each patch.
type Embeddings struct {
	ClassToken         *Node  // [1, 1, hidden] or, as CLIP has it, [hidden]; or nil
	DistillationToken  *Node  // [1, 1, hidden], or nil
	PositionEmbeddings *Node  // [1, S, hidden] or [S, hidden]
	Projection         Linear // weight [hidden, 3, patch, patch]
}

// EncoderLayer is one transformer layer, norms first.
type EncoderLayer struct {
	Norm1             LayerNorm
	Query, Key, Value Linear
	AttentionOutput   Linear
	Scale1            *Node // [hidden], or nil
	Norm2             LayerNorm
	Up, Down          Linear // the MLP
	Scale2            *Node  // [hidden], or nil
}

func newEncoder(c *EncoderConfig, bind Bind) Encoder {
	h, n := c.HiddenSize, c.Names()
	optional := func(name string, shape ...int) *Node {
		if name == "" {
			return nil
		}
		return bind(name, shape...)
	}
	optionalNorm := func(name string) *LayerNorm {
		if name == "" {
			return nil
		}
		norm := newLayerNorm(bind, name, h, c.LayerNormEps)
		return &norm
	}
	m := Encoder{Config: c}
	m.Embeddings.ClassToken = optional(n.ClassToken, c.row(1)...)
	m.Embeddings.DistillationToken = optional(n.DistillationToken, c.row(1)...)
	m.Embeddings.PositionEmbeddings = bind(n.Positions, c.row(c.Tokens())...)
	m.Embeddings.Projection.Weight = bind(n.Patches+".weight", h, c.NumChannels, c.PatchSize, c.PatchSize)
	if c.kind().patchBias {
		m.Embeddings.Projection.Bias = bind(n.Patches+".bias", h)
	}
	m.PreNorm = optionalNorm(n.PreNorm)
	for i := range c.NumHiddenLayers - c.UnusedLayers {
		n := n.OfLayer(i)
		m.Layer = append(m.Layer, EncoderLayer{
			Norm1:           newLayerNorm(bind, n.Norm1, h, c.LayerNormEps),
			Query:           newLinear(bind, n.Query, h, h, c.QKVBias),
			Key:             newLinear(bind, n.Key, h, h, c.QKVBias),
			Value:           newLinear(bind, n.Value, h, h, c.QKVBias),
			AttentionOutput: newLinear(bind, n.AttentionOutput, h, h, true),
			Scale1:          optional(n.Scale1, h),
			Norm2:           newLayerNorm(bind, n.Norm2, h, c.LayerNormEps),
			Up:              newLinear(bind, n.Up, h, c.IntermediateSize, true),
			Down:            newLinear(bind, n.Down, c.IntermediateSize, h, true),
			Scale2:          optional(n.Scale2, h),
		})
	}
	if c.UnusedLayers == 0 {
		m.Norm = optionalNorm(n.Norm)
	}
	return m
}

// row is the shape in which a checkpoint of this kind has n vectors.
func (c *EncoderConfig) row(n int) []int {
	switch {
	case !c.kind().flat:
		return []int{1, n, c.HiddenSize}
	case n == 1:
		return []int{c.HiddenSize}
	}
	return []int{n, c.HiddenSize}
}

// Forward takes normalised pixels [B, H, W, 3] float32 to vectors [B, S, hidden].
func (m *Encoder) Forward(pixels *Node) *Node {
	x := m.Embeddings.Forward(pixels, m.Config)
	if m.PreNorm != nil {
		x = m.PreNorm.Forward(x)
	}
	for i := range m.Layer {
		if m.GradientCheckpointing {
			x = x.Checkpoint()
		}
		x = m.Layer[i].Forward(x, m.Config)
	}
	if m.GradientCheckpointing {
		x = x.StopCheckpoint()
	}
	if m.Norm == nil {
		return x
	}
	return m.Norm.Forward(x)
}

// Forward takes pixels [B, H, W, 3] to a vector for each special token and patch, [B, S, hidden].
func (m *Embeddings) Forward(pixels *Node, c *EncoderConfig) *Node {
	b, n, p, h := pixels.Shape().Dim(0), c.ImageSize/c.PatchSize, c.PatchSize, c.HiddenSize
	// a convolution whose stride is its kernel is one matrix product a patch
	x := Reshape(pixels, b, n, p, n, p, c.NumChannels)
	x = TransposeAllAxes(x, 0, 1, 3, 2, 4, 5) // [B, n, n, p, p, 3]
	x = Reshape(x, b, n*n, p*p*c.NumChannels)
	w := TransposeAllAxes(m.Projection.Weight, 0, 2, 3, 1) // [hidden, p, p, 3]
	patches := m.Projection
	patches.Weight = Reshape(w, h, p*p*c.NumChannels)
	x = patches.Forward(x)
	var tokens []*Node
	for _, token := range []*Node{m.ClassToken, m.DistillationToken} {
		if token != nil {
			tokens = append(tokens, BroadcastToDims(ExpandLeftToRank(token, 3), b, 1, h))
		}
	}
	if tokens != nil {
		x = Concatenate(append(tokens, x), 1) // [B, S, hidden]
	}
	return Add(x, ExpandLeftToRank(m.PositionEmbeddings, 3))
}

// Forward takes [B, S, hidden] to the same shape.
func (l *EncoderLayer) Forward(x *Node, c *EncoderConfig) *Node {
	heads := c.NumAttentionHeads
	h := l.Norm1.Forward(x)
	kv := newKV(l.Key.Forward(h), l.Value.Forward(h), heads, l.Query.Weight.DType())
	h = l.AttentionOutput.Forward(attend(l.Query.Forward(h), kv, c.ScoreScale(), nil, nil))
	x = Add(x, scaled(h, l.Scale1))
	h = activations[c.HiddenAct](l.Up.Forward(l.Norm2.Forward(x)))
	return Add(x, scaled(l.Down.Forward(h), l.Scale2))
}

// scaled multiplies x [B, S, hidden] with a layer's scale [hidden], if it has one.
func scaled(x, scale *Node) *Node {
	if scale == nil {
		return x
	}
	return Mul(x, ExpandLeftToRank(scale, x.Rank()))
}
