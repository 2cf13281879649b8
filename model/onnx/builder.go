package onnx

import (
	"encoding/binary"
	"fmt"
	"math"

	"distilvit/model"
)

// builder appends nodes to a graph; a value is known by its name. What depends on how weights are stored is
// asked of numbers.
type builder struct {
	graph       graph
	weights     model.Weights
	numbers     numbers
	calibration *Calibration      // how they are found, or nil
	names       map[string]int    // nodes of each kind so far
	constants   map[string]string // constants already in the graph
}

// numbers is how a file stores its matrices: one type per dtype. x is float32 [..., in], ids int64 [batch,
// T].
type numbers interface {
	// matmul is x·w, float32 [..., out].
	matmul(b *builder, x string, w matrix) string
	// gather takes columns of the table [width, rows]: float32 [batch, T, width]. The table of a matmul is
	// stored once for both.
	gather(b *builder, table matrix, ids string) string
}

func newBuilder(name string, w model.Weights, n numbers, c *Calibration) *builder {
	return &builder{
		graph: graph{name: name}, weights: w, numbers: n, calibration: c, names: map[string]int{},
		constants: map[string]string{},
	}
}

// ops appends a node with several outputs.
func (b *builder) ops(op string, outputs int, in []string, attrs ...attr) []string {
	name := fmt.Sprintf("%s_%d", op, b.names[op])
	b.names[op]++
	out := make([]string, outputs)
	for i := range out {
		out[i] = fmt.Sprintf("%s_output_%d", name, i)
	}
	b.graph.nodes = append(b.graph.nodes, node{op: op, name: name, in: in, out: out, attrs: attrs})
	return out
}

// op appends a node with one output.
func (b *builder) op(op string, in []string, attrs ...attr) string {
	return b.ops(op, 1, in, attrs...)[0]
}

// microsoftOp appends one of ONNX Runtime's own operators.
func (b *builder) microsoftOp(op string, in []string, attrs ...attr) string {
	out := b.op(op, in, attrs...)
	b.graph.nodes[len(b.graph.nodes)-1].domain = microsoft
	return out
}

func (b *builder) add(x, y string) string { return b.op("Add", []string{x, y}) }
func (b *builder) mul(x, y string) string { return b.op("Mul", []string{x, y}) }
func (b *builder) cast(x string, to elemType) string {
	return b.op("Cast", []string{x}, castAttr(to))
}

// half is x as float16, computed once for all that take it.
func (b *builder) half(x string) string {
	for _, n := range b.graph.nodes {
		if n.op == "Cast" && n.in[0] == x && n.attrs[0].i == int64(elemFloat16) {
			return n.out[0]
		}
	}
	return b.cast(x, elemFloat16)
}

// input declares an input of the graph.
func (b *builder) input(name string, elem elemType, shape ...any) string {
	b.graph.inputs = append(b.graph.inputs, value{name, elem, shape})
	return name
}

// output declares the result x of a node as an output of the graph and names it: an Identity would copy what
// other nodes read, too.
func (b *builder) output(x, name string, shape ...any) {
	for _, n := range b.graph.nodes {
		for _, values := range [][]string{n.in, n.out} {
			for i := range values {
				if values[i] == x {
					values[i] = name
				}
			}
		}
	}
	b.graph.outputs = append(b.graph.outputs, value{name, elemFloat32, shape})
}

// tensor adds an initializer unless one of that name is there.
func (b *builder) tensor(name string, elem elemType, shape []int64, write func(*sink) error) string {
	if _, ok := b.constants[name]; !ok {
		b.constants[name] = name
		b.graph.tensors = append(b.graph.tensors, &tensor{name, elem, shape, write})
	}
	return name
}

// constant adds a small tensor whose name says its value.
func (b *builder) constant(name string, elem elemType, shape []int64, raw []byte) string {
	return b.tensor(name, elem, shape, func(s *sink) error { return s.write(raw) })
}

// ints is an int64 vector.
func (b *builder) ints(v ...int64) string {
	var raw []byte
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(x))
	}
	return b.constant(fmt.Sprint("ints", v), elemInt64, []int64{int64(len(v))}, raw)
}

// int is an int64 scalar.
func (b *builder) int(v int64) string {
	return b.constant(fmt.Sprint("int ", v), elemInt64, nil, binary.LittleEndian.AppendUint64(nil, uint64(v)))
}

// float is a float32 scalar.
func (b *builder) float(v float64) string {
	raw := binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(v)))
	return b.constant(fmt.Sprint("float ", float32(v)), elemFloat32, nil, raw)
}

// floats is a float32 tensor computed while the graph is built; no shape means a vector.
func (b *builder) floats(name string, v []float32, shape ...int64) string {
	if len(shape) == 0 {
		shape = []int64{int64(len(v))}
	}
	return b.tensor(name, elemFloat32, shape, func(s *sink) error { return s.float32s(v) })
}

// weight is a weight stored as float32 whatever the dtype: biases, normalisations, the picture's positions.
func (b *builder) weight(name string, shape ...int64) string {
	return b.floats(name, b.weights[name].Data, shape...)
}

// linear is a Linear's x·Wᵀ + bias, weights [out, in].
func (b *builder) linear(x, name string) string {
	t := b.weights[name+".weight"]
	w := matrix{name: name + ".weight", in: t.Shape[1], out: t.Shape[0], data: t.Data, transposed: true}
	return b.bias(b.numbers.matmul(b, x, w), name)
}

// conv1d is GPT-2's Conv1D x·W + bias, weights [in, out].
func (b *builder) conv1d(x, name string) string {
	t := b.weights[name+".weight"]
	w := matrix{name: name + ".weight", in: t.Shape[0], out: t.Shape[1], data: t.Data}
	return b.bias(b.numbers.matmul(b, x, w), name)
}

// bias adds NAME.bias where the model has one.
func (b *builder) bias(x, name string) string {
	if b.weights[name+".bias"] == nil {
		return x
	}
	return b.add(x, b.weight(name+".bias"))
}

func (b *builder) layerNorm(x, name string, epsilon float64) string {
	in := []string{x, b.weight(name + ".weight"), b.weight(name + ".bias")}
	return b.op("LayerNormalization", in, axisAttr(-1), floatAttr("epsilon", float32(epsilon)))
}

// heads splits [B, T, heads·d] into [B, heads, T, d].
func (b *builder) heads(x string, heads, d int) string {
	x = b.op("Reshape", []string{x, b.ints(0, 0, int64(heads), int64(d))})
	return b.op("Transpose", []string{x}, intsAttr("perm", 0, 2, 1, 3))
}

// scores are scale·q·kᵀ: q [B, H, T, d], k [B, H, S, d], result [B, H, T, S].
func (b *builder) scores(q, k string, scale float64) string {
	k = b.op("Transpose", []string{k}, intsAttr("perm", 0, 1, 3, 2))
	return b.mul(b.op("MatMul", []string{q, k}), b.float(scale))
}

// attend is softmax(scores)·v with the heads joined again: scores [B, H, T, S], v [B, H, S, d], result [B, T,
// H·d].
func (b *builder) attend(scores, v string, heads, d int) string {
	x := b.op("MatMul", []string{b.op("Softmax", []string{scores}, axisAttr(-1)), v})
	x = b.op("Transpose", []string{x}, intsAttr("perm", 0, 2, 1, 3))
	return b.op("Reshape", []string{x, b.ints(0, 0, int64(heads*d))})
}

// activation is Hugging Face's ACT2FN[name] for the names that a config may have, in the node sequences that
// PyTorch exports and ONNX Runtime fuses into one.
func (b *builder) activation(x, name string) (string, error) {
	switch name {
	case "gelu":
		erf := b.op("Erf", []string{b.op("Div", []string{x, b.float(math.Sqrt2)})})
		return b.mul(b.mul(x, b.add(erf, b.float(1))), b.float(0.5)), nil
	case "gelu_new", "gelu_pytorch_tanh":
		cube := b.mul(b.op("Pow", []string{x, b.float(3)}), b.float(0.044715))
		tanh := b.op("Tanh", []string{b.mul(b.add(x, cube), b.float(math.Sqrt(2/math.Pi)))})
		return b.mul(b.mul(x, b.float(0.5)), b.add(tanh, b.float(1))), nil
	case "quick_gelu":
		return b.mul(x, b.op("Sigmoid", []string{b.mul(x, b.float(1.702))})), nil
	case "silu":
		return b.mul(x, b.op("Sigmoid", []string{x})), nil
	case "relu":
		return b.op("Relu", []string{x}), nil
	default:
		return "", fmt.Errorf("no ONNX form for the activation %q", name)
	}
}
