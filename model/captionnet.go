package model

import (
	"fmt"
	"sort"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// VisionEncoderDecoder is the whole network as nodes of one graph. Its structs
// are named as in the checkpoint; every leaf is the node of one tensor. B is
// the number of pictures, K of captions a picture, T of tokens a caption, S of
// the encoder's vectors a picture.
type VisionEncoderDecoder struct {
	Encoder      Encoder
	EncToDecProj *Linear // only where the widths differ
	Decoder      GPT2
}

// Bind returns the node of a tensor. The network asks for each tensor once.
type Bind func(name string, shape ...int) *Node

// New binds the network that c describes.
func New(c *Config, bind Bind) *VisionEncoderDecoder {
	m := &VisionEncoderDecoder{Encoder: newEncoder(&c.Encoder, bind), Decoder: newGPT2(&c.Decoder, bind)}
	if !c.TieWordEmbeddings {
		m.Decoder.LMHead = bind(lmHeadName, c.Decoder.VocabSize, c.Decoder.NEmbd)
	}
	if c.Encoder.HiddenSize != c.Decoder.NEmbd {
		p := newLinear(bind, "enc_to_dec_proj", c.Encoder.HiddenSize, c.Decoder.NEmbd, true)
		m.EncToDecProj = &p
	}
	return m
}

// Encode makes the encoder's vectors of pictures: its last_hidden_state, on which captions depend in no other way.
//
//	pixels [B, H, W, 3] uint8 → [B, S, hidden]
func (m *VisionEncoderDecoder) Encode(pixels *Node, n Normalization) *Node {
	return m.Encoder.Forward(Normalize(pixels, n))
}

// CrossKV makes each decoder layer's cross-attention keys and values of Encode's vectors, once for all captions.
//
//	features [B, S, hidden] → a KV a layer
func (m *VisionEncoderDecoder) CrossKV(features *Node) []KV {
	h := features
	if m.EncToDecProj != nil {
		h = m.EncToDecProj.Forward(h) // [B, S, n_embd]
	}
	return m.Decoder.CrossKV(h)
}

// MultiplyIn makes the network multiply matrices in another dtype than float32: those of its
// layers and of the logits are rounded to it, and so is what they, and attention, multiply.
// The tensors bound, embeddings, biases, norms, softmax and all that is added stay float32.
func (m *VisionEncoderDecoder) MultiplyIn(dtype dtypes.DType) {
	matrices := []**Node{&m.Encoder.Embeddings.Projection.Weight, &m.Decoder.LMHead}
	for _, l := range m.linears() {
		matrices = append(matrices, l.weight)
		if lora := *l.lora; lora != nil {
			matrices = append(matrices, &lora.A, &lora.B)
		}
	}
	for _, w := range matrices {
		*w = ConvertDType(*w, dtype)
	}
}

// linear is a linear layer's place in a network.
type linear struct {
	name       string // its tensors' without .weight and .bias
	weight     **Node
	lora       **LowRank
	transposed bool // the weight is [in, out], as GPT-2 has it
	ofPictures bool // its input is a picture's: the same for all its captions

	seen *func(x *Node)
}

// linears are all but that of the patches and that of the logits.
func (m *VisionEncoderDecoder) linears() []linear {
	var list []linear
	add := func(name string, l *Linear) {
		list = append(list, linear{name, &l.Weight, &l.LoRA, false, true, &l.seen})
	}
	for i := range m.Encoder.Layer {
		l, n := &m.Encoder.Layer[i], m.Encoder.Config.Names().OfLayer(i)
		add(n.Query, &l.Query)
		add(n.Key, &l.Key)
		add(n.Value, &l.Value)
		add(n.AttentionOutput, &l.AttentionOutput)
		add(n.Up, &l.Up)
		add(n.Down, &l.Down)
	}
	if m.EncToDecProj != nil {
		add("enc_to_dec_proj", m.EncToDecProj)
	}
	for i := range m.Decoder.H {
		b := &m.Decoder.H[i]
		add := func(name string, l *Conv1D, ofPictures bool) {
			name = fmt.Sprintf("%s.%d.%s", decoderLayers, i, name)
			list = append(list, linear{name, &l.Weight, &l.LoRA, true, ofPictures, &l.seen})
		}
		add("attn.c_attn", &b.Attn.CAttn, false)
		add("attn.c_proj", &b.Attn.CProj, false)
		add("crossattention.c_attn", &b.CrossAttention.CAttn, true)
		add("crossattention.q_attn", &b.CrossAttention.QAttn, false)
		add("crossattention.c_proj", &b.CrossAttention.CProj, false)
		add("mlp.c_fc", &b.MLP.CFc, false)
		add("mlp.c_proj", &b.MLP.CProj, false)
	}
	return list
}

// Shapes returns every tensor's name and shape. A tied lm_head is absent.
func (c *Config) Shapes() map[string][]int {
	shapes := map[string][]int{}
	New(c, func(name string, shape ...int) *Node {
		shapes[name] = shape
		return nil
	})
	return shapes
}

// Names returns every tensor's name, sorted: the order in which weights are
// passed to a graph, summed over and written.
func (c *Config) Names() []string {
	shapes := c.Shapes()
	names := make([]string, 0, len(shapes))
	for name := range shapes {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// BindNodes binds names to nodes given in the order of Names.
func (c *Config) BindNodes(nodes []*Node) Bind {
	byName := make(map[string]*Node, len(nodes))
	for i, name := range c.Names() {
		byName[name] = nodes[i]
	}
	return func(name string, _ ...int) *Node { return byName[name] }
}
