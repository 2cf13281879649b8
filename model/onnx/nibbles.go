package onnx

import (
	"math"
	"slices"

	"github.com/x448/float16"
)

// nibbles stores a matrix in 4 bits a weight, as ONNX Runtime's MatMulNBits takes it: each column in blocks of
// nibbleBlock weights, each of which is (code - 8)·scale, codes 0 to 15. Zero points, which would make a file
// larger by a fortieth, made captions worse, not better (docs/decisions/four-bits.md).
//
// Matrices whose rows are no multiple of nibbleBlock are filled up with zeros, and so is what they are
// multiplied with: not every kernel looks after the rest of a block.
type nibbles struct {
	half bool // scales, and what MatMulNBits takes and gives, are float16; else float32
}

const nibbleBlock = 32

// store adds codes uint8 [out, blocks, nibbleBlock/2], the lower half of a byte first, and scales
// [out·blocks].
func (n nibbles) store(b *builder, w matrix) (codes, scales string) {
	codes, scales = w.name+"_q4", w.name+"_scales"
	if b.constants[codes] != "" {
		return codes, scales
	}
	blocks := w.blocks()
	found := finder{find: func() coded { return n.encode(w, b.calibration) }}
	shape := []int64{int64(w.out), int64(blocks), nibbleBlock / 2}
	b.tensor(codes, elemUint8, shape, func(s *sink) error {
		of := found.take()
		s.bytes = s.bytes[:0]
		for o := range w.out {
			s.bytes = appendNibbles(s.bytes, of[o*w.in:(o+1)*w.in])
		}
		return s.write(s.bytes)
	})
	elem, write := elemFloat32, (*sink).float32s
	if n.half {
		elem, write = elemFloat16, (*sink).float16s
	}
	return codes, b.tensor(scales, elem, []int64{int64(w.out * blocks)}, func(s *sink) error {
		return write(s, found.scales())
	})
}

// encode finds the codes, less 8, [out, in], and the scales of all blocks, column by column.
func (n nibbles) encode(w matrix, known *Calibration) coded {
	if known.knows(w) {
		return known.factor(w).round(w, n.rule())
	}
	c := coded{of: make([]int8, 0, w.in*w.out), scales: make([]float32, 0, w.out*w.blocks())}
	w.flipped().eachRow(func(column []float32) {
		for block := range slices.Chunk(column, nibbleBlock) {
			scale := n.scale(block)
			for _, v := range block {
				c.of = append(c.of, int8(nibble(v, scale)-8))
			}
			c.scales = append(c.scales, scale)
		}
	})
	return c
}

// decode is what codes stand for, in the order of the weights.
func (n nibbles) decode(w matrix, c coded) []float32 {
	return w.filled(func(in, out int) float32 {
		return float32(c.of[out*w.in+in]) * c.scales[out*w.blocks()+in/nibbleBlock]
	})
}

// blocks is how many blocks a column has.
func (m matrix) blocks() int { return (m.in + nibbleBlock - 1) / nibbleBlock }

// Codes, less 8, that the weight of the largest magnitude may be given: -8 keeps it, and beyond it loses what all
// others gain by a finer step. Its sign becomes the scale's, as there is no code 16.
const leastDivisor, mostDivisor, divisorStep = 6.5, 9.0, 0.25

// scale is the one of the candidates, all fractions of the weight of the largest magnitude, whose codes have
// the least squared error. Of zeros, and of what float16 cannot hold, it is 0.
func (n nibbles) scale(block []float32) float32 {
	var extreme, best float32
	for _, v := range block {
		if max(v, -v) > max(extreme, -extreme) {
			extreme = v
		}
	}
	least := math.Inf(1)
	for d := float32(leastDivisor); d <= mostDivisor; d += divisorStep {
		scale := extreme / -d
		if n.half {
			scale = float16.Fromfloat32(scale).Float32()
		}
		if e := nibbleError(block, scale); e < least {
			least, best = e, scale
		}
	}
	return best
}

func nibbleError(block []float32, scale float32) float64 {
	sum := 0.0
	for _, v := range block {
		e := float64(v) - float64(nibble(v, scale)-8)*float64(scale)
		sum += e * e
	}
	return sum
}

// nibble is a weight's code, 0 to 15.
func nibble(v, scale float32) int {
	if scale == 0 {
		return 8
	}
	code := int(math.RoundToEven(float64(v / scale)))
	return max(0, min(15, code+8))
}

// appendNibbles appends a column's codes, less 8, filled up with those of zeros.
func appendNibbles(b []byte, column []int8) []byte {
	at := func(i int) byte {
		if i >= len(column) {
			return 8
		}
		return byte(column[i] + 8)
	}
	for i := 0; i < (len(column)+nibbleBlock-1)/nibbleBlock*nibbleBlock; i += 2 {
		b = append(b, at(i)|at(i+1)<<4)
	}
	return b
}

// matmul leaves accuracy_level alone, so that products are computed in float32 or float16: with quantized
// activations (4) captions were a little worse, and with float16 some versions of ONNX Runtime give NaN.
func (n nibbles) matmul(b *builder, x string, w matrix) string {
	codes, scales := n.store(b, w)
	if n.half {
		x = b.half(x)
	}
	padded := int64(w.blocks()) * nibbleBlock
	if missing := padded - int64(w.in); missing > 0 {
		x = b.op("Pad", []string{x, b.ints(0, 0, 0, 0, 0, missing)}) // x [B, T, in]
	}
	y := b.microsoftOp("MatMulNBits", []string{x, codes, scales}, intAttr("K", padded),
		intAttr("N", int64(w.out)), intAttr("bits", 4), intAttr("block_size", nibbleBlock))
	return n.wide(b, y)
}

func (n nibbles) wide(b *builder, x string) string {
	if n.half {
		return b.cast(x, elemFloat32)
	}
	return x
}

// gather takes rows of the very codes that MatMulNBits reads and takes them apart with plain operators: the
// one made for it, GatherBlockQuantized, is not in every build of ONNX Runtime. In float32, whose Floor is
// everywhere.
func (n nibbles) gather(b *builder, table matrix, ids string) string {
	if table.fine { // a hundredth of the file
		return integerNumbers{elemUint8, 128, 127}.gather(b, table, ids)
	}
	codes, scales := n.store(b, table)
	blocks, last := int64(table.blocks()), b.ints(-1)
	rows := b.cast(b.op("Gather", []string{codes, ids}, axisAttr(0)), elemFloat32) // [B, T, blocks, 16]
	high := b.op("Floor", []string{b.mul(rows, b.float(1.0/16))})
	low := b.op("Sub", []string{rows, b.mul(high, b.float(16))})
	x := b.op("Concat", []string{
		b.op("Unsqueeze", []string{low, last}), b.op("Unsqueeze", []string{high, last}),
	}, axisAttr(-1))
	x = b.op("Reshape", []string{x, b.ints(0, 0, blocks, nibbleBlock)})
	scale := b.op("Reshape", []string{scales, b.ints(int64(table.out), blocks, 1)})
	scale = n.wide(b, b.op("Gather", []string{scale, ids}, axisAttr(0))) // [B, T, blocks, 1]
	x = b.mul(b.op("Sub", []string{x, b.float(8)}), scale)
	x = b.op("Reshape", []string{x, b.ints(0, 0, blocks*nibbleBlock)})
	if blocks*nibbleBlock == int64(table.in) {
		return x
	}
	return b.op("Slice", []string{x, b.ints(0), b.ints(int64(table.in)), b.ints(2)})
}
