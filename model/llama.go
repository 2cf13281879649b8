package model

import (
	"fmt"
	"math"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// Llama is Hugging Face's LlamaForCausalLM, in which a picture's vectors stand before the caption's tokens. The vectors
// see only each other, so their keys and values are made once a picture, whatever captions follow.
type Llama struct {
	Config *LlamaConfig
	Tokens *Node // [vocab, hidden] embeddings
	LMHead *Node // [vocab, hidden] of the logits; Tokens where they are tied
	Layer  []LlamaLayer
	Norm   RMSNorm

	prompt prompt

	gradientCheckpointing bool // of Forward
}

// LlamaLayer is one layer: attention, MLP, norms first.
type LlamaLayer struct {
	InputNorm         RMSNorm
	Query, Key, Value Linear
	Output            Linear
	PostAttentionNorm RMSNorm
	Gate, Up, Down    Linear // the MLP
}

// Names of the tensors of a Llama, and beginnings of those of any decoder, as a LLaVA's checkpoint has them.
const (
	languageModel  = "language_model."
	textRoot       = languageModel + "model."
	llamaLayers    = textRoot + "layers"
	llamaTokens    = textRoot + "embed_tokens"
	llamaNorm      = textRoot + "norm"
	llamaTokenName = llamaTokens + ".weight"
	textHeadName   = languageModel + "lm_head.weight"
)

func newLlama(config *Config, bind Bind) *Llama {
	c := &config.Llama
	w, kv := c.HiddenSize, c.NumKeyValueHeads*c.HeadDim
	m := &Llama{Config: c, Tokens: bind(llamaTokenName, c.VocabSize, w), prompt: newPrompt(config)}
	for i := range c.NumHiddenLayers {
		p := fmt.Sprintf("%s.%d.", llamaLayers, i)
		m.Layer = append(m.Layer, LlamaLayer{
			InputNorm:         newRMSNorm(bind, p+"input_layernorm", w, c.RMSNormEps),
			Query:             newLinear(bind, p+"self_attn.q_proj", w, c.NumAttentionHeads*c.HeadDim, c.AttentionBias),
			Key:               newLinear(bind, p+"self_attn.k_proj", w, kv, c.AttentionBias),
			Value:             newLinear(bind, p+"self_attn.v_proj", w, kv, c.AttentionBias),
			Output:            newLinear(bind, p+"self_attn.o_proj", c.NumAttentionHeads*c.HeadDim, w, c.AttentionBias),
			PostAttentionNorm: newRMSNorm(bind, p+"post_attention_layernorm", w, c.RMSNormEps),
			Gate:              newLinear(bind, p+"mlp.gate_proj", w, c.IntermediateSize, c.MLPBias),
			Up:                newLinear(bind, p+"mlp.up_proj", w, c.IntermediateSize, c.MLPBias),
			Down:              newLinear(bind, p+"mlp.down_proj", c.IntermediateSize, w, c.MLPBias),
		})
	}
	m.Norm = newRMSNorm(bind, llamaNorm, w, c.RMSNormEps)
	if m.LMHead = m.Tokens; !config.TieWordEmbeddings {
		m.LMHead = bind(textHeadName, c.VocabSize, w)
	}
	return m
}

// CrossKV takes a picture's vectors [B, P, hidden] through the layers, to each layer's KV [B, KV, P, head width]. What a
// prompt puts before captions is counted in P.
func (m *Llama) CrossKV(x *Node) []KV {
	x = m.prompt.behind(x, m.embed)
	return m.layers(m.rotation(x.Graph(), 0, x.Shape().Dim(1))).pictures(x)
}

// Forward runs whole captions, K of each picture, behind the pictures' keys and values.
//
//	ids [B·K, T] int32, pictures of B → [B·K, T, hidden], input of Logits
//
// Of what a Llama is trained with, dropout of attention is done, of captions' tokens.
func (m *Llama) Forward(ids *Node, pictures []KV, drop *Dropout) *Node {
	turn := m.rotation(ids.Graph(), pictures[0].K.Shape().Dim(2), ids.Shape().Dim(1))
	x := m.embed(m.prompt.begin(ids)) // [B·K, T, hidden]
	return m.Norm.Forward(m.layers(turn).captions(x, pictures, drop, nil))
}

// Step runs one token of each row, with the keys and values of the rows' earlier tokens.
// K rows in a row caption one picture.
//
//	tokens [B·K] int32, position scalar int32, self with room for all positions, pictures of B
//	→ [B·K, hidden], self with this position filled in
func (m *Llama) Step(tokens, position *Node, self, pictures []KV) (*Node, []KV) {
	at, all := Reshape(position, 1, 1), m.rotation(tokens.Graph(), pictures[0].K.Shape().Dim(2), self[0].K.Shape().Dim(2))
	turn := rotation{Gather(all.cos, at), Gather(all.sin, at)}      // [1, head width]
	x := InsertAxes(m.embed(m.prompt.beginAt(tokens, position)), 1) // [N, 1, hidden]
	x, next := m.layers(turn).token(x, position, self, pictures)
	return Reshape(m.Norm.Forward(x), tokens.Shape().Dim(0), m.Config.HiddenSize), next
}

// Logits takes vectors [..., hidden] to scores of the tokens, [..., vocab].
func (m *Llama) Logits(x *Node) *Node {
	return dot(x, []int{x.Rank() - 1}, nil, m.LMHead, []int{1}, nil)
}

func (m *Llama) head() **Node { return &m.LMHead }

func (m *Llama) checkpoint() { m.gradientCheckpointing = true }

func (m *Llama) linears() (list []linear) {
	for i := range m.Layer {
		l := &m.Layer[i]
		add := func(name string, l *Linear) {
			list = append(list, linear{fmt.Sprintf("%s.%d.%s", llamaLayers, i, name), &l.Weight, &l.LoRA, false, false, &l.seen})
		}
		add("self_attn.q_proj", &l.Query)
		add("self_attn.k_proj", &l.Key)
		add("self_attn.v_proj", &l.Value)
		add("self_attn.o_proj", &l.Output)
		add("mlp.gate_proj", &l.Gate)
		add("mlp.up_proj", &l.Up)
		add("mlp.down_proj", &l.Down)
	}
	return list
}

// embed: ids [...] → [..., hidden]
func (m *Llama) embed(ids *Node) *Node { return Gather(m.Tokens, InsertAxes(ids, -1)) }

// layers are those of tokens at the positions that turn is of.
func (m *Llama) layers(turn rotation) behindPicture {
	s := behindPicture{gradientCheckpointing: m.gradientCheckpointing}
	for i := range m.Layer {
		s.layers = append(s.layers, llamaLayer{&m.Layer[i], m.Config, turn})
	}
	return s
}

// llamaLayer is a layer as a layerBehind.
type llamaLayer struct {
	*LlamaLayer
	config *LlamaConfig
	turn   rotation
}

func (l llamaLayer) attention(x *Node, k int) (*Node, KV) {
	c, h, dtype := l.config, l.InputNorm.Forward(x), l.Query.Weight.DType()
	q := l.turn.of(splitHeads(l.Query.Forward(h), c.NumAttentionHeads)) // [B·K, heads, T, head width]
	own := KV{
		K: ConvertDType(l.turn.of(splitHeads(l.Key.Forward(h), c.NumKeyValueHeads)), dtype),
		V: ConvertDType(splitHeads(l.Value.Forward(h), c.NumKeyValueHeads), dtype),
	}
	return groupQueries(MulScalar(q, 1/math.Sqrt(float64(c.HeadDim))), c.NumKeyValueHeads, k), own
}

func (l llamaLayer) output(a *Node) *Node { return l.Output.Forward(a) }

func (l llamaLayer) mlp(x *Node) *Node {
	h := l.PostAttentionNorm.Forward(x)
	return l.Down.Forward(Mul(silu(l.Gate.Forward(h)), l.Up.Forward(h)))
}

// rotation turns pairs of a head's channels by angles in proportion to the position (RoPE).
type rotation struct {
	cos, sin *Node // [positions, head width]
}

// rotation of n positions from the first on, computed on the host.
func (m *Llama) rotation(g *Graph, first, n int) rotation {
	frequencies, d := m.Config.Frequencies(), m.Config.HeadDim
	cos, sin := make([]float32, n*d), make([]float32, n*d)
	for i := range n {
		for j := range d {
			angle := frequencies[j%(d/2)] * float32(first+i) // in float32, as there
			s, c := math.Sincos(float64(angle))
			cos[i*d+j], sin[i*d+j] = float32(c), float32(s)
		}
	}
	return rotation{
		Const(g, tensors.FromFlatDataAndDimensions(cos, n, d)), Const(g, tensors.FromFlatDataAndDimensions(sin, n, d)),
	}
}

// of turns x [rows, heads, positions, head width]; channel j goes with j + half of them.
func (r rotation) of(x *Node) *Node {
	half := x.Shape().Dim(3) / 2
	low := Slice(x, AxisRange().Spacer(), AxisRange(0, half))
	high := Slice(x, AxisRange().Spacer(), AxisRange(half))
	cos, sin := ExpandLeftToRank(r.cos, 4), ExpandLeftToRank(r.sin, 4)
	return Add(Mul(x, cos), Mul(Concatenate([]*Node{Neg(high), low}, -1), sin))
}

// Frequencies are the angles of a position's step, [head width / 2], as transformers computes them: by rope_theta, and
// by what rope_scaling says (modeling_rope_utils.py).
func (c *LlamaConfig) Frequencies() []float32 {
	all := make([]float32, c.HeadDim/2)
	for i := range all {
		f := 1 / math.Pow(c.RopeTheta, float64(2*i)/float64(c.HeadDim))
		switch c.Rope.Type {
		case RopeLinear:
			f /= c.Rope.Factor
		case RopeLlama3:
			f = c.Rope.llama3(f)
		}
		all[i] = float32(f)
	}
	return all
}

// llama3 divides low frequencies by the factor, leaves high ones, and goes from one to the other between.
func (r *RopeScaling) llama3(f float64) float64 {
	length, waves := float64(r.OriginalMaxPositionEmbeddings), 2*math.Pi/f
	switch {
	case waves > length/r.LowFreqFactor:
		return f / r.Factor
	case waves < length/r.HighFreqFactor:
		return f
	}
	smooth := (length/waves - r.LowFreqFactor) / (r.HighFreqFactor - r.LowFreqFactor)
	return (1-smooth)*f/r.Factor + smooth*f
}

// RMSNorm normalises the last axis by its mean square.
type RMSNorm struct {
	Weight *Node // [width]
	Eps    float64
}

func newRMSNorm(bind Bind, name string, width int, eps float64) RMSNorm {
	return RMSNorm{Weight: bind(name+".weight", width), Eps: eps}
}

// Forward takes [..., width] to the same shape.
func (l RMSNorm) Forward(x *Node) *Node {
	mean := MulScalar(ReduceAndKeep(Mul(x, x), ReduceSum, -1), 1/float64(x.Shape().Dim(-1)))
	x = Mul(x, Reciprocal(Sqrt(AddScalar(mean, l.Eps)))) // Rsqrt has no gradient
	return Mul(x, ExpandLeftToRank(l.Weight, x.Rank()))
}

// silu is x·σ(x); σ(z) is (1 + tanh(z/2))/2.
func silu(x *Node) *Node {
	return Mul(x, AddScalar(MulScalar(Tanh(MulScalar(x, 0.5)), 0.5), 0.5))
}
