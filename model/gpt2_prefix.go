package model

import (
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
	return m.layers().pictures(m.placed(m.prompt.behind(x, m.embed), 0))
}

// Forward runs whole captions, K of each picture, behind the pictures' keys and values.
//
//	ids [B·K, T] int32, pictures of B → [B·K, T, n_embd], input of Logits
//
// Dropout is that of captions' tokens: of their embeddings, attention and residuals.
func (m *GPT2Behind) Forward(ids *Node, pictures []KV, drop *Dropout) *Node {
	x := drop.Hidden(m.placed(m.embed(m.prompt.begin(ids)), pictures[0].K.Shape().Dim(2)))
	return m.LnF.Forward(m.layers().captions(x, pictures, drop, drop))
}

// Step runs one token of each row, with the keys and values of the rows' earlier tokens. K rows in a row caption one picture.
//
//	tokens [B·K] int32, position scalar int32, self with room for all positions, pictures of B
//	→ [B·K, n_embd], self with this position filled in
func (m *GPT2Behind) Step(tokens, position *Node, self, pictures []KV) (*Node, []KV) {
	at := Gather(m.WPE, Reshape(AddScalar(position, pictures[0].K.Shape().Dim(2)), 1, 1)) // [1, n_embd]
	x := InsertAxes(Add(m.embed(m.prompt.beginAt(tokens, position)), at), 1)              // [N, 1, n_embd]
	x, next := m.layers().token(x, position, self, pictures)
	return Reshape(m.LnF.Forward(x), tokens.Shape().Dim(0), m.Config.NEmbd), next
}

// placed adds the embeddings of positions, from the first on, to x [rows, T, n_embd].
func (m *GPT2Behind) placed(x *Node, first int) *Node {
	return Add(x, InsertAxes(Slice(m.WPE, AxisRange(first, first+x.Shape().Dim(1))), 0))
}

func (m *GPT2Behind) layers() behindPicture {
	s := behindPicture{gradientCheckpointing: m.gradientCheckpointing}
	for i := range m.H {
		s.layers = append(s.layers, gpt2Layer{m, &m.H[i], m.Config.ScoreScale(i)})
	}
	return s
}

// gpt2Layer is a block of a GPT-2 as a layerBehind; positions are in its input.
type gpt2Layer struct {
	m     *GPT2Behind
	block *GPT2Block
	scale float64 // of scores
}

func (l gpt2Layer) attention(x *Node, k int) (*Node, KV) {
	a, heads := &l.block.Attn, l.m.Config.NHead
	qkv := Split(a.CAttn.Forward(l.block.Ln1.Forward(x)), -1, 3)
	q := MulScalar(splitHeads(qkv[0], heads), l.scale)
	return groupQueries(q, heads, k), newKV(qkv[1], qkv[2], heads, a.CAttn.Weight.DType())
}

func (l gpt2Layer) output(a *Node) *Node { return l.block.Attn.CProj.Forward(a) }

func (l gpt2Layer) mlp(x *Node) *Node { return l.m.mlp(l.block, x) }
