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
	Encoder   Encoder
	Projector *Projector // nil where the decoder takes the encoder's vectors as they are
	Decoder   Decoder
}

// Decoder writes captions of pictures, of which it keeps a KV a layer.
type Decoder interface {
	// CrossKV: a picture's vectors [B, S, decoder's width] → the KV [B, heads, S, head width] of each layer
	CrossKV(vectors *Node) []KV
	// Forward: ids [B·K, T] int32, pictures of B → [B·K, T, width], input of Logits
	Forward(ids *Node, pictures []KV, drop *Dropout) *Node
	// Step: tokens [B·K] int32, position scalar int32, self with room for all positions, pictures of B
	// → [B·K, width], self with this position filled in
	Step(tokens, position *Node, self, pictures []KV) (*Node, []KV)
	// Logits: [..., width] → [..., vocab]
	Logits(x *Node) *Node

	linears() []linear
	head() **Node // the matrix of the logits
	checkpoint()  // see VisionEncoderDecoder.CheckpointGradients
}

// Projector makes vectors of the encoder's width those of the decoder's.
type Projector struct {
	First     Linear
	Act       func(*Node) *Node // between both, or nil
	Second    *Linear           // or nil
	DropFirst bool              // the encoder's first vector, a class token, is left out
	Shuffle   int               // as ProjectorConfig.ScaleFactor

	names [2]string // of First and Second
}

// Bind returns the node of a tensor. The network asks for each tensor once.
type Bind func(name string, shape ...int) *Node

// New binds the network that c describes.
func New(c *Config, bind Bind) *VisionEncoderDecoder {
	m := &VisionEncoderDecoder{Encoder: newEncoder(&c.Encoder, bind)}
	switch {
	case c.HasLlama():
		m.Projector, m.Decoder = newLlavaProjector(c, bind), newLlama(c, bind)
		return m
	case c.Kind == Prefix:
		m.Projector, m.Decoder = newLlavaProjector(c, bind), newGPT2Behind(c, bind)
		return m
	}
	gpt2 := newGPT2(&c.Decoder, "decoder.transformer.", true, bind)
	if !c.TieWordEmbeddings {
		gpt2.LMHead = bind(lmHeadName, c.Decoder.VocabSize, c.Decoder.NEmbd)
	}
	if m.Decoder = gpt2; c.Encoder.HiddenSize != c.Decoder.NEmbd {
		m.Projector = &Projector{
			First: newLinear(bind, crossProjector, c.Encoder.HiddenSize, c.Decoder.NEmbd, true),
			names: [2]string{crossProjector},
		}
	}
	return m
}

// crossProjector is the projector of a VisionEncoderDecoderModel.
const crossProjector = "enc_to_dec_proj"

// Forward takes [B, S, encoder's width] to [B, vectors, decoder's width], Config.PrefixLength of them.
func (p *Projector) Forward(x *Node) *Node {
	if p.DropFirst {
		x = Slice(x, AxisRange(), AxisRange(1))
	}
	if p.Shuffle > 0 {
		x = shuffled(x, p.Shuffle)
	}
	if x = p.First.Forward(x); p.Act != nil {
		x = p.Act(x)
	}
	if p.Second != nil {
		x = p.Second.Forward(x)
	}
	return x
}

// Encode makes the encoder's vectors of pictures: its last_hidden_state, on which captions depend in no other way.
//
//	pixels [B, H, W, 3] uint8 → [B, S, hidden]
func (m *VisionEncoderDecoder) Encode(pixels *Node, n Normalization) *Node {
	return m.Encoder.Forward(Normalize(pixels, n))
}

// CrossKV makes each decoder layer's keys and values of Encode's vectors, once for all captions: those of
// cross-attention, or of vectors that stand before the captions.
//
//	features [B, S, hidden] → a KV a layer
func (m *VisionEncoderDecoder) CrossKV(features *Node) []KV {
	h := features
	if m.Projector != nil {
		h = m.Projector.Forward(h) // [B, S, decoder's width]
	}
	return m.Decoder.CrossKV(h)
}

// MultiplyIn makes the network multiply matrices in another dtype than float32: those of its
// layers and of the logits are rounded to it, and so is what they, and attention, multiply.
// The tensors bound, embeddings, biases, norms, softmax and all that is added stay float32.
func (m *VisionEncoderDecoder) MultiplyIn(dtype dtypes.DType) {
	matrices := []**Node{&m.Encoder.Embeddings.Projection.Weight, m.Decoder.head()}
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

// CheckpointGradients makes the network compute each layer again in the backward pass instead of keeping what it
// computed.
func (m *VisionEncoderDecoder) CheckpointGradients() {
	m.Encoder.GradientCheckpointing = true
	m.Decoder.checkpoint()
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
	if p := m.Projector; p != nil {
		add(p.names[0], &p.First)
		if p.Second != nil {
			add(p.names[1], p.Second)
		}
	}
	return append(list, m.Decoder.linears()...)
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

// EncoderShapes returns name and shape of every tensor that Encode reads.
func (c *Config) EncoderShapes() map[string][]int {
	shapes := map[string][]int{}
	newEncoder(&c.Encoder, func(name string, shape ...int) *Node {
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
