package train

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"distilvit/model"
)

// Graphs take the weights that are trained, moments and accumulators as inputs in the order
// of Trainer.names and give them back the same way, so that their number W
// is all a graph needs to know of a position. Where a batch comes in, the frozen weights
// come before it, and no gradient is made of them.

// ignored marks label positions without a token, as in Hugging Face.
const ignored = -100

// lossSum is the sum of the cross-entropy over label tokens, scalar, in float32 and
// without dropout. A batch is pixels [B, H, W, 3] uint8, or in their place features
// [B, S, hidden] float32 or bfloat16, labels [B·K, T] int32 and keys [B·K] uint32. In training, with a teacher, it also
// has that one's tokens [B·K, T, k] int32 and their log-probabilities with that of all others [B·K, T, k+1] float32.
func (t *Trainer) lossSum(weights, batch []*Node) *Node {
	return crossEntropySum(t.logits(t.network(weights, nil, 0), batch, nil), batch[1], 0)
}

// network is that of these weights, with adapters beside its layers where adapters are trained. keys are those of
// their dropout, of so many pictures; nil drops nothing.
func (t *Trainer) network(weights []*Node, keys *Node, pictures int) *model.VisionEncoderDecoder {
	bind := t.bind(weights)
	m := model.New(t.model, bind)
	if t.config.LoRA != nil {
		m.Adapt(t.config.LoRA, t.plan.modules, bind, keys, pictures)
	}
	return m
}

// bind binds the network to the weights that are trained and, after them, those that are frozen.
func (t *Trainer) bind(weights []*Node) model.Bind {
	byName := make(map[string]*Node, len(weights))
	for i, w := range weights {
		if n := len(t.names); i < n {
			byName[t.names[i]] = w
		} else {
			byName[t.plan.frozen[i-n]] = w
		}
	}
	return func(name string, _ ...int) *Node { return byName[name] }
}

// weightsIn is the number of weights before a batch.
func (t *Trainer) weightsIn() int { return len(t.names) + len(t.plan.frozen) }

// trainingLossSum is lossSum with all that the config says of training.
func (t *Trainer) trainingLossSum(weights, batch []*Node) *Node {
	m := t.network(weights, batch[2], batch[0].Shape().Dim(0))
	if t.config.Precision == BF16 {
		m.MultiplyIn(dtypes.BFloat16)
	}
	if t.config.GradientCheckpointing {
		m.CheckpointGradients()
	}
	var drop *model.Dropout
	if rate := t.config.Dropout; rate > 0 {
		drop = &model.Dropout{Rate: rate, Keys: batch[2]}
	}
	logits := t.logits(m, batch, drop)
	hard := crossEntropySum(logits, batch[1], t.config.LabelSmoothing)
	teacher := t.config.Teacher
	if teacher == nil {
		return hard
	}
	soft := teacher.sum(logits, batch[1], batch[3], batch[4])
	return Add(MulScalar(soft, teacher.Weight), MulScalar(hard, 1-teacher.Weight))
}

// logits of each label's place: [B·K, T, V]
func (t *Trainer) logits(m *model.VisionEncoderDecoder, batch []*Node, drop *model.Dropout) *Node {
	ids := t.shiftRight(batch[1])                          // [B·K, T]
	features := t.encoded(m, batch[0])                     // [B, S, hidden]
	h := m.Decoder.Forward(ids, m.CrossKV(features), drop) // [B·K, T, n_embd]
	return m.Decoder.Logits(h)
}

// encoded are the encoder's vectors of pixels, or those that stand in their place: then the graph has no encoder.
func (t *Trainer) encoded(m *model.VisionEncoderDecoder, pictures *Node) *Node {
	if pictures.DType() != dtypes.Uint8 {
		return ConvertDType(pictures, dtypes.Float32)
	}
	return m.Encode(pictures, t.config.Normalization)
}

// buildEncode: weights, pixels [B, H, W, 3] uint8 → [B, S, hidden] float32
func (t *Trainer) buildEncode(in []*Node) []*Node {
	w := t.weightsIn()
	return []*Node{t.network(in[:w], nil, 0).Encode(in[w], t.config.Normalization)}
}

// shiftRight makes the decoder's input of labels: the start token, then every
// label but the last, padding where a label is ignored.
func (t *Trainer) shiftRight(labels *Node) *Node {
	g := labels.Graph()
	rows, length := labels.Shape().Dim(0), labels.Shape().Dim(1)
	start := BroadcastToDims(Const(g, int32(t.model.DecoderStartTokenID)), rows, 1)
	ids := start
	if length > 1 {
		ids = Concatenate([]*Node{start, Slice(labels, AxisRange(), AxisRange(0, length-1))}, 1)
	}
	pad := BroadcastToDims(Const(g, int32(t.model.PadTokenID)), rows, length)
	return Where(LessThan(ids, ScalarZero(g, dtypes.Int32)), pad, ids)
}

// crossEntropySum: logits [R, T, V], labels [R, T] → scalar
//
// With smoothing ε a label's probability is 1-ε, and ε is spread evenly over the V tokens, as
// transformers' LabelSmoother does: (1-ε)·(-log p[label]) + ε·mean(-log p).
func crossEntropySum(logits, labels *Node, smoothing float64) *Node {
	g, dims := logits.Graph(), logits.Shape().Dimensions
	top := StopGradient(ReduceAndKeep(logits, ReduceMax, -1)) // [R, T, 1]
	logits = Sub(logits, top)                                 // [R, T, V]
	logSum := Log(ReduceSum(Exp(logits), -1))                 // [R, T]
	at := Equal(Iota(g, shapes.Make(dtypes.Int32, 1, 1, dims[2]), 2), InsertAxes(labels, -1))
	right := ReduceSum(Where(at, logits, ZerosLike(logits)), -1) // [R, T]
	if smoothing > 0 {
		right = Add(MulScalar(right, 1-smoothing), MulScalar(ReduceMean(logits, -1), smoothing))
	}
	places := counted(labels)
	return ReduceAllSum(Mul(Sub(logSum, right), places))
}

// counted is 1 where a label is a token and 0 where none is: [R, T]
func counted(labels *Node) *Node {
	return ConvertDType(NotEqual(labels, Const(labels.Graph(), int32(ignored))), dtypes.Float32)
}

// buildLoss: weights, batch → loss sum, without dropout
func (t *Trainer) buildLoss(in []*Node) []*Node {
	w := t.weightsIn()
	return []*Node{t.lossSum(in[:w], in[w:])}
}

// buildGradients: weights, batch → gradients of the loss sum, without dropout
func (t *Trainer) buildGradients(in []*Node) []*Node {
	w := t.weightsIn()
	return Gradient(t.lossSum(in[:w], in[w:]), in[:len(t.names)]...)
}

// buildBegin: weights, batch → gradients of the loss sum, loss sum
func (t *Trainer) buildBegin(in []*Node) []*Node {
	w := t.weightsIn()
	sum := t.trainingLossSum(in[:w], in[w:])
	return append(Gradient(sum, in[:len(t.names)]...), sum)
}

// buildAccumulate: gradient sums, loss sum, weights, batch → gradient sums, loss sum
func (t *Trainer) buildAccumulate(in []*Node) []*Node {
	w := len(t.names)
	out := t.buildBegin(in[w+1:])
	for i := range out {
		out[i] = Add(in[i], out[i])
	}
	return out
}

// buildAverage: n averages, n weights, share of the weights → n averages
func (t *Trainer) buildAverage(in []*Node) []*Node {
	n := len(in) / 2
	out, share := make([]*Node, n), Reshape(in[2*n])
	for i := range out {
		out[i] = Sub(in[i], Mul(share, Sub(in[i], in[n+i])))
	}
	return out
}

// buildZeros: weights → zeros of their shapes
func (t *Trainer) buildZeros(in []*Node) []*Node {
	out := make([]*Node, len(in))
	for i, w := range in {
		out[i] = ZerosLike(w)
	}
	return out
}

// scalars of a step, made on the host in float64.
const (
	scalarTokens  = iota // label tokens in the effective batch
	scalarDecay          // 1 - learning rate · weight decay
	scalarSize           // learning rate / (1 - beta1^step)
	scalarRootBC2        // sqrt(1 - beta2^step)
	scalarCount
)

func scalar(scalars *Node, i int) *Node { return Reshape(Slice(scalars, AxisElem(i))) }

// buildNorm: gradient sums, scalars → norm of the mean gradient, and what makes of
// the sums the mean clipped by it
func (t *Trainer) buildNorm(in []*Node) []*Node {
	w := len(t.names)
	g, scalars := in[w].Graph(), in[w]
	squares := ScalarZero(g, dtypes.Float32)
	for _, grad := range in[:w] {
		squares = Add(squares, ReduceAllSum(Mul(grad, grad)))
	}
	perToken := Reciprocal(scalar(scalars, scalarTokens))
	norm := Mul(Sqrt(squares), perToken)
	scale := perToken
	if most := t.config.MaxGradNorm; most > 0 {
		clip := Min(ScalarOne(g, dtypes.Float32), Div(Const(g, float32(most)), AddScalar(norm, 1e-6)))
		scale = Mul(scale, clip)
	}
	return []*Node{norm, scale}
}

// buildApply is one update as torch.optim.AdamW does it, of any number n of tensors.
//
//	n weights, n of m, n of v, n gradient sums, their scale, scalars → n weights, n of m, n of v
//
// Vectors do not decay: but for those of buildApplyVectors they are biases, and norms' weights.
func (t *Trainer) buildApply(in []*Node) []*Node {
	return t.adamW(in, func(w *Node) bool { return w.Rank() > 1 })
}

// buildApplyVectors is buildApply of vectors that decay.
func (t *Trainer) buildApplyVectors(in []*Node) []*Node {
	return t.adamW(in, func(*Node) bool { return true })
}

func (t *Trainer) adamW(in []*Node, decays func(w *Node) bool) []*Node {
	c, n := &t.config, len(in)/4
	weights, m, v, sums, scale, scalars := in[:n], in[n:2*n], in[2*n:3*n], in[3*n:4*n], in[4*n], in[4*n+1]
	next := make([]*Node, 3*n)
	for i, w := range weights {
		grad := Mul(sums[i], scale)
		mNext := Add(MulScalar(m[i], c.Beta1), MulScalar(grad, 1-c.Beta1))
		vNext := Add(MulScalar(v[i], c.Beta2), MulScalar(Mul(grad, grad), 1-c.Beta2))
		if decays(w) {
			w = Mul(w, scalar(scalars, scalarDecay))
		}
		denominator := AddScalar(Div(Sqrt(vNext), scalar(scalars, scalarRootBC2)), c.Epsilon)
		next[i] = Sub(w, Div(Mul(scalar(scalars, scalarSize), mNext), denominator))
		next[n+i], next[2*n+i] = mNext, vNext
	}
	return next
}
