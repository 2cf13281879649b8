package model

import (
	"fmt"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"distilvit/internal/device"
)

// Captioner decodes captions with cached keys and values. Its shapes are fixed
// by batch size, beams and maximal length, so that each is compiled once.
// It is safe for concurrent use, one call at a time running.
type Captioner struct {
	be      compute.Backend
	config  *Config
	norm    Normalization
	weights SharedWeights
	owned   []*tensors.Tensor // to be freed by Close
	view    bool              // Close frees nothing

	mu                                *sync.Mutex
	encode, cross, step, score, teach *device.Program
}

// NewCaptioner uploads weights to the backend's device.
func NewCaptioner(be compute.Backend, c *Config, w Weights) (*Captioner, error) {
	list, err := Upload(be, c, w)
	if err != nil {
		return nil, err
	}
	g, err := NewSharedCaptioner(be, c, func() ([]*tensors.Tensor, error) { return list, nil })
	if err != nil {
		device.Free(list...)
		return nil, err
	}
	g.owned = list
	return g, nil
}

// SharedWeights answers weights that live on a device, in the order of Config.Names; they stay the caller's.
type SharedWeights func() ([]*tensors.Tensor, error)

// NewSharedCaptioner uses weights that live on the device already; they are asked for at every call.
func NewSharedCaptioner(be compute.Backend, c *Config, weights SharedWeights) (*Captioner, error) {
	g := &Captioner{be: be, config: c, norm: HalfNormalization, weights: weights, mu: new(sync.Mutex)}
	for _, p := range []struct {
		program **device.Program
		name    string
		build   func([]*Node) []*Node
	}{
		{&g.encode, "encode pictures", g.buildEncode}, {&g.cross, "keys and values of pictures", g.buildCross},
		{&g.step, "decode a token", g.buildStep},
		{&g.score, "score a token", g.buildScore}, {&g.teach, "logits", g.buildLogits},
	} {
		var err error
		if *p.program, err = device.NewProgram(be, p.name, p.build); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Upload copies weights to the device, in the order of Config.Names.
func Upload(be compute.Backend, c *Config, w Weights) ([]*tensors.Tensor, error) {
	if err := w.Check(c); err != nil {
		return nil, err
	}
	var list []*tensors.Tensor
	for _, name := range c.Names() {
		t, err := device.Upload(be, w[name].Data, w[name].Shape...)
		if err != nil {
			device.Free(list...)
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		list = append(list, t)
	}
	return list, nil
}

// SetNormalization replaces the default of mean and standard deviation 0.5.
// Call it before the first caption.
func (g *Captioner) SetNormalization(n Normalization) { g.norm = n.Or(HalfNormalization) }

// Config returns the network's config.
func (g *Captioner) Config() *Config { return g.config }

// View is the same captioner, compiled graphs and all, whose Close does nothing.
func (g *Captioner) View() *Captioner {
	v := *g
	v.view = true
	return &v
}

// Close frees what the captioner holds on the device.
func (g *Captioner) Close() {
	if g.view {
		return
	}
	g.encode.Close()
	g.cross.Close()
	g.step.Close()
	g.score.Close()
	g.teach.Close()
	device.Free(g.owned...)
}

// Generate captions n pictures of H·W·3 RGB bytes each, with NumReturnSequences captions each. Ids are without the
// start token, with the end token where it was generated.
func (g *Captioner) Generate(pixels []uint8, n int, o GenerateOptions) ([][]int32, error) {
	bytes, side := g.pictureBytes(), g.config.Encoder.ImageSize
	if n < 0 || len(pixels) != n*bytes {
		return nil, fmt.Errorf("%d bytes of pixels for %d pictures of %d", len(pixels), n, bytes)
	}
	return g.batches(n, o, g.encode, func(first, count, batch int) (*tensors.Tensor, error) {
		return device.Upload(g.be, padded(pixels, first, count, batch, bytes), batch, side, side, 3)
	})
}

// GenerateEncoded is Generate of n pictures of which there is already what Encode makes of them: vectors [n, S, hidden].
func (g *Captioner) GenerateEncoded(vectors []float32, n int, o GenerateOptions) ([][]int32, error) {
	tokens, width := g.config.Encoder.Tokens(), g.config.Encoder.HiddenSize
	if n < 0 || len(vectors) != n*tokens*width {
		return nil, fmt.Errorf("%d numbers for %d pictures of %d vectors of %d", len(vectors), n, tokens, width)
	}
	return g.batches(n, o, g.cross, func(first, count, batch int) (*tensors.Tensor, error) {
		return device.Upload(g.be, padded(vectors, first, count, batch, tokens*width), batch, tokens, width)
	})
}

// padded are count of size numbers each from the first on, and zeros up to batch of them.
func padded[T any](all []T, first, count, batch, size int) []T {
	part := all[first*size : (first+count)*size]
	if count < batch {
		part = append(make([]T, 0, batch*size), part...)[:batch*size]
	}
	return part
}

// batches captions n pictures, of which upload brings a batch to the device as encode takes it.
func (g *Captioner) batches(
	n int, o GenerateOptions, encode *device.Program, upload func(first, count, batch int) (*tensors.Tensor, error),
) ([][]int32, error) {
	if o.MaxLength == 0 {
		o.MaxLength = DefaultGenerate().MaxLength
	}
	if err := o.Validate(g.config); err != nil {
		return nil, err
	}
	if o.NumReturnSequences > max(1, o.NumBeams) {
		return nil, fmt.Errorf("num_return_sequences is %d; must be at most num_beams %d", o.NumReturnSequences, o.NumBeams)
	}
	batch := o.BatchSize
	if batch <= 0 {
		batch = min(n, max(1, 256/max(1, o.NumBeams)), 32)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	ids := make([][]int32, 0, n)
	for first := 0; first < n; first += batch {
		count := min(batch, n-first)
		pictures, err := upload(first, count, batch)
		if err != nil {
			return nil, err
		}
		got, err := g.generate(encode, pictures, batch, count, &o)
		device.Free(pictures)
		if err != nil {
			return nil, err
		}
		ids = append(ids, got...)
	}
	return ids, nil
}

func (g *Captioner) pictureBytes() int {
	return g.config.Encoder.ImageSize * g.config.Encoder.ImageSize * 3
}

// generate decodes one batch, of which the first count pictures are real, and encode makes keys and values.
func (g *Captioner) generate(
	encode *device.Program, pictures *tensors.Tensor, batch, count int, o *GenerateOptions,
) ([][]int32, error) {
	weights, err := g.weights()
	if err != nil {
		return nil, err
	}
	cross, err := encode.Run(weights, []*tensors.Tensor{pictures})
	if err != nil {
		return nil, err
	}
	defer device.Free(cross...)
	start, ends := o.Start(g.config), o.Ends(g.config)
	state, err := g.firstState(batch*max(1, o.NumBeams), o.MaxLength, start)
	if err != nil {
		return nil, err
	}
	d := &decoding{
		g: g, o: o, weights: weights, cross: cross, state: state, start: start, ends: ends,
		process: o.LogitsProcessor(g.config),
	}
	defer d.close()
	switch {
	case o.NumBeams > 1:
		return d.search(batch, count)
	case d.process != nil:
		return d.constrained(batch, count)
	}
	return d.greedy(count)
}

// firstState is what a step takes and gives: tokens [N], position, and keys
// and values [N, heads, room, head width] of every layer.
func (g *Captioner) firstState(batch, maxLength int, startID int32) (state []*tensors.Tensor, err error) {
	heads, width := g.config.KeyHeads()
	room := min((maxLength-1+7)/8*8, g.config.Positions())
	start := make([]int32, batch)
	for i := range start {
		start[i] = startID
	}
	add := func(t *tensors.Tensor, e error) {
		if e != nil && err == nil {
			err = e
		}
		state = append(state, t)
	}
	add(device.Upload(g.be, start, batch))
	add(device.Upload(g.be, []int32{0}))
	zeros := make([]float32, batch*heads*room*width)
	for range 2 * g.config.DecoderLayers() {
		add(device.Upload(g.be, zeros, batch, heads, room, width))
	}
	if err != nil {
		device.Free(state...)
		return nil, err
	}
	return state, nil
}

// Logits runs one picture with the decoder's input ids, the start token first,
// and returns the logits [len(ids)·vocab] at every position.
func (g *Captioner) Logits(pixels []uint8, ids []int32) ([]float32, error) {
	positions, vocab := g.config.Positions(), g.config.VocabSize()
	if len(pixels) != g.pictureBytes() {
		return nil, fmt.Errorf("%d bytes of pixels for a picture of %d", len(pixels), g.pictureBytes())
	}
	if len(ids) < 1 || len(ids) > positions {
		return nil, fmt.Errorf("%d input ids; must be from 1 to the decoder's %d positions",
			len(ids), positions)
	}
	for _, id := range ids {
		if id < 0 || int(id) >= vocab {
			return nil, fmt.Errorf("input id %d; must be from 0 to below vocab_size %d", id, vocab)
		}
	}
	room := min((len(ids)+7)/8*8, positions) // what follows does not change what is before
	padded := append(make([]int32, 0, room), ids...)[:room]
	logits, err := g.teacherForced(pixels, 1, padded, room)
	if err != nil {
		return nil, err
	}
	return logits[:len(ids)*vocab], nil
}

// buildEncode: weights, pixels [N, H, W, 3] → keys and values of every layer's cross-attention
func (g *Captioner) buildEncode(in []*Node) []*Node {
	w := len(g.config.Names())
	m := New(g.config, g.config.BindNodes(in[:w]))
	return flatten(m.CrossKV(m.Encode(in[w], g.norm)))
}

// buildCross: weights, encoder's vectors [N, S, hidden] → keys and values of every layer's cross-attention
func (g *Captioner) buildCross(in []*Node) []*Node {
	w := len(g.config.Names())
	return flatten(New(g.config, g.config.BindNodes(in[:w])).CrossKV(in[w]))
}

// buildStep: tokens [N], position, self keys and values, weights, cross keys
// and values → next tokens, next position, self keys and values
func (g *Captioner) buildStep(in []*Node) []*Node {
	l, w := 2*g.config.DecoderLayers(), len(g.config.Names())
	tokens, position, self := in[0], in[1], pairs(in[2:2+l])
	m := New(g.config, g.config.BindNodes(in[2+l:2+l+w]))
	h, self := m.Decoder.Step(tokens, position, self, pairs(in[2+l+w:]))
	next := ArgMax(m.Decoder.Logits(h), -1, dtypes.Int32)
	return append([]*Node{next, AddScalar(position, 1)}, flatten(self)...)
}

// buildScore: rows [N] that each row goes on from, then as buildStep → logits [N, vocab],
// next position, self keys and values
func (g *Captioner) buildScore(in []*Node) []*Node {
	l, w := 2*g.config.DecoderLayers(), len(g.config.Names())
	rows := InsertAxes(in[0], -1)
	tokens, position, self := in[1], in[2], in[3:3+l]
	reordered := make([]*Node, l)
	for i, x := range self {
		reordered[i] = Gather(x, rows)
	}
	m := New(g.config, g.config.BindNodes(in[3+l:3+l+w]))
	h, next := m.Decoder.Step(tokens, position, pairs(reordered), pairs(in[3+l+w:]))
	return append([]*Node{m.Decoder.Logits(h), AddScalar(position, 1)}, flatten(next)...)
}

// buildLogits: weights, pixels [N, H, W, 3], ids [N·K, T] → [N·K, T, vocab]
func (g *Captioner) buildLogits(in []*Node) []*Node {
	w := len(g.config.Names())
	m := New(g.config, g.config.BindNodes(in[:w]))
	return []*Node{m.Decoder.Logits(m.Decoder.Forward(in[w+1], m.CrossKV(m.Encode(in[w], g.norm)), nil))}
}

func flatten(list []KV) []*Node {
	var nodes []*Node
	for _, kv := range list {
		nodes = append(nodes, kv.K, kv.V)
	}
	return nodes
}

func pairs(nodes []*Node) []KV {
	var list []KV
	for i := 0; i < len(nodes); i += 2 {
		list = append(list, KV{K: nodes[i], V: nodes[i+1]})
	}
	return list
}
