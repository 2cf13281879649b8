package onnx

import (
	"fmt"
	"math"
	"strings"
)

// dtypes are the forms a graph is written in; suffix is Transformers.js's, between the file's stem and
// ".onnx". minEqual is the share of captions, 0 to 1, that an export has to make as the model does if nothing
// else is asked for. A captioner of drawn scenes has 1 as fp16, 0.98 to 0.99 in 8 bits and 0.92 in 4.
var dtypes = map[string]struct {
	suffix   string
	numbers  numbers
	minEqual float64
}{
	"fp32":  {"", float32Numbers{}, 1},
	"fp16":  {"_fp16", float16Numbers{}, 0.9},
	"q8":    {"_quantized", integerNumbers{elemUint8, 128, 127}, 0.7},
	"int8":  {"_int8", integerNumbers{elemInt8, 0, 64}, 0.7},
	"q4":    {"_q4", nibbles{}, 0.5},
	"q4f16": {"_q4f16", nibbles{half: true}, 0.5},
}

// float32Numbers stores matrices as they are.
type float32Numbers struct{}

func (float32Numbers) store(b *builder, w matrix) string {
	return b.tensor(w.name, elemFloat32, []int64{int64(w.in), int64(w.out)}, func(s *sink) error {
		return w.eachBlock(s, s.float32s)
	})
}

func (n float32Numbers) matmul(b *builder, x string, w matrix) string {
	return b.op("MatMul", []string{x, n.store(b, w)})
}

func (n float32Numbers) gather(b *builder, table matrix, ids string) string {
	return b.gatherColumns(n.store(b, table), ids)
}

// float16Numbers stores matrices as float16, and products with them are of float16: those are what takes the
// time and the memory. Sums over layers, normalisations, softmax, activation functions and caches stay float32:
// a few outputs of trained models are in the thousands, so that their squares and third powers are beyond
// float16's 65504, and smaller addends vanish beside them.
type float16Numbers struct{}

func (float16Numbers) store(b *builder, w matrix) string {
	return b.tensor(w.name, elemFloat16, []int64{int64(w.in), int64(w.out)}, func(s *sink) error {
		return w.eachBlock(s, s.float16s)
	})
}

func (n float16Numbers) matmul(b *builder, x string, w matrix) string {
	return b.cast(b.op("MatMul", []string{b.half(x), n.store(b, w)}), elemFloat32)
}

func (n float16Numbers) gather(b *builder, table matrix, ids string) string {
	return b.cast(b.gatherColumns(n.store(b, table), ids), elemFloat32)
}

// gatherColumns takes columns of a table [width, rows]: ids [B, T] give [B, T, width].
func (b *builder) gatherColumns(table, ids string) string {
	x := b.op("Gather", []string{table, ids}, axisAttr(1)) // [width, B, T]
	return b.op("Transpose", []string{x}, intsAttr("perm", 1, 2, 0))
}

// integerNumbers stores a matrix as round(w/scale) + zero, of magnitude top at most, with one scale per
// column, and multiplies it as integers with activations that are quantized to uint8 as they come (ONNX
// Runtime's dynamic quantization).
//
// Both kinds give the same integers on every machine, which int8 up to 127 would not: x86 processors that
// have AVX2 but no VNNI multiply uint8 by int8 with vpmaddubsw, whose 16-bit pair sums saturate (255·127·2 >
// 32767). On such a processor, with random weights of the base size, it gave logits off by 0.34 and other
// captions.
//
//   - q8 is uint8 around 128: 8 bits of precision. Kernels for two unsigned operands widen first and are
//     exact, but have no use for VNNI's instruction.
//   - int8 up to 64: cannot saturate (255·64·2 = 32640) and uses VNNI, for half of the precision.
type integerNumbers struct {
	elem      elemType
	zero, top int
}

// store adds the matrix [in, out] and its scales [out].
func (n integerNumbers) store(b *builder, w matrix) (quantized, scales string) {
	quantized, scales = w.name+"_quantized", w.name+"_scale"
	if b.constants[quantized] != "" {
		return quantized, scales
	}
	found := finder{find: func() coded { return n.encode(w, b.calibration) }}
	b.tensor(quantized, n.elem, []int64{int64(w.in), int64(w.out)}, func(s *sink) error {
		s.bytes = s.bytes[:0]
		for _, code := range found.take() {
			s.bytes = append(s.bytes, byte(int(code)+n.zero))
		}
		return s.write(s.bytes)
	})
	return quantized, b.tensor(scales, elemFloat32, []int64{int64(w.out)}, func(s *sink) error {
		return s.float32s(found.scales())
	})
}

// encode finds the codes, [in, out].
func (n integerNumbers) encode(w matrix, known *Calibration) coded {
	if known.knows(w) {
		f := known.factor(w)
		return f.round(w, n.rule(w, f))
	}
	c := coded{of: make([]int8, 0, w.in*w.out), scales: n.scales(w)}
	w.eachRow(func(row []float32) {
		for i, v := range row {
			c.of = append(c.of, n.quantize(v, c.scales[i]))
		}
	})
	return c
}

// decode is what codes stand for, in the order of the weights.
func (n integerNumbers) decode(w matrix, c coded) []float32 {
	return w.filled(func(in, out int) float32 { return float32(c.of[in*w.out+out]) * c.scales[out] })
}

// scales are those of the columns [out].
func (n integerNumbers) scales(w matrix) []float32 {
	scale := w.columnMax()
	for i := range scale {
		if scale[i] /= float32(n.top); scale[i] == 0 {
			scale[i] = 1
		}
	}
	return scale
}

// quantize is the code of v, zero point left out.
func (n integerNumbers) quantize(v, scale float32) int8 {
	code := int(math.RoundToEven(float64(v / scale)))
	return int8(max(-n.top, min(n.top, code)))
}

func (n integerNumbers) matmul(b *builder, x string, w matrix) string {
	quantized, scales := n.store(b, w)
	codes, xScale, xZero := b.quantized(x)
	zero := b.constant("zero point", n.elem, nil, []byte{byte(n.zero)})
	y := b.cast(b.op("MatMulInteger", []string{codes, quantized, xZero, zero}), elemFloat32)
	return b.mul(y, b.mul(xScale, scales))
}

// quantized is x as uint8 with its scale and zero point, computed once for all the matrices that x is
// multiplied with.
func (b *builder) quantized(x string) (codes, scale, zero string) {
	for _, n := range b.graph.nodes {
		if n.op == "DynamicQuantizeLinear" && n.in[0] == x {
			return n.out[0], n.out[1], n.out[2]
		}
	}
	out := b.ops("DynamicQuantizeLinear", 3, []string{x})
	return out[0], out[1], out[2]
}

// Cast and Mul, not DequantizeLinear: Transformers.js 3 computes that one wrongly on WebGPU.
func (n integerNumbers) gather(b *builder, table matrix, ids string) string {
	quantized, scales := n.store(b, table)
	x := b.cast(b.gatherColumns(quantized, ids), elemFloat32)
	if n.zero != 0 {
		x = b.op("Sub", []string{x, b.float(float64(n.zero))})
	}
	scale := b.op("Unsqueeze", []string{b.op("Gather", []string{scales, ids}, axisAttr(0)), b.ints(-1)})
	return b.mul(x, scale)
}

// SharesRange says whether the pictures of a batch share a dtype's range of numbers, so that a caption may
// depend on the pictures beside it.
func SharesRange(dtype string) bool {
	_, integers := dtypes[dtype].numbers.(integerNumbers)
	return integers
}

// checkDtype names what is known when a dtype is not.
func checkDtype(dtype string) error {
	if _, ok := dtypes[dtype]; !ok {
		return fmt.Errorf("unknown dtype %q: %s are written", dtype, strings.Join(Dtypes(), ", "))
	}
	return nil
}
