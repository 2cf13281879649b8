package model

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// Llama is Hugging Face's LlamaForCausalLM, in which a picture's vectors stand before the caption's tokens. The vectors
// see only each other, so their keys and values are made once a picture, whatever captions follow. P is their number,
// KV that of the heads of keys and values, G of the heads of queries that share one.
type Llama struct {
	Config *LlamaConfig
	Tokens *Node // [vocab, hidden] embeddings
	LMHead *Node // [vocab, hidden] of the logits; Tokens where they are tied
	Layer  []LlamaLayer
	Norm   RMSNorm

	// the start token and the prompt behind it, or nil: all but the last are taken in with the picture, and the last stands
	// where a caption has its start token
	Prompt []int32

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

// Names of a Llama's tensors, as a LLaVA's checkpoint has them.
const (
	languageModel  = "language_model."
	llamaRoot      = languageModel + "model."
	llamaLayers    = llamaRoot + "layers"
	llamaTokens    = llamaRoot + "embed_tokens"
	llamaNorm      = llamaRoot + "norm"
	llamaTokenName = llamaTokens + ".weight"
	llamaHeadName  = languageModel + "lm_head.weight"
)

func newLlama(c *LlamaConfig, tied bool, bind Bind) *Llama {
	w, kv := c.HiddenSize, c.NumKeyValueHeads*c.HeadDim
	m := &Llama{Config: c, Tokens: bind(llamaTokenName, c.VocabSize, w)}
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
	if m.LMHead = m.Tokens; !tied {
		m.LMHead = bind(llamaHeadName, c.VocabSize, w)
	}
	return m
}

// CrossKV takes a picture's vectors [B, P, hidden] through the layers, to each layer's KV [B, KV, P, head width]. What a
// prompt puts before captions is counted in P.
func (m *Llama) CrossKV(x *Node) []KV {
	x = m.withPrompt(x)
	all := make([]KV, len(m.Layer))
	turn := m.rotation(x.Graph(), 0, x.Shape().Dim(1))
	bias := causalBias(x.Graph(), x.Shape().Dim(1))
	for i := range m.Layer {
		if m.gradientCheckpointing {
			x = x.Checkpoint()
		}
		l := &m.Layer[i]
		h := l.InputNorm.Forward(x)
		all[i] = m.keysAndValues(l, h, turn)
		if i == len(m.Layer)-1 {
			break // nothing reads what would come of it
		}
		q := m.queries(l, h, 1, turn) // [B, KV, 1, G, P, head width]
		p := softmax(Add(m.scores(q, all[i]), InsertAxes(bias, 0, 0)))
		x = Add(x, l.Output.Forward(m.joinHeads(m.weigh(p, all[i]))))
		x = Add(x, l.mlp(x))
	}
	if m.gradientCheckpointing {
		for i := range all {
			all[i] = KV{K: all[i].K.StopCheckpoint(), V: all[i].V.StopCheckpoint()}
		}
	}
	return all
}

// Forward runs whole captions, K of each picture, behind the pictures' keys and values.
//
//	ids [B·K, T] int32, pictures of B → [B·K, T, hidden], input of Logits
//
// Of what a Llama is trained with, dropout of attention is done, of captions' tokens.
func (m *Llama) Forward(ids *Node, pictures []KV, drop *Dropout) *Node {
	g, rows, t := ids.Graph(), ids.Shape().Dim(0), ids.Shape().Dim(1)
	k := rows / pictures[0].K.Shape().Dim(0)
	turn := m.rotation(g, pictures[0].K.Shape().Dim(2), t)
	bias := InsertAxes(causalBias(g, t), 0, 0) // [1, 1, 1, 1, T, T]
	x := m.embed(m.afterPrompt(ids))           // [B·K, T, hidden]
	for i := range m.Layer {
		if m.gradientCheckpointing {
			x = x.Checkpoint()
		}
		l := &m.Layer[i]
		h := l.InputNorm.Forward(x)
		a := m.attend(m.queries(l, h, k, turn), pictures[i], m.keysAndValues(l, h, turn), bias, drop)
		x = Add(x, l.Output.Forward(Reshape(a, rows, t, -1)))
		x = Add(x, l.mlp(x))
	}
	if m.gradientCheckpointing {
		x = x.StopCheckpoint()
	}
	return m.Norm.Forward(x)
}

// Step runs one token of each row, with the keys and values of the rows' earlier tokens.
// K rows in a row caption one picture.
//
//	tokens [B·K] int32, position scalar int32, self with room for all positions, pictures of B
//	→ [B·K, hidden], self with this position filled in
func (m *Llama) Step(tokens, position *Node, self, pictures []KV) (*Node, []KV) {
	g, n, room := tokens.Graph(), tokens.Shape().Dim(0), self[0].K.Shape().Dim(2)
	prefix := pictures[0].K.Shape().Dim(2)
	at, all := Reshape(position, 1, 1), m.rotation(g, prefix, room)
	turn := rotation{Gather(all.cos, at), Gather(all.sin, at)} // [1, head width]
	positions := Iota(g, shapes.Make(dtypes.Int32, 1, 1, 1, 1, 1, room), 5)
	bias := Where(LessOrEqual(positions, position), ScalarZero(g, dtypes.Float32), Const(g, float32(masked)))
	if last := len(m.Prompt) - 1; last > 0 {
		tokens = Where(Equal(position, ScalarZero(g, position.DType())), Const(g, m.Prompt[last]), tokens)
	}
	x, next := InsertAxes(m.embed(tokens), 1), make([]KV, len(self)) // [N, 1, hidden]
	for i := range m.Layer {
		l := &m.Layer[i]
		h := l.InputNorm.Forward(x)
		own := m.keysAndValues(l, h, turn)
		next[i] = KV{K: fill(self[i].K, own.K, position), V: fill(self[i].V, own.V, position)}
		q := m.queries(l, h, n/pictures[i].K.Shape().Dim(0), turn)
		x = Add(x, l.Output.Forward(Reshape(m.attend(q, pictures[i], next[i], bias, nil), n, 1, -1)))
		x = Add(x, l.mlp(x))
	}
	return Reshape(m.Norm.Forward(x), n, m.Config.HiddenSize), next
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

// withPrompt puts start token and prompt, without its last token, behind pictures: [B, P, hidden] → [B, P + more, hidden]
func (m *Llama) withPrompt(x *Node) *Node {
	last := len(m.Prompt) - 1
	if last < 1 {
		return x
	}
	prompt := m.embed(Const(x.Graph(), m.Prompt[:last]))
	return Concatenate([]*Node{x, BroadcastToDims(InsertAxes(prompt, 0), x.Shape().Dim(0), last, m.Config.HiddenSize)}, 1)
}

// afterPrompt puts the prompt's last token where captions [rows, T] have their start token.
func (m *Llama) afterPrompt(ids *Node) *Node {
	last := len(m.Prompt) - 1
	if last < 1 {
		return ids
	}
	first := BroadcastToDims(Const(ids.Graph(), m.Prompt[last]), ids.Shape().Dim(0), 1)
	if ids.Shape().Dim(1) == 1 {
		return first
	}
	return Concatenate([]*Node{first, Slice(ids, AxisRange(), AxisRange(1))}, 1)
}

func (l *LlamaLayer) mlp(x *Node) *Node {
	h := l.PostAttentionNorm.Forward(x)
	return l.Down.Forward(Mul(silu(l.Gate.Forward(h)), l.Up.Forward(h)))
}

// queries: normed [B·K, T, hidden] → [B, KV, K, G, T, head width], turned and scaled
func (m *Llama) queries(l *LlamaLayer, h *Node, k int, turn rotation) *Node {
	c, rows, t := m.Config, h.Shape().Dim(0), h.Shape().Dim(1)
	q := turn.of(splitHeads(l.Query.Forward(h), c.NumAttentionHeads)) // [B·K, heads, T, head width]
	q = MulScalar(q, 1/math.Sqrt(float64(c.HeadDim)))
	q = Reshape(q, rows/k, k, c.NumKeyValueHeads, c.NumAttentionHeads/c.NumKeyValueHeads, t, c.HeadDim)
	return TransposeAllAxes(q, 0, 2, 1, 3, 4, 5)
}

// keysAndValues: normed [rows, T, hidden] → KV [rows, KV, T, head width], keys turned
func (m *Llama) keysAndValues(l *LlamaLayer, h *Node, turn rotation) KV {
	heads, dtype := m.Config.NumKeyValueHeads, l.Query.Weight.DType()
	return KV{
		K: ConvertDType(turn.of(splitHeads(l.Key.Forward(h), heads)), dtype),
		V: ConvertDType(splitHeads(l.Value.Forward(h), heads), dtype),
	}
}

// attend is attention of captions to their picture and to themselves.
//
//	q [B, KV, K, G, T, d], picture of B, own of B·K, bias added to the scores of own → [B·K, T, heads·d]
func (m *Llama) attend(q *Node, picture, own KV, bias *Node, drop *Dropout) *Node {
	prefix := picture.K.Shape().Dim(2)
	p := softmax(Concatenate([]*Node{m.scores(q, picture), Add(m.scores(q, own), bias)}, -1))
	p = drop.GroupedProbabilities(p)
	before := Slice(p, AxisRange().Spacer(), AxisRange(0, prefix))
	after := Slice(p, AxisRange().Spacer(), AxisRange(prefix))
	return m.joinHeads(Add(m.weigh(before, picture), m.weigh(after, own)))
}

// scores: q [B, KV, K, G, T, d], keys of B pictures [B, KV, S, d] or of B·K captions [B·K, KV, S, d] → [B, KV, K, G, T, S]
func (m *Llama) scores(q *Node, kv KV) *Node {
	d, s := q.Shape().Dimensions, kv.K.Shape().Dim(2)
	q, batch := m.rows(q, kv)
	return Reshape(dot(q, []int{q.Rank() - 1}, batch, m.ofRows(kv.K, q), []int{q.Rank() - 1}, batch),
		d[0], d[1], d[2], d[3], d[4], s)
}

// weigh: p [B, KV, K, G, T, S], values as scores' keys → [B, KV, K, G, T, d]
func (m *Llama) weigh(p *Node, kv KV) *Node {
	d, width := p.Shape().Dimensions, kv.V.Shape().Dim(3)
	p, batch := m.rows(p, kv)
	return Reshape(dot(p, []int{p.Rank() - 1}, batch, m.ofRows(kv.V, p), []int{p.Rank() - 2}, batch),
		d[0], d[1], d[2], d[3], d[4], width)
}

// rows are x [B, KV, K, G, T, n] as rows of one product with a picture's keys or values, [B, KV, K·G·T, n], or with
// each caption's own, [B, KV, K, G·T, n]; and the axes that both have.
func (m *Llama) rows(x *Node, kv KV) (rows *Node, batch []int) {
	d := x.Shape().Dimensions
	if kv.K.Shape().Dim(0) == d[0] {
		return Reshape(x, d[0], d[1], d[2]*d[3]*d[4], d[5]), []int{0, 1}
	}
	return Reshape(x, d[0], d[1], d[2], d[3]*d[4], d[5]), []int{0, 1, 2}
}

// ofRows puts keys or values [B·K, KV, S, d] beside rows of q.
func (m *Llama) ofRows(x, q *Node) *Node {
	if q.Rank() == 4 {
		return x
	}
	d := x.Shape().Dimensions
	k := q.Shape().Dim(2)
	return TransposeAllAxes(Reshape(x, d[0]/k, k, d[1], d[2], d[3]), 0, 2, 1, 3, 4)
}

// joinHeads: [B, KV, K, G, T, d] → [B·K, T, heads·d]
func (m *Llama) joinHeads(x *Node) *Node {
	d := x.Shape().Dimensions
	return Reshape(TransposeAllAxes(x, 0, 2, 4, 1, 3, 5), d[0]*d[2], d[4], d[1]*d[3]*d[5])
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
