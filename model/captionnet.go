package model

import (
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

// CrossKV encodes pictures and makes each decoder layer's cross-attention keys
// and values of them, once for all captions.
//
//	pixels [B, H, W, 3] uint8 → a KV a layer
func (m *VisionEncoderDecoder) CrossKV(pixels *Node, n Normalization) []KV {
	h := m.Encoder.Forward(Normalize(pixels, n)) // [B, S, hidden]
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
	for i := range m.Encoder.Layer {
		l := &m.Encoder.Layer[i]
		for _, linear := range []*Linear{
			&l.Query, &l.Key, &l.Value, &l.AttentionOutput, &l.Up, &l.Down,
		} {
			matrices = append(matrices, &linear.Weight)
		}
	}
	if m.EncToDecProj != nil {
		matrices = append(matrices, &m.EncToDecProj.Weight)
	}
	for i := range m.Decoder.H {
		b := &m.Decoder.H[i]
		for _, conv := range []*Conv1D{
			&b.Attn.CAttn, &b.Attn.CProj, &b.CrossAttention.CAttn, &b.CrossAttention.QAttn,
			&b.CrossAttention.CProj, &b.MLP.CFc, &b.MLP.CProj,
		} {
			matrices = append(matrices, &conv.Weight)
		}
	}
	for _, w := range matrices {
		*w = ConvertDType(*w, dtype)
	}
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
