package onnx

import (
	"fmt"
	"math"

	"distilvit/model"
)

// prefixDecoder builds a Llama or a GPT-2 before whose tokens a picture's vectors stand. Its inputs and outputs are decoder's;
// the encoder's file has projected the vectors. As there one graph serves the first call and the cached ones: positions of
// the picture that no cache holds yet are fed before the tokens, all P in the first call and then none. So is a prompt,
// which the first call feeds behind its first token, the start token; that token's logits are then those behind the prompt.
//
// Heads of keys and values are fewer than those of queries. The queries of a group are rows of one product with the keys
// that they share, so that nothing is repeated.
func prefixDecoder(c *model.Config, w model.Weights, n numbers, known *Calibration) (*graph, error) {
	b := newBuilder("decoder", w, n, known)
	ids := b.input("input_ids", elemInt64, "batch_size", "sequence_length")
	pictures := b.input("encoder_hidden_states", elemFloat32, "batch_size", "encoder_sequence_length", int64(c.DecoderWidth()))
	b.cacheInputs(c)
	views := b.prefixViews(c, ids, pictures)

	table := b.table(c.TableName())
	pictures = b.op("Slice", []string{pictures, b.ints(0), views.unseen, b.ints(1)})
	x := b.op("Concat", []string{pictures, n.gather(b, table, views.ids)}, axisAttr(1)) // [B, P or 0 + T, hidden]
	layer := func(x string, i int) (out, key, val string, err error) { return b.llamaLayer(x, views, i, &c.Llama) }
	if c.GPT2 {
		x = b.placed(x, views)
		layer = func(x string, i int) (out, key, val string, err error) { return b.gptBehind(x, views, i, c.Decoder) }
	}
	var present []string
	for i := range c.DecoderLayers() {
		var key, val string
		var err error
		if x, key, val, err = layer(x, i); err != nil {
			return nil, err
		}
		present = append(present, key, val)
	}
	x = b.op("Slice", []string{x, views.before, b.ints(math.MaxInt64), b.ints(1)}) // those of the tokens
	if c.GPT2 {
		x = b.layerNorm(x, textRoot+"ln_f", c.Decoder.LayerNormEpsilon)
	} else {
		x = b.rmsNorm(x, textRoot+"norm", c.Llama.RMSNormEps)
	}
	if !c.TieWordEmbeddings {
		table = b.table(c.HeadName())
		table.table = false
	}
	b.output(n.matmul(b, x, table), "logits", "batch_size", "sequence_length", int64(c.VocabSize()))
	b.cacheOutputs(c, present)
	return &b.graph, nil
}

// textRoot begins the names of the decoder's tensors.
const textRoot = "language_model.model."

// prefixViews are the values by which a graph finds its way in caches [B, KV, P + tokens, d], N the positions that are
// fed: P + T in the first call, then T; with a prompt its tokens are among T in the first call.
type prefixViews struct {
	unseen    string // [1], P in the first call, then 0
	ids       string // [B, T], those that are fed
	before    string // [1], of the positions that are fed those before the first whose logits are asked for
	positions string // [N], those that are fed
	mask      string // [N, S]: a position sees what is not after it

	// of a Llama
	cos, sin string // [N, 1, d], of the angles by which heads are turned
	apart    string // shape of scores by query head, [B, KV, G, N, S]
	together string // shape of scores by key head, [B, KV, G·N, S]
}

func (b *builder) prefixViews(c *model.Config, ids, pictures string) prefixViews {
	past, picture := b.size(cacheName("past_key_values", 0, "key"), 2), b.size(pictures, 1)
	unseen := b.op("Sub", []string{picture, b.op("Min", []string{past, picture})})
	ids, prompted := b.withPrompt(c.PromptIDs, ids, unseen)
	before := unseen
	if prompted != "" {
		before = b.add(unseen, prompted)
	}
	total := b.add(past, b.add(unseen, b.size(ids, 1)))
	positions := b.op("Range", []string{b.scalar(past), b.scalar(total), b.int(1)})
	columns := b.op("Range", []string{b.int(0), b.scalar(total), b.int(1)})
	seen := b.op("LessOrEqual", []string{columns, b.op("Unsqueeze", []string{positions, b.ints(1)})})
	views := prefixViews{unseen: unseen, ids: ids, before: before, positions: positions, mask: b.mask(seen)}
	if l := &c.Llama; !c.GPT2 {
		groups := int64(l.NumAttentionHeads / l.NumKeyValueHeads)
		views.apart = b.op("Concat", []string{b.ints(0, 0, groups, -1), total}, axisAttr(0))
		views.together = b.op("Concat", []string{b.ints(0, 0, -1), total}, axisAttr(0))
		views.cos, views.sin = b.angles(l, positions)
	}
	return views
}

// placed adds a GPT-2's embeddings of positions to x [B, N, width].
func (b *builder) placed(x string, views prefixViews) string {
	table := b.table(textRoot + "wpe.weight")
	table.fine = true
	return b.add(x, b.numbers.gather(b, table, b.op("Unsqueeze", []string{views.positions, b.ints(0)})))
}

// gptBehind is one layer of a GPT-2 without cross-attention; x [B, N, width].
func (b *builder) gptBehind(
	x string, views prefixViews, layer int, d model.GPT2Config,
) (out, key, val string, err error) {
	name := fmt.Sprintf(textRoot+"h.%d.", layer)
	width, heads, size := int64(d.NEmbd), d.NHead, d.NEmbd/d.NHead
	h := b.layerNorm(x, name+"ln_1", d.LayerNormEpsilon)
	qkv := b.ops("Split", 3, []string{b.conv1d(h, name+"attn.c_attn"), b.ints(width, width, width)}, axisAttr(-1))
	present := func(kind, own string) string {
		past := cacheName("past_key_values", layer, kind)
		return b.op("Concat", []string{past, b.heads(own, heads, size)}, axisAttr(2))
	}
	key, val = present("key", qkv[1]), present("value", qkv[2])
	scores := b.add(b.cachedScores(qkv[0], key, heads, size, d.ScoreScale(layer)), views.mask)
	x = b.add(b.conv1d(b.attend(scores, val, heads, size), name+"attn.c_proj"), x)
	x, err = b.gptMLP(x, name, d)
	return x, key, val, err
}

// withPrompt puts a prompt behind the first of ids [B, T] in the first call, and says how many of its tokens it put there,
// [1]; "" without a prompt.
func (b *builder) withPrompt(prompt []int32, ids, unseen string) (with, count string) {
	if len(prompt) == 0 {
		return ids, ""
	}
	var tokens []int64
	for _, id := range prompt {
		tokens = append(tokens, int64(id))
	}
	count = b.mul(b.op("Min", []string{unseen, b.ints(1)}), b.ints(int64(len(prompt))))
	row := b.op("Unsqueeze", []string{b.op("Slice", []string{b.ints(tokens...), b.ints(0), count}), b.ints(0)}) // [1, tokens]
	first := b.op("Slice", []string{ids, b.ints(0), b.ints(1), b.ints(1)})
	rest := b.op("Slice", []string{ids, b.ints(1), b.ints(math.MaxInt64), b.ints(1)})
	each := b.op("Concat", []string{b.size(ids, 0), b.ints(1)}, axisAttr(0))
	return b.op("Concat", []string{first, b.op("Expand", []string{row, each}), rest}, axisAttr(1)), count
}

// angleRows are how many positions are told apart by one table of angles; another tells their multiples apart.
const angleRows = 128

// angles are cosines and sines [N, 1, d] of positions int64 [N] as RoPE has them, the sines with the sign of the half
// that they are added to. By cos(x + y) and sin(x + y) two short tables serve every position, however many a config
// allows; operators for angles are not exact on every device.
func (b *builder) angles(l *model.LlamaConfig, positions string) (cos, sin string) {
	half := int64(l.HeadDim / 2)
	at := func(name string, step, rows int, ids string) (cos, sin string) {
		var tables [2]string
		for i, f := range []func(float64) float64{math.Cos, math.Sin} {
			var values []float32
			for row := range rows {
				for _, frequency := range l.Frequencies() {
					values = append(values, float32(f(float64(frequency)*float64(row*step))))
				}
			}
			tables[i] = b.floats([]string{"cos ", "sin "}[i]+name, values, int64(rows), half)
		}
		return b.op("Gather", []string{tables[0], ids}, axisAttr(0)), b.op("Gather", []string{tables[1], ids}, axisAttr(0))
	}
	many := b.op("Div", []string{positions, b.int(angleRows)})
	few := b.op("Sub", []string{positions, b.mul(many, b.int(angleRows))})
	manyCos, manySin := at("of many", angleRows, l.MaxPositionEmbeddings/angleRows+1, many)
	fewCos, fewSin := at("of few", 1, angleRows, few)
	c := b.op("Sub", []string{b.mul(manyCos, fewCos), b.mul(manySin, fewSin)}) // [N, d/2]
	s := b.add(b.mul(manySin, fewCos), b.mul(manyCos, fewSin))
	both := func(low, high string) string { // [N, 1, d]
		return b.op("Unsqueeze", []string{b.op("Concat", []string{low, high}, axisAttr(-1)), b.ints(1)})
	}
	return both(c, c), both(b.op("Neg", []string{s}), s)
}

// llamaLayer is one layer; x [B, N, hidden].
func (b *builder) llamaLayer(
	x string, views prefixViews, layer int, l *model.LlamaConfig,
) (out, key, val string, err error) {
	name := fmt.Sprintf(textRoot+"layers.%d.", layer)
	h := b.rmsNorm(x, name+"input_layernorm", l.RMSNormEps)
	q := b.turned(b.linear(h, name+"self_attn.q_proj"), l.NumAttentionHeads, l.HeadDim, views)
	k := b.turned(b.linear(h, name+"self_attn.k_proj"), l.NumKeyValueHeads, l.HeadDim, views)
	k = b.op("Transpose", []string{k}, intsAttr("perm", 0, 2, 1, 3))
	v := b.heads(b.linear(h, name+"self_attn.v_proj"), l.NumKeyValueHeads, l.HeadDim)
	key = b.op("Concat", []string{cacheName("past_key_values", layer, "key"), k}, axisAttr(2))
	val = b.op("Concat", []string{cacheName("past_key_values", layer, "value"), v}, axisAttr(2))
	x = b.add(b.linear(b.groupedAttention(q, key, val, views, l), name+"self_attn.o_proj"), x)

	h = b.rmsNorm(x, name+"post_attention_layernorm", l.RMSNormEps)
	gate, err := b.activation(b.linear(h, name+"mlp.gate_proj"), l.HiddenAct)
	if err != nil {
		return "", "", "", err
	}
	h = b.linear(b.mul(gate, b.linear(h, name+"mlp.up_proj")), name+"mlp.down_proj")
	return b.add(h, x), key, val, nil
}

// turned splits x [B, N, heads·d] into [B, N, heads, d] and turns pairs of channels, j and j + d/2, by the angle of the
// position.
func (b *builder) turned(x string, heads, d int, views prefixViews) string {
	half := int64(d / 2)
	x = b.op("Reshape", []string{x, b.ints(0, 0, int64(heads), int64(d))})
	halves := b.ops("Split", 2, []string{x, b.ints(half, half)}, axisAttr(-1))
	other := b.op("Concat", []string{halves[1], halves[0]}, axisAttr(-1))
	return b.add(b.mul(x, views.cos), b.mul(other, views.sin))
}

// groupedAttention is attention of q [B, N, heads, d] to key and val [B, KV, S, d], result [B, N, heads·d]. Scores are
// computed as (k·qᵀ)ᵀ, see cachedScores.
func (b *builder) groupedAttention(q, key, val string, views prefixViews, l *model.LlamaConfig) string {
	kv, groups, d := int64(l.NumKeyValueHeads), int64(l.NumAttentionHeads/l.NumKeyValueHeads), int64(l.HeadDim)
	q = b.mul(q, b.float(1/math.Sqrt(float64(d))))
	q = b.op("Reshape", []string{q, b.ints(0, 0, kv, groups, d)})
	q = b.op("Transpose", []string{q}, intsAttr("perm", 0, 2, 4, 3, 1))
	q = b.op("Reshape", []string{q, b.ints(0, 0, 0, -1)}) // [B, KV, d, G·N]
	scores := b.op("Transpose", []string{b.op("MatMul", []string{key, q})}, intsAttr("perm", 0, 1, 3, 2))
	scores = b.add(b.op("Reshape", []string{scores, views.apart}), views.mask)
	p := b.op("Reshape", []string{b.op("Softmax", []string{scores}, axisAttr(-1)), views.together})
	x := b.op("Reshape", []string{b.op("MatMul", []string{p, val}), b.ints(0, 0, groups, -1, d)})
	x = b.op("Transpose", []string{x}, intsAttr("perm", 0, 3, 1, 2, 4))
	return b.op("Reshape", []string{x, b.ints(0, 0, kv*groups*d)})
}

// rmsNorm is x / √(mean x² + ε) · weight, in the nodes that ONNX Runtime fuses into one.
func (b *builder) rmsNorm(x, name string, epsilon float64) string {
	mean := b.op("ReduceMean", []string{b.op("Pow", []string{x, b.float(2)})}, intsAttr("axes", -1), intAttr("keepdims", 1))
	x = b.op("Div", []string{x, b.op("Sqrt", []string{b.add(mean, b.float(epsilon))})})
	return b.mul(x, b.weight(name+".weight"))
}

// shuffled makes one vector of r × r neighbours, row by row: x [B, n·r·n·r, width], result [B, n·n, r·r·width].
func (b *builder) shuffled(x string, n, r, width int64) string {
	x = b.op("Reshape", []string{x, b.ints(-1, n, r, n, r*width)})
	x = b.op("Transpose", []string{x}, intsAttr("perm", 0, 1, 3, 2, 4))
	return b.op("Reshape", []string{x, b.ints(-1, n*n, r*r*width)})
}

// projector makes the encoder's vectors those of the decoder's width: x [B, vectors, width], of side × side patches.
func (b *builder) projector(x string, p model.ProjectorConfig, side, width int64) (string, error) {
	const root = "multi_modal_projector."
	if p.DropFirst {
		x = b.op("Slice", []string{x, b.ints(1), b.ints(math.MaxInt64), b.ints(1)})
	}
	if r := int64(p.ScaleFactor); r > 0 {
		return b.linear(b.shuffled(x, side/r, r, width), root+"proj"), nil
	}
	x = b.linear(x, root+"linear_1")
	if p.HiddenAct != "linear" {
		var err error
		if x, err = b.activation(x, p.HiddenAct); err != nil {
			return "", err
		}
	}
	return b.linear(x, root+"linear_2"), nil
}
