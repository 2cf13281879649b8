package onnx

import (
	"fmt"
	"math"

	"distilvit/model"
)

// decoder builds GPT-2 with cross-attention. One graph serves the first call, whose caches have zero length,
// and the cached ones.
//
//	input_ids                    int64   [batch_size, sequence_length]
//	encoder_hidden_states        float32 [batch_size, encoder_sequence_length, encoder width]
//	past_key_values.N.key, …     float32 [batch_size, heads, past_sequence_length, width/heads], and .value
//	→ logits                     float32 [batch_size, sequence_length, vocabulary]
//	→ present.N.key, …           float32 [batch_size, heads, present_sequence_length, width/heads], and .value
//
// A cache begins with what cross-attention sees of the picture, P = encoder_sequence_length positions, and
// goes on with the tokens so far. Transformers.js has no caches of their own for a GPT-2's cross-attention,
// but passes on whatever a present holds, so the picture is projected in the first call only: in the others
// none of its positions are left to project, and a matrix product of no rows costs nothing. That takes no If,
// with its two graphs.
//
// Transformers.js 4 makes the first caches from the declared shapes: numbers are kept, batch_size becomes 1,
// all else 0.
func decoder(c *model.Config, w model.Weights, n numbers, known *Calibration) (*graph, error) {
	d := c.Decoder
	b := newBuilder("decoder", w, n, known)
	ids := b.input("input_ids", elemInt64, "batch_size", "sequence_length")
	pictures := b.input("encoder_hidden_states", elemFloat32, "batch_size", "encoder_sequence_length",
		int64(c.Encoder.HiddenSize))
	b.cacheInputs(c)
	views := b.cacheViews(ids, pictures)

	transformer := "decoder.transformer."
	tokens := b.table(transformer + "wte.weight")
	x := n.gather(b, tokens, ids)
	positions := b.table(transformer + "wpe.weight")
	positions.fine = true
	// [B, T, width]
	x = b.add(x, n.gather(b, positions, b.op("Unsqueeze", []string{views.positions, b.ints(0)})))

	// [B, P or 0, encoder width]
	pictures = b.op("Slice", []string{pictures, b.ints(0), views.unprojected, b.ints(1)})
	if c.Encoder.HiddenSize != d.NEmbd {
		pictures = b.linear(pictures, "enc_to_dec_proj")
	}
	present := make([]string, 0, 2*d.NLayer)
	for i := range d.NLayer {
		var key, val string
		var err error
		if x, key, val, err = b.gptBlock(x, pictures, views, i, d); err != nil {
			return nil, err
		}
		present = append(present, key, val)
	}
	x = b.layerNorm(x, transformer+"ln_f", d.LayerNormEpsilon)

	if !c.TieWordEmbeddings {
		tokens = b.table("decoder.lm_head.weight")
		tokens.table = false
	}
	b.output(n.matmul(b, x, tokens), "logits", "batch_size", "sequence_length", int64(d.VocabSize))
	b.cacheOutputs(c, present)
	return &b.graph, nil
}

var cacheKinds = []string{"key", "value"}

// cacheInputs declares the caches so far.
func (b *builder) cacheInputs(c *model.Config) {
	heads, size := c.KeyHeads()
	for i := range c.DecoderLayers() {
		for _, kind := range cacheKinds {
			b.input(cacheName("past_key_values", i, kind), elemFloat32, "batch_size", int64(heads),
				"past_sequence_length", int64(size))
		}
	}
}

// cacheOutputs declares the caches that the next call gets, keys and values by turns.
func (b *builder) cacheOutputs(c *model.Config, present []string) {
	heads, size := c.KeyHeads()
	for i, x := range present {
		name := cacheName("present", i/2, cacheKinds[i%2])
		b.output(x, name, "batch_size", int64(heads), "present_sequence_length", int64(size))
	}
}

// cacheViews are the values by which a graph finds its way in caches [B, heads, P + tokens, d].
type cacheViews struct {
	picture     string // [1], P: where tokens begin
	unprojected string // [1], P in the first call, then 0: positions of the picture that no cache holds yet
	positions   string // [T], of the new tokens among all
	tokens      string // mask [T, tokens]: a token sees what is not after it
	crossed     string // mask [P + tokens]: cross-attention sees the picture
}

func (b *builder) cacheViews(ids, pictures string) cacheViews {
	length, picture, cached := b.size(ids, 1), b.size(pictures, 1), b.size(
		cacheName("past_key_values", 0, "key"), 2,
	)
	projected := b.op("Min", []string{cached, picture}) // 0 or P
	past := b.op("Sub", []string{cached, projected})    // tokens of earlier calls
	total := b.add(past, length)
	positions := b.op("Range", []string{b.scalar(past), b.scalar(total), b.int(1)})
	columns := b.op("Range", []string{b.int(0), b.scalar(total), b.int(1)})
	all := b.op("Range", []string{b.int(0), b.scalar(b.add(picture, total)), b.int(1)})
	return cacheViews{
		picture:     picture,
		unprojected: b.op("Sub", []string{picture, projected}),
		positions:   positions,
		tokens: b.mask(
			b.op("LessOrEqual", []string{columns, b.op("Unsqueeze", []string{positions, b.ints(1)})}),
		),
		crossed: b.mask(b.op("Less", []string{all, picture})),
	}
}

// size is the length [1] of an axis.
func (b *builder) size(x string, axis int64) string {
	return b.op("Gather", []string{b.op("Shape", []string{x}), b.ints(axis)}, axisAttr(0))
}

func (b *builder) scalar(x string) string { return b.op("Squeeze", []string{x}) }

// mask is what is added to scores: nothing to those that are seen, and to others what makes them vanish.
func (b *builder) mask(seen string) string {
	return b.op("Where", []string{seen, b.float(0), b.float(-3.4028234663852886e38)})
}

// cacheName is how Transformers.js finds a layer's cache.
func cacheName(prefix string, layer int, kind string) string {
	return fmt.Sprintf("%s.%d.%s", prefix, layer, kind)
}

// table is a weight [rows, width] seen as [width, rows], the form that an output layer multiplies with: the
// tied table of the tokens is stored once, and nothing has to be transposed when the model is loaded.
func (b *builder) table(name string) matrix {
	t := b.weights[name]
	return matrix{name: name, in: t.Shape[1], out: t.Shape[0], data: t.Data, transposed: true, table: true}
}

// gptBlock is one layer; x [B, T, width], pictures [B, P or 0, width].
func (b *builder) gptBlock(
	x, pictures string, views cacheViews, layer int, d model.GPT2Config,
) (out, key, val string, err error) {
	name := fmt.Sprintf("decoder.transformer.h.%d.", layer)
	width, heads, size, scale := int64(d.NEmbd), d.NHead, d.NEmbd/d.NHead, d.ScoreScale(layer)
	kv := b.ops("Split", 2, []string{
		b.conv1d(pictures, name+"crossattention.c_attn"), b.ints(width, width),
	}, axisAttr(-1))

	h := b.layerNorm(x, name+"ln_1", d.LayerNormEpsilon)
	qkv := b.ops(
		"Split", 3, []string{b.conv1d(h, name+"attn.c_attn"), b.ints(width, width, width)}, axisAttr(-1),
	)
	present := func(kind, cross, self string) (all, tokens string) {
		past := cacheName("past_key_values", layer, kind)
		all = b.op(
			"Concat", []string{past, b.heads(cross, heads, size), b.heads(self, heads, size)}, axisAttr(2),
		)
		return all, b.op("Slice", []string{all, views.picture, b.ints(math.MaxInt64), b.ints(2)})
	}
	key, k := present("key", kv[0], qkv[1])
	val, v := present("value", kv[1], qkv[2])
	scores := b.add(b.cachedScores(qkv[0], k, heads, size, scale), views.tokens)
	x = b.add(b.conv1d(b.attend(scores, v, heads, size), name+"attn.c_proj"), x)

	// The picture's part of a cache is large: masking the tokens costs less than cutting them off.
	h = b.layerNorm(x, name+"ln_cross_attn", d.LayerNormEpsilon)
	scores = b.add(
		b.cachedScores(b.conv1d(h, name+"crossattention.q_attn"), key, heads, size, scale), views.crossed,
	)
	x = b.add(b.conv1d(b.attend(scores, val, heads, size), name+"crossattention.c_proj"), x)

	x, err = b.gptMLP(x, name, d)
	return x, key, val, err
}

// gptMLP is the second half of a layer whose tensors' names begin with name; x [B, T, width].
func (b *builder) gptMLP(x, name string, d model.GPT2Config) (string, error) {
	h := b.layerNorm(x, name+"ln_2", d.LayerNormEpsilon)
	h, err := b.activation(b.conv1d(h, name+"mlp.c_fc"), d.ActivationFunction)
	if err != nil {
		return "", err
	}
	return b.add(b.conv1d(h, name+"mlp.c_proj"), x), nil
}

// cachedScores are scale·q·kᵀ computed as (k·qᵀ)ᵀ, of which nothing large is transposed: q [B, T, heads·d], k
// [B, heads, S, d], result [B, heads, T, S]. ONNX Runtime moves a transposition of k to the other side of the
// caches' Concat, where it costs three copies.
func (b *builder) cachedScores(q, k string, heads, d int, scale float64) string {
	q = b.op("Reshape", []string{q, b.ints(0, 0, int64(heads), int64(d))})
	q = b.op("Transpose", []string{q}, intsAttr("perm", 0, 2, 3, 1))
	scores := b.mul(b.op("MatMul", []string{k, q}), b.float(scale))
	return b.op("Transpose", []string{scores}, intsAttr("perm", 0, 1, 3, 2))
}
