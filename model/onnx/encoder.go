package onnx

import (
	"fmt"

	"distilvit/model"
)

// encoder builds the ViT: pixel_values float32 [batch_size, C, H, W] → last_hidden_state float32 [batch_size, T, width], a
// vector for each special token and patch, without the pooler, which nothing reads.
func encoder(c *model.Config, w model.Weights, n numbers) (*graph, error) {
	e := c.Encoder
	side := int64(e.ImageSize / e.PatchSize) // patches per row
	patch, width := int64(e.PatchSize), int64(e.HiddenSize)
	b := newBuilder("encoder", w, n)

	// Patches do not overlap, so their convolution is a matrix product; ConvInteger does not exist for every kind of weight.
	x := b.input("pixel_values", elemFloat32, "batch_size", int64(e.NumChannels), int64(e.ImageSize), int64(e.ImageSize))
	x = b.op("Reshape", []string{x, b.ints(-1, int64(e.NumChannels), side, patch, side, patch)})
	x = b.op("Transpose", []string{x}, intsAttr("perm", 0, 2, 4, 1, 3, 5))
	x = b.op("Reshape", []string{x, b.ints(-1, side*side, int64(e.NumChannels)*patch*patch)})
	projection := "encoder.embeddings.patch_embeddings.projection"
	x = n.matmul(b, x, matrix{
		name: projection + ".weight", in: e.NumChannels * e.PatchSize * e.PatchSize, out: e.HiddenSize,
		data: w[projection+".weight"].Data, transposed: true, // [width, C, p, p]
	})
	x = b.bias(x, projection) // [B, patches, width]

	batch := b.op("Slice", []string{b.op("Shape", []string{"pixel_values"}), b.ints(0), b.ints(1)})
	shape := b.op("Concat", []string{batch, b.ints(1, width)}, axisAttr(0))
	tokens := []string{b.op("Expand", []string{b.weight("encoder.embeddings.cls_token", 1, 1, width), shape})}
	if e.Distilled {
		tokens = append(tokens, b.op("Expand", []string{b.weight("encoder.embeddings.distillation_token", 1, 1, width), shape}))
	}
	x = b.op("Concat", append(tokens, x), axisAttr(1)) // [B, T, width]
	x = b.add(x, b.weight("encoder.embeddings.position_embeddings", 1, int64(e.Tokens()), width))

	for i := range e.NumHiddenLayers {
		var err error
		if x, err = b.vitLayer(x, fmt.Sprintf("encoder.encoder.layer.%d.", i), e); err != nil {
			return nil, err
		}
	}
	x = b.layerNorm(x, "encoder.layernorm", e.LayerNormEps)
	b.output(x, "last_hidden_state", "batch_size", int64(e.Tokens()), width)
	return &b.graph, nil
}

// vitLayer is one pre-norm transformer layer; x [B, T, width].
func (b *builder) vitLayer(x, name string, e model.ViTConfig) (string, error) {
	heads, d := e.NumAttentionHeads, e.HiddenSize/e.NumAttentionHeads
	h := b.layerNorm(x, name+"layernorm_before", e.LayerNormEps)
	q := b.heads(b.linear(h, name+"attention.attention.query"), heads, d)
	k := b.heads(b.linear(h, name+"attention.attention.key"), heads, d)
	v := b.heads(b.linear(h, name+"attention.attention.value"), heads, d)
	x = b.add(b.linear(b.attend(b.scores(q, k, e.ScoreScale()), v, heads, d), name+"attention.output.dense"), x)
	h = b.layerNorm(x, name+"layernorm_after", e.LayerNormEps)
	h, err := b.activation(b.linear(h, name+"intermediate.dense"), e.HiddenAct)
	if err != nil {
		return "", err
	}
	return b.add(b.linear(h, name+"output.dense"), x), nil
}
