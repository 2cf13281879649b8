package model

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// GPT2 is Hugging Face's GPT2LMHeadModel with cross-attention; GPT2Behind is one without.
type GPT2 struct {
	Config *GPT2Config
	WTE    *Node // [vocab, n_embd] token embeddings
	WPE    *Node // [positions, n_embd] position embeddings
	LMHead *Node // [vocab, n_embd] of the logits; WTE where they are tied
	H      []GPT2Block
	LnF    LayerNorm

	gradientCheckpointing bool // of Forward

	layers string // begins the names of H
	cross  bool   // with cross-attention
}

// GPT2Block is one layer: self-attention, cross-attention where there is one, MLP, norms first.
type GPT2Block struct {
	Ln1  LayerNorm
	Attn struct {
		CAttn Conv1D // [n_embd, 3·n_embd] queries | keys | values
		CProj Conv1D
	}
	LnCrossAttn    LayerNorm
	CrossAttention struct {
		CAttn Conv1D // [n_embd, 2·n_embd] keys | values of the encoder's vectors
		QAttn Conv1D
		CProj Conv1D
	}
	Ln2 LayerNorm
	MLP struct {
		CFc   Conv1D
		CProj Conv1D
	}
}

// newGPT2 binds tensors whose names begin with root.
func newGPT2(c *GPT2Config, root string, cross bool, bind Bind) *GPT2 {
	w, eps := c.NEmbd, c.LayerNormEpsilon
	m := &GPT2{
		Config: c, WTE: bind(root+"wte.weight", c.VocabSize, w),
		WPE: bind(root+"wpe.weight", c.NPositions, w), layers: root + "h", cross: cross,
	}
	for i := range c.NLayer {
		p := fmt.Sprintf("%sh.%d.", root, i)
		var b GPT2Block
		b.Ln1 = newLayerNorm(bind, p+"ln_1", w, eps)
		b.Attn.CAttn = newConv1D(bind, p+"attn.c_attn", w, 3*w)
		b.Attn.CProj = newConv1D(bind, p+"attn.c_proj", w, w)
		if cross {
			b.LnCrossAttn = newLayerNorm(bind, p+"ln_cross_attn", w, eps)
			b.CrossAttention.CAttn = newConv1D(bind, p+"crossattention.c_attn", w, 2*w)
			b.CrossAttention.QAttn = newConv1D(bind, p+"crossattention.q_attn", w, w)
			b.CrossAttention.CProj = newConv1D(bind, p+"crossattention.c_proj", w, w)
		}
		b.Ln2 = newLayerNorm(bind, p+"ln_2", w, eps)
		b.MLP.CFc = newConv1D(bind, p+"mlp.c_fc", w, c.Inner())
		b.MLP.CProj = newConv1D(bind, p+"mlp.c_proj", c.Inner(), w)
		m.H = append(m.H, b)
	}
	m.LnF = newLayerNorm(bind, root+"ln_f", w, eps)
	m.LMHead = m.WTE
	return m
}

// CrossKV takes the encoder's vectors [B, S, n_embd] to each layer's KV [B, heads, S, head width].
func (m *GPT2) CrossKV(enc *Node) []KV {
	all := make([]KV, len(m.H))
	for i := range m.H {
		c := &m.H[i].CrossAttention
		kv := Split(c.CAttn.Forward(enc), -1, 2)
		all[i] = newKV(kv[0], kv[1], m.Config.NHead, c.QAttn.Weight.DType())
	}
	return all
}

// Forward runs whole captions, K of each picture, against the pictures' cross
// keys and values.
//
//	ids [B·K, T] int32, cross of B pictures → [B·K, T, n_embd], input of Logits
func (m *GPT2) Forward(ids *Node, cross []KV, drop *Dropout) *Node {
	rows, t := ids.Shape().Dim(0), ids.Shape().Dim(1)
	x := Add(m.embed(ids), InsertAxes(Slice(m.WPE, AxisRange(0, t)), 0)) // [B·K, T, n_embd]
	x = drop.Hidden(x)
	bias := causalBias(ids.Graph(), t)
	for i := range m.H {
		if m.gradientCheckpointing {
			x = x.Checkpoint()
		}
		b, scale := &m.H[i], m.Config.ScoreScale(i)
		qkv := Split(b.Attn.CAttn.Forward(b.Ln1.Forward(x)), -1, 3)
		self := newKV(qkv[1], qkv[2], m.Config.NHead, b.Attn.CAttn.Weight.DType())
		a := attend(qkv[0], self, scale, bias, drop.SelfProbabilities)
		x = Add(x, drop.Hidden(b.Attn.CProj.Forward(a)))

		// a picture's captions are one long query of K·T positions
		pictures := cross[i].K.Shape().Dim(0)
		q := b.CrossAttention.QAttn.Forward(b.LnCrossAttn.Forward(x))
		q = Reshape(q, pictures, rows/pictures*t, m.Config.NEmbd)
		a = attend(q, cross[i], scale, nil, drop.CrossProbabilities)
		a = Reshape(a, rows, t, m.Config.NEmbd)
		x = Add(x, drop.Hidden(b.CrossAttention.CProj.Forward(a)))

		x = Add(x, drop.Hidden(m.mlp(b, x)))
	}
	if m.gradientCheckpointing {
		x = x.StopCheckpoint()
	}
	return m.LnF.Forward(x)
}

// Step runs one token of each row, with the keys and values of the rows' earlier tokens.
// K rows in a row caption one picture.
//
//	tokens [B·K] int32, position scalar int32, self with room for all positions, cross of B pictures
//	→ [B·K, n_embd], self with this position filled in
func (m *GPT2) Step(tokens, position *Node, self, cross []KV) (*Node, []KV) {
	n, heads := tokens.Shape().Dim(0), m.Config.NHead
	room := self[0].K.Shape().Dim(2)
	g := tokens.Graph()
	x := Add(m.embed(tokens), Gather(m.WPE, Reshape(position, 1, 1))) // [N, n_embd]
	x = InsertAxes(x, 1)                                              // [N, 1, n_embd]
	positions := Iota(g, shapes.Make(dtypes.Int32, 1, 1, 1, room), 3)
	// [1, 1, 1, room]
	bias := Where(LessOrEqual(positions, position), ScalarZero(g, dtypes.Float32), Const(g, float32(masked)))
	next := make([]KV, len(self))
	for i := range m.H {
		b, scale := &m.H[i], m.Config.ScoreScale(i)
		qkv := Split(b.Attn.CAttn.Forward(b.Ln1.Forward(x)), -1, 3)
		next[i] = KV{
			K: fill(self[i].K, splitHeads(qkv[1], heads), position),
			V: fill(self[i].V, splitHeads(qkv[2], heads), position),
		}
		x = Add(x, b.Attn.CProj.Forward(attend(qkv[0], next[i], scale, bias, nil)))

		pictures := cross[i].K.Shape().Dim(0)
		q := b.CrossAttention.QAttn.Forward(b.LnCrossAttn.Forward(x))
		q = Reshape(q, pictures, n/pictures, m.Config.NEmbd)
		a := Reshape(attend(q, cross[i], scale, nil, nil), n, 1, m.Config.NEmbd)
		x = Add(x, b.CrossAttention.CProj.Forward(a))

		x = Add(x, m.mlp(b, x))
	}
	return Reshape(m.LnF.Forward(x), n, m.Config.NEmbd), next
}

// Logits takes vectors [..., n_embd] to scores of the tokens, [..., vocab].
func (m *GPT2) Logits(x *Node) *Node {
	return dot(x, []int{x.Rank() - 1}, nil, m.LMHead, []int{1}, nil)
}

// embed: ids [...] → [..., n_embd]
func (m *GPT2) embed(ids *Node) *Node {
	return Gather(m.WTE, InsertAxes(ids, -1))
}

func (m *GPT2) mlp(b *GPT2Block, x *Node) *Node {
	act := activations[m.Config.ActivationFunction]
	return b.MLP.CProj.Forward(act(b.MLP.CFc.Forward(b.Ln2.Forward(x))))
}

func (m *GPT2) head() **Node { return &m.LMHead }

func (m *GPT2) checkpoint() { m.gradientCheckpointing = true }

func (m *GPT2) linears() (list []linear) {
	for i := range m.H {
		b := &m.H[i]
		add := func(name string, l *Conv1D, ofPictures bool) {
			name = fmt.Sprintf("%s.%d.%s", m.layers, i, name)
			list = append(list, linear{name, &l.Weight, &l.LoRA, true, ofPictures, &l.seen})
		}
		add("attn.c_attn", &b.Attn.CAttn, false)
		add("attn.c_proj", &b.Attn.CProj, false)
		if m.cross {
			add("crossattention.c_attn", &b.CrossAttention.CAttn, true)
			add("crossattention.q_attn", &b.CrossAttention.QAttn, false)
			add("crossattention.c_proj", &b.CrossAttention.CProj, false)
		}
		add("mlp.c_fc", &b.MLP.CFc, false)
		add("mlp.c_proj", &b.MLP.CProj, false)
	}
	return list
}

// fill puts one position's vectors [N, heads, 1, d] into the cache [N, heads,
// room, d]. The Go backend has no DynamicUpdateSlice.
func fill(cache, one, position *Node) *Node {
	d := cache.Shape().Dimensions
	here := Equal(Iota(cache.Graph(), shapes.Make(dtypes.Int32, 1, 1, d[2], 1), 2), position)
	return Where(BroadcastToDims(here, d...), BroadcastToDims(one, d...), cache)
}
