package onnx

import (
	"fmt"

	"distilvit/model"
)

// decoder builds GPT-2 with cross-attention. One graph serves the first call, whose caches have zero length, and the cached ones:
// positions and the causal mask follow from the caches' length.
//
//	input_ids               int64   [batch_size, sequence_length]
//	encoder_hidden_states   float32 [batch_size, encoder_sequence_length, encoder width]
//	past_key_values.N.key, past_key_values.N.value   float32 [batch_size, heads, past_sequence_length, width/heads]
//	→ logits                float32 [batch_size, sequence_length, vocabulary]
//	→ present.N.key, present.N.value                 float32 [batch_size, heads, past + sequence_length, width/heads]
//
// Transformers.js 4 makes the first caches from the declared shapes: numbers are kept, batch_size becomes 1, all else 0.
func decoder(c *model.Config, w model.Weights, n numbers) (*graph, error) {
	d := c.Decoder
	heads, size := int64(d.NHead), int64(d.NEmbd/d.NHead)
	b := newBuilder("decoder", w, n)
	ids := b.input("input_ids", elemInt64, "batch_size", "sequence_length")
	pictures := b.input("encoder_hidden_states", elemFloat32, "batch_size", "encoder_sequence_length", int64(c.Encoder.HiddenSize))
	for i := range d.NLayer {
		for _, kind := range []string{"key", "value"} {
			b.input(cacheName("past_key_values", i, kind), elemFloat32, "batch_size", heads, "past_sequence_length", size)
		}
	}

	// Rows are the positions of the new tokens [T], columns those of all [S]; a token sees what is not after it.
	length := b.op("Gather", []string{b.op("Shape", []string{ids}), b.int(1)}, axisAttr(0))
	past := b.op("Gather", []string{b.op("Shape", []string{cacheName("past_key_values", 0, "key")}), b.int(2)}, axisAttr(0))
	total := b.add(past, length)
	rows := b.op("Range", []string{past, total, b.int(1)})
	columns := b.op("Range", []string{b.int(0), total, b.int(1)})
	seen := b.op("LessOrEqual", []string{columns, b.op("Unsqueeze", []string{rows, b.ints(1)})})
	mask := b.op("Where", []string{seen, b.float(0), b.float(-3.4028234663852886e38)}) // [T, S]

	transformer := "decoder.transformer."
	tokens := b.table(transformer + "wte.weight")
	x := n.gather(b, tokens, ids)
	x = b.add(x, n.gather(b, b.table(transformer+"wpe.weight"), b.op("Unsqueeze", []string{rows, b.ints(0)}))) // [B, T, width]

	if c.Encoder.HiddenSize != d.NEmbd {
		pictures = b.linear(pictures, "enc_to_dec_proj")
	}
	present := make([]string, 0, 2*d.NLayer)
	for i := range d.NLayer {
		var key, val string
		var err error
		if x, key, val, err = b.gptBlock(x, pictures, mask, i, d); err != nil {
			return nil, err
		}
		present = append(present, key, val)
	}
	x = b.layerNorm(x, transformer+"ln_f", d.LayerNormEpsilon)

	if !c.TieWordEmbeddings {
		tokens = b.table("decoder.lm_head.weight")
	}
	b.output(n.matmul(b, x, tokens), "logits", "batch_size", "sequence_length", int64(d.VocabSize))
	for i, x := range present {
		name := cacheName("present", i/2, []string{"key", "value"}[i%2])
		b.output(x, name, "batch_size", heads, "past_sequence_length + sequence_length", size)
	}
	return &b.graph, nil
}

// cacheName is how Transformers.js finds a layer's cache.
func cacheName(prefix string, layer int, kind string) string {
	return fmt.Sprintf("%s.%d.%s", prefix, layer, kind)
}

// table is a weight [rows, width] seen as [width, rows], the form that an output layer multiplies with: the tied table of the tokens
// is stored once, and nothing has to be transposed when the model is loaded.
func (b *builder) table(name string) matrix {
	t := b.weights[name]
	return matrix{name: name, in: t.Shape[1], out: t.Shape[0], data: t.Data, transposed: true}
}

// gptBlock is one layer; x [B, T, width], pictures [B, P, width], mask [T, S].
func (b *builder) gptBlock(x, pictures, mask string, layer int, d model.GPT2Config) (out, key, val string, err error) {
	name := fmt.Sprintf("decoder.transformer.h.%d.", layer)
	width, heads, size, scale := int64(d.NEmbd), d.NHead, d.NEmbd/d.NHead, d.ScoreScale(layer)

	h := b.layerNorm(x, name+"ln_1", d.LayerNormEpsilon)
	qkv := b.ops("Split", 3, []string{b.conv1d(h, name+"attn.c_attn"), b.ints(width, width, width)}, axisAttr(-1))
	q, k, v := b.heads(qkv[0], heads, size), b.heads(qkv[1], heads, size), b.heads(qkv[2], heads, size)
	key = b.op("Concat", []string{cacheName("past_key_values", layer, "key"), k}, axisAttr(2))
	val = b.op("Concat", []string{cacheName("past_key_values", layer, "value"), v}, axisAttr(2))
	x = b.add(b.conv1d(b.attention(q, key, val, mask, heads, size, scale), name+"attn.c_proj"), x)

	h = b.layerNorm(x, name+"ln_cross_attn", d.LayerNormEpsilon)
	q = b.heads(b.conv1d(h, name+"crossattention.q_attn"), heads, size)
	kv := b.ops("Split", 2, []string{b.conv1d(pictures, name+"crossattention.c_attn"), b.ints(width, width)}, axisAttr(-1))
	k, v = b.heads(kv[0], heads, size), b.heads(kv[1], heads, size)
	x = b.add(b.conv1d(b.attention(q, k, v, "", heads, size, scale), name+"crossattention.c_proj"), x)

	h = b.layerNorm(x, name+"ln_2", d.LayerNormEpsilon)
	if h, err = b.activation(b.conv1d(h, name+"mlp.c_fc"), d.ActivationFunction); err != nil {
		return "", "", "", err
	}
	return b.add(b.conv1d(h, name+"mlp.c_proj"), x), key, val, nil
}
