package onnx

import (
	"math"
	"sync"

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
	scale := sync.OnceValue(func() []float32 { return n.scales(w) })
	shape := []int64{int64(w.out), int64(blocks), nibbleBlock / 2}
	b.tensor(codes, elemUint8, shape, func(s *sink) error {
		scale, first := scale(), 0 // of the blocks
		return w.flipped().eachBlock(s, func(columns []float32) error {
			s.bytes = s.bytes[:0]
			eachNibbleBlock(columns, w.in, func(block []float32) {
				s.bytes = appendNibbles(s.bytes, block, scale[first])
				first++
			})
			return s.write(s.bytes)
		})
	})
	elem, write := elemFloat32, (*sink).float32s
	if n.half {
		elem, write = elemFloat16, (*sink).float16s
	}
	return codes, b.tensor(scales, elem, []int64{int64(w.out * blocks)}, func(s *sink) error {
		return write(s, scale())
	})
}

// blocks is how many blocks a column has.
func (m matrix) blocks() int { return (m.in + nibbleBlock - 1) / nibbleBlock }

// eachNibbleBlock calls f with the blocks of columns of that length, the last of each of what is left.
func eachNibbleBlock(columns []float32, length int, f func(block []float32)) {
	for start := 0; start < len(columns); start += length {
		column := columns[start : start+length]
		for len(column) > 0 {
			n := min(nibbleBlock, len(column))
			f(column[:n])
			column = column[n:]
		}
	}
}

// scales are those of all blocks, column by column.
func (n nibbles) scales(w matrix) []float32 {
	scale := make([]float32, 0, w.out*w.blocks())
	_ = w.flipped().eachBlock(&sink{}, func(columns []float32) error { // of f alone come errors
		eachNibbleBlock(columns, w.in, func(block []float32) {
			scale = append(scale, n.scale(block))
		})
		return nil
	})
	return scale
}

// Codes, less 8, that the weight of the largest magnitude may be given: -8 keeps it, and beyond it loses what all
// others gain by a finer step. Its sign becomes the scale's, as there is no code 16.
const leastDivisor, mostDivisor, divisorStep = 6.5, 9, 0.25

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

// appendNibbles appends a block's codes, filled up with those of zeros.
func appendNibbles(b []byte, block []float32, scale float32) []byte {
	at := func(i int) byte {
		if i >= len(block) {
			return 8
		}
		return byte(nibble(block[i], scale))
	}
	for i := 0; i < nibbleBlock; i += 2 {
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
