package train

import (
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"distilvit/model"
)

// Graphs take the weights, moments and accumulators as inputs in the order of
// model.Config.Names and give them back the same way, so that their number W
// is all a graph needs to know of a position.

// ignored marks label positions without a token, as in Hugging Face.
const ignored = -100

// batchInputs of a graph: pixels [B, H, W, 3] uint8, labels [B·K, T] int32, keys [B·K] uint32.
const batchInputs = 3

// lossSum is the sum of the cross-entropy over label tokens, scalar.
func (t *Trainer) lossSum(weights, batch []*Node, dropout float64) *Node {
	pixels, labels, keys := batch[0], batch[1], batch[2]
	m := model.New(t.model, t.model.BindNodes(weights))
	var drop *model.Dropout
	if dropout > 0 {
		drop = &model.Dropout{Rate: dropout, Keys: keys}
	}
	ids := t.shiftRight(labels)                                                  // [B·K, T]
	h := m.Decoder.Forward(ids, m.CrossKV(pixels, t.config.Normalization), drop) // [B·K, T, n_embd]
	return crossEntropySum(m.Decoder.Logits(h), labels)
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
func crossEntropySum(logits, labels *Node) *Node {
	g, dims := logits.Graph(), logits.Shape().Dimensions
	top := StopGradient(ReduceAndKeep(logits, ReduceMax, -1)) // [R, T, 1]
	logits = Sub(logits, top)                                 // [R, T, V]
	logSum := Log(ReduceSum(Exp(logits), -1))                 // [R, T]
	at := Equal(Iota(g, shapes.Make(dtypes.Int32, 1, 1, dims[2]), 2), InsertAxes(labels, -1))
	right := ReduceSum(Where(at, logits, ZerosLike(logits)), -1) // [R, T]
	counted := ConvertDType(NotEqual(labels, Const(g, int32(ignored))), dtypes.Float32)
	return ReduceAllSum(Mul(Sub(logSum, right), counted))
}

// buildLoss: weights, batch → loss sum, without dropout
func (t *Trainer) buildLoss(in []*Node) []*Node {
	w := len(t.names)
	return []*Node{t.lossSum(in[:w], in[w:], 0)}
}

// buildGradients: weights, batch → gradients of the loss sum, without dropout
func (t *Trainer) buildGradients(in []*Node) []*Node {
	w := len(t.names)
	return Gradient(t.lossSum(in[:w], in[w:], 0), in[:w]...)
}

// buildStep: weights, m, v, batch, scalars → weights, m, v, loss sum, gradient norm
func (t *Trainer) buildStep(in []*Node) []*Node {
	w := len(t.names)
	weights := in[:w]
	sum := t.lossSum(weights, in[3*w:3*w+batchInputs], t.config.Dropout)
	grads := Gradient(sum, weights...)
	next, norm := t.adamW(weights, in[w:2*w], in[2*w:3*w], grads, in[3*w+batchInputs])
	return append(next, sum, norm)
}

// buildAccumulate: gradient sums, loss sum, weights, batch → gradient sums, loss sum
func (t *Trainer) buildAccumulate(in []*Node) []*Node {
	w := len(t.names)
	weights := in[w+1 : 2*w+1]
	sum := t.lossSum(weights, in[2*w+1:], t.config.Dropout)
	grads := Gradient(sum, weights...)
	out := make([]*Node, 0, w+1)
	for i, g := range grads {
		out = append(out, Add(in[i], g))
	}
	return append(out, Add(in[w], sum))
}

// buildApply: weights, m, v, gradient sums, scalars → weights, m, v, gradient norm
func (t *Trainer) buildApply(in []*Node) []*Node {
	w := len(t.names)
	next, norm := t.adamW(in[:w], in[w:2*w], in[2*w:3*w], in[3*w:4*w], in[4*w])
	return append(next, norm)
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

// adamW is one update as torch.optim.AdamW does it, of the mean gradient
// clipped by its global norm.
//
//	grads are sums over label tokens, scalars [scalarCount] → weights, m, v; norm before clipping
func (t *Trainer) adamW(weights, m, v, grads []*Node, scalars *Node) (next []*Node, norm *Node) {
	g, c := scalars.Graph(), &t.config
	scalar := func(i int) *Node { return Reshape(Slice(scalars, AxisElem(i))) }
	squares := ScalarZero(g, dtypes.Float32)
	for _, grad := range grads {
		squares = Add(squares, ReduceAllSum(Mul(grad, grad)))
	}
	perToken := Reciprocal(scalar(scalarTokens))
	norm = Mul(Sqrt(squares), perToken)
	scale := perToken
	if c.MaxGradNorm > 0 {
		clip := Min(ScalarOne(g, dtypes.Float32), Div(Const(g, float32(c.MaxGradNorm)), AddScalar(norm, 1e-6)))
		scale = Mul(scale, clip)
	}
	n := len(weights)
	next = make([]*Node, 3*n)
	for i, w := range weights {
		grad := Mul(grads[i], scale)
		mNext := Add(MulScalar(m[i], c.Beta1), MulScalar(grad, 1-c.Beta1))
		vNext := Add(MulScalar(v[i], c.Beta2), MulScalar(Mul(grad, grad), 1-c.Beta2))
		if decays(t.names[i], w.Rank()) {
			w = Mul(w, scalar(scalarDecay))
		}
		denominator := AddScalar(Div(Sqrt(vNext), scalar(scalarRootBC2)), c.Epsilon)
		next[i] = Sub(w, Div(Mul(scalar(scalarSize), mNext), denominator))
		next[n+i], next[2*n+i] = mNext, vNext
	}
	return next, norm
}

// decays reports whether weight decay applies: to all but biases and norms.
func decays(name string, rank int) bool {
	return rank > 1 && !strings.HasSuffix(name, ".bias")
}
