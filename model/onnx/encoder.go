package onnx

import "distilvit/model"

// encoder builds the encoder: pixel_values float32 [batch_size, C, H, W] → last_hidden_state float32 [batch_size,
// T, width], a vector for each special token and patch, without a pooler, which nothing reads. Before a Llama the vectors
// are those that its caption begins with, projected to its width.
func encoder(c *model.Config, w model.Weights, n numbers, known *Calibration) (*graph, error) {
	e := c.Encoder
	names := e.Names()
	side := int64(e.ImageSize / e.PatchSize) // patches per row
	patch, width := int64(e.PatchSize), int64(e.HiddenSize)
	b := newBuilder("encoder", w, n, known)

	// Patches do not overlap, so their convolution is a matrix product; ConvInteger does not exist for every
	// kind of weight.
	x := b.input("pixel_values", elemFloat32, "batch_size", int64(e.NumChannels), int64(e.ImageSize),
		int64(e.ImageSize))
	x = b.op("Reshape", []string{x, b.ints(-1, int64(e.NumChannels), side, patch, side, patch)})
	x = b.op("Transpose", []string{x}, intsAttr("perm", 0, 2, 4, 1, 3, 5))
	x = b.op("Reshape", []string{x, b.ints(-1, side*side, int64(e.NumChannels)*patch*patch)})
	x = n.matmul(b, x, matrix{
		name: names.Patches + ".weight", in: e.NumChannels * e.PatchSize * e.PatchSize, out: e.HiddenSize,
		data: w[names.Patches+".weight"].Data, transposed: true, // [width, C, p, p]
	})
	x = b.bias(x, names.Patches) // [B, patches, width]

	x = b.withTokens(x, names, width)
	x = b.add(x, b.weight(names.Positions, 1, int64(e.Tokens()), width))
	if names.PreNorm != "" {
		x = b.layerNorm(x, names.PreNorm, e.LayerNormEps)
	}
	for i := range e.NumHiddenLayers - e.UnusedLayers {
		var err error
		if x, err = b.encoderLayer(x, names.OfLayer(i), e); err != nil {
			return nil, err
		}
	}
	if names.Norm != "" && e.UnusedLayers == 0 {
		x = b.layerNorm(x, names.Norm, e.LayerNormEps)
	}
	vectors := e.Tokens()
	if c.Kind == model.Prefix {
		var err error
		if x, err = b.projector(x, c.Projector, side, width); err != nil {
			return nil, err
		}
		vectors, width = c.PrefixLength(), int64(c.DecoderWidth())
	}
	b.output(x, "last_hidden_state", "batch_size", int64(vectors), width)
	return &b.graph, nil
}

// withTokens puts the vectors that stand for no patch before those of the patches: x [B, patches, width],
// result [B, T, width].
func (b *builder) withTokens(x string, names model.EncoderNames, width int64) string {
	if names.ClassToken == "" {
		return x
	}
	batch := b.op("Slice", []string{b.op("Shape", []string{"pixel_values"}), b.ints(0), b.ints(1)})
	shape := b.op("Concat", []string{batch, b.ints(1, width)}, axisAttr(0))
	tokens := []string{b.op("Expand", []string{b.weight(names.ClassToken, 1, 1, width), shape})}
	if names.DistillationToken != "" {
		tokens = append(tokens, b.op("Expand", []string{b.weight(names.DistillationToken, 1, 1, width), shape}))
	}
	return b.op("Concat", append(tokens, x), axisAttr(1))
}

// encoderLayer is one pre-norm transformer layer; x [B, T, width].
func (b *builder) encoderLayer(x string, n model.EncoderNames, e model.EncoderConfig) (string, error) {
	heads, d := e.NumAttentionHeads, e.HiddenSize/e.NumAttentionHeads
	h := b.layerNorm(x, n.Norm1, e.LayerNormEps)
	q := b.heads(b.linear(h, n.Query), heads, d)
	k := b.heads(b.linear(h, n.Key), heads, d)
	v := b.heads(b.linear(h, n.Value), heads, d)
	h = b.linear(b.attend(b.scores(q, k, e.ScoreScale()), v, heads, d), n.AttentionOutput)
	x = b.add(b.scaled(h, n.Scale1), x)
	h = b.layerNorm(x, n.Norm2, e.LayerNormEps)
	h, err := b.activation(b.linear(h, n.Up), e.HiddenAct)
	if err != nil {
		return "", err
	}
	return b.add(b.scaled(b.linear(h, n.Down), n.Scale2), x), nil
}

// scaled multiplies x with the scale of that name, if there is one.
func (b *builder) scaled(x, name string) string {
	if name == "" {
		return x
	}
	return b.mul(x, b.weight(name))
}
