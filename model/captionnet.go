package model

import (
	"sort"

	. "github.com/gomlx/gomlx/core/graph"
)

// VisionEncoderDecoder is the whole network as nodes of one graph. Its structs
// are named as in the checkpoint; every leaf is the node of one tensor. B is
// the number of pictures, K of captions a picture, T of tokens a caption, S of
// the encoder's vectors a picture.
type VisionEncoderDecoder struct {
	Encoder      ViT
	EncToDecProj *Linear // only where the widths differ
	Decoder      GPT2
}

// Bind returns the node of a tensor. The network asks for each tensor once.
type Bind func(name string, shape ...int) *Node

// New binds the network that c describes.
func New(c *Config, bind Bind) *VisionEncoderDecoder {
	m := &VisionEncoderDecoder{Encoder: newViT(&c.Encoder, bind), Decoder: newGPT2(&c.Decoder, bind)}
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
