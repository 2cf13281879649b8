package model

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Linear is torch's nn.Linear.
type Linear struct {
	Weight *Node    // [out, in]
	Bias   *Node    // [out], or nil
	LoRA   *LowRank // or nil

	seen func(x *Node) // is shown what Weight multiplies, or nil
}

func newLinear(bind Bind, name string, in, out int, bias bool) Linear {
	l := Linear{Weight: bind(name+".weight", out, in)}
	if bias {
		l.Bias = bind(name+".bias", out)
	}
	return l
}

// Forward takes [..., in] to [..., out].
func (l Linear) Forward(x *Node) *Node {
	if l.seen != nil {
		l.seen(x)
	}
	return l.LoRA.add(addBias(dot(x, []int{x.Rank() - 1}, nil, l.Weight, []int{1}, nil), l.Bias), x)
}

// Conv1D is GPT-2's linear layer.
type Conv1D struct {
	Weight *Node    // [in, out]
	Bias   *Node    // [out]
	LoRA   *LowRank // or nil

	seen func(x *Node) // as Linear's
}

func newConv1D(bind Bind, name string, in, out int) Conv1D {
	return Conv1D{Weight: bind(name+".weight", in, out), Bias: bind(name+".bias", out)}
}

// Forward takes [..., in] to [..., out].
func (l Conv1D) Forward(x *Node) *Node {
	if l.seen != nil {
		l.seen(x)
	}
	return l.LoRA.add(addBias(dot(x, []int{x.Rank() - 1}, nil, l.Weight, []int{0}, nil), l.Bias), x)
}

// dot is DotGeneral of a float32 x in the dtype of w, see VisionEncoderDecoder.MultiplyIn;
// what comes out is float32.
func dot(x *Node, xAxes, xBatch []int, w *Node, wAxes, wBatch []int) *Node {
	y := DotGeneral(ConvertDType(x, w.DType()), xAxes, xBatch, w, wAxes, wBatch)
	return ConvertDType(y, dtypes.Float32)
}

func addBias(x, bias *Node) *Node {
	if bias == nil {
		return x
	}
	return Add(x, ExpandLeftToRank(bias, x.Rank()))
}

// LayerNorm normalises the last axis.
type LayerNorm struct {
	Weight, Bias *Node // [width]
	Eps          float64
}

func newLayerNorm(bind Bind, name string, width int, eps float64) LayerNorm {
	return LayerNorm{Weight: bind(name+".weight", width), Bias: bind(name+".bias", width), Eps: eps}
}

// Forward takes [..., width] to the same shape.
func (l LayerNorm) Forward(x *Node) *Node {
	perWidth := 1 / float64(x.Shape().Dim(-1))
	mean := MulScalar(ReduceAndKeep(x, ReduceSum, -1), perWidth)
	x = Sub(x, mean)
	variance := MulScalar(ReduceAndKeep(Mul(x, x), ReduceSum, -1), perWidth)
	x = Mul(x, Reciprocal(Sqrt(AddScalar(variance, l.Eps)))) // Rsqrt has no gradient
	return Add(Mul(x, ExpandLeftToRank(l.Weight, x.Rank())), ExpandLeftToRank(l.Bias, x.Rank()))
}

// KV are the keys and values of one attention.
type KV struct {
	K, V *Node // [batch, heads, positions, head width]
}

// newKV: keys and values [batch, positions, width] float32 → the same as heads, in the dtype
// that attention is to multiply in
func newKV(k, v *Node, heads int, dtype dtypes.DType) KV {
	return KV{K: splitHeads(ConvertDType(k, dtype), heads), V: splitHeads(ConvertDType(v, dtype), heads)}
}

// splitHeads: [batch, positions, width] → [batch, heads, positions, head width]
func splitHeads(x *Node, heads int) *Node {
	d := x.Shape().Dimensions
	return TransposeAllAxes(Reshape(x, d[0], d[1], heads, d[2]/heads), 0, 2, 1, 3)
}

// attend is scaled dot-product attention.
//
//	q [batch, positions, width], kv as made by newKV, scale of the scores, bias added to
//	them or nil, drop applied to the probabilities or nil → [batch, positions, width]
func attend(q *Node, kv KV, scale float64, bias *Node, drop func(*Node) *Node) *Node {
	d := q.Shape().Dimensions
	q = MulScalar(splitHeads(q, kv.K.Shape().Dim(1)), scale)
	// [batch, heads, positions, kv positions]
	scores := dot(q, []int{3}, []int{0, 1}, kv.K, []int{3}, []int{0, 1})
	if bias != nil {
		scores = Add(scores, bias)
	}
	p := softmax(scores)
	if drop != nil {
		p = drop(p)
	}
	o := dot(p, []int{3}, []int{0, 1}, kv.V, []int{2}, []int{0, 1}) // [batch, heads, positions, head width]
	return Reshape(TransposeAllAxes(o, 0, 2, 1, 3), d[0], d[1], d[2])
}

// softmax over the last axis.
func softmax(x *Node) *Node {
	e := Exp(Sub(x, StopGradient(ReduceAndKeep(x, ReduceMax, -1))))
	return Mul(e, Reciprocal(ReduceAndKeep(e, ReduceSum, -1)))
}

// masked is what forbidden scores get: its exponential is 0, and it is finite.
const masked = -1e9

// causalBias [1, 1, T, T]: 0 where a token may look, masked above the diagonal.
func causalBias(g *Graph, t int) *Node {
	shape := shapes.Make(dtypes.Int32, 1, 1, t, t)
	return Where(GreaterOrEqual(Iota(g, shape, 2), Iota(g, shape, 3)),
		Zeros(g, shapes.Make(dtypes.Float32, 1, 1, t, t)),
		BroadcastToDims(Const(g, float32(masked)), 1, 1, t, t))
}

// activations are those of Hugging Face's ACT2FN that encoders and GPT-2 are trained with.
var activations = map[string]func(*Node) *Node{
	"gelu": gelu, "gelu_new": geluNew, "gelu_pytorch_tanh": geluNew, "quick_gelu": quickGELU, "relu": relu,
}

// relu has the gradient 0 at 0, as torch's.
func relu(x *Node) *Node { return Where(GreaterThan(x, ZerosLike(x)), x, ZerosLike(x)) }

// gelu is x·Φ(x), as ViT has it.
func gelu(x *Node) *Node {
	return Mul(x, AddScalar(MulScalar(Erf(MulScalar(x, 1/math.Sqrt2)), 0.5), 0.5))
}

// quickGELU is x·σ(1.702·x), CLIP's approximation; σ(z) is (1 + tanh(z/2))/2.
func quickGELU(x *Node) *Node {
	return Mul(x, AddScalar(MulScalar(Tanh(MulScalar(x, 1.702/2)), 0.5), 0.5))
}

// geluNew is GPT-2's approximation by tanh.
func geluNew(x *Node) *Node {
	c := math.Sqrt(2 / math.Pi)
	inner := Mul(x, AddScalar(MulScalar(Mul(x, x), 0.044715*c), c))
	return Mul(x, AddScalar(MulScalar(Tanh(inner), 0.5), 0.5))
}
