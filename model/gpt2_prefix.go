package model

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// GPT2Behind is Hugging Face's GPT2LMHeadModel as it is, without cross-attention, in which a picture's vectors stand before
// the caption's tokens and have the first positions. What is said of a picture's keys and values is said at Llama.
type GPT2Behind struct {
	GPT2
	prompt prompt
}

// Names of the tensors of a GPT-2 behind a picture, as a LLaVA's checkpoint has them.
const (
	gpt2Tokens    = textRoot + "wte"
	gpt2Positions = textRoot + "wpe"
	gpt2Norm      = textRoot + "ln_f"
	gpt2Layers    = textRoot + "h"
)

func newGPT2Behind(c *Config, bind Bind) *GPT2Behind {
	m := &GPT2Behind{GPT2: *newGPT2(&c.Decoder, textRoot, false, bind), prompt: newPrompt(c)}
	if !c.TieWordEmbeddings {
		m.LMHead = bind(textHeadName, c.Decoder.VocabSize, c.Decoder.NEmbd)
	}
	return m
}

// CrossKV takes a picture's vectors [B, P, n_embd] through the layers, to each layer's KV [B, heads, P, head width]. What a
// prompt puts before captions is counted in P.
func (m *GPT2Behind) CrossKV(x *Node) []KV {
	x = m.prompt.behind(x, m.embed)
	x = m.placed(x, 0)
	all := make([]KV, len(m.H))
	bias := InsertAxes(causalBias(x.Graph(), x.Shape().Dim(1)), 0, 0)
	for i := range m.H {
		if m.gradientCheckpointing {
			x = x.Checkpoint()
		}
		b := &m.H[i]
		q, own := m.queriesAndKV(i, x, 1)
		all[i] = own
		if i == len(m.H)-1 {
			break // nothing reads what would come of it
		}
		p := softmax(Add(groupedScores(q, own), bias))
		x = Add(x, b.Attn.CProj.Forward(joinGroups(weighGrouped(p, own))))
		x = Add(x, m.mlp(b, x))
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
//	ids [B·K, T] int32, pictures of B → [B·K, T, n_embd], input of Logits
//
// Dropout is that of captions' tokens: of their embeddings, attention and residuals.
func (m *GPT2Behind) Forward(ids *Node, pictures []KV, drop *Dropout) *Node {
	rows, t, prefix := ids.Shape().Dim(0), ids.Shape().Dim(1), pictures[0].K.Shape().Dim(2)
	k := rows / pictures[0].K.Shape().Dim(0)
	bias := InsertAxes(causalBias(ids.Graph(), t), 0, 0) // [1, 1, 1, 1, T, T]
	x := drop.Hidden(m.placed(m.embed(m.prompt.begin(ids)), prefix))
	for i := range m.H {
		if m.gradientCheckpointing {
			x = x.Checkpoint()
		}
		b := &m.H[i]
		q, own := m.queriesAndKV(i, x, k)
		a := attendBehind(q, pictures[i], own, bias, drop)
		x = Add(x, drop.Hidden(b.Attn.CProj.Forward(a)))
		x = Add(x, drop.Hidden(m.mlp(b, x)))
	}
	if m.gradientCheckpointing {
		x = x.StopCheckpoint()
	}
	return m.LnF.Forward(x)
}

// Step runs one token of each row, with the keys and values of the rows' earlier tokens. K rows in a row caption one picture.
//
//	tokens [B·K] int32, position scalar int32, self with room for all positions, pictures of B
//	→ [B·K, n_embd], self with this position filled in
func (m *GPT2Behind) Step(tokens, position *Node, self, pictures []KV) (*Node, []KV) {
	g, n, room := tokens.Graph(), tokens.Shape().Dim(0), self[0].K.Shape().Dim(2)
	prefix, k := pictures[0].K.Shape().Dim(2), n/pictures[0].K.Shape().Dim(0)
	positions := Iota(g, shapes.Make(dtypes.Int32, 1, 1, 1, 1, 1, room), 5)
	bias := Where(LessOrEqual(positions, position), ScalarZero(g, dtypes.Float32), Const(g, float32(masked)))
	at := Gather(m.WPE, Reshape(AddScalar(position, prefix), 1, 1))          // [1, n_embd]
	x := InsertAxes(Add(m.embed(m.prompt.beginAt(tokens, position)), at), 1) // [N, 1, n_embd]
	next := make([]KV, len(self))
	for i := range m.H {
		b := &m.H[i]
		q, own := m.queriesAndKV(i, x, k)
		next[i] = KV{K: fill(self[i].K, own.K, position), V: fill(self[i].V, own.V, position)}
		x = Add(x, b.Attn.CProj.Forward(attendBehind(q, pictures[i], next[i], bias, nil)))
		x = Add(x, m.mlp(b, x))
	}
	return Reshape(m.LnF.Forward(x), n, m.Config.NEmbd), next
}

// placed adds the embeddings of positions, from the first on, to x [rows, T, n_embd].
func (m *GPT2Behind) placed(x *Node, first int) *Node {
	return Add(x, InsertAxes(Slice(m.WPE, AxisRange(first, first+x.Shape().Dim(1))), 0))
}

// queriesAndKV of layer i: x [B·K, T, n_embd] → scaled queries [B, heads, K, 1, T, head width], KV [B·K, heads, T, head width]
func (m *GPT2Behind) queriesAndKV(i int, x *Node, k int) (*Node, KV) {
	b, heads := &m.H[i], m.Config.NHead
	qkv := Split(b.Attn.CAttn.Forward(b.Ln1.Forward(x)), -1, 3)
	q := MulScalar(splitHeads(qkv[0], heads), m.Config.ScoreScale(i))
	return groupQueries(q, heads, k), newKV(qkv[1], qkv[2], heads, b.Attn.CAttn.Weight.DType())
}
