package safetensors

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
)

// WriteRows writes a file of one F32 or BF16 tensor [rows, …] that comes row by row, so that it need not be in memory.
// BF16 numbers are rounded to the nearest, ties to even, as PyTorch does. Rows may reuse memory once the next is asked
// for.
func WriteRows(
	w io.Writer, name, dtype string, shape []int, metadata map[string]string, rows iter.Seq2[[]float32, error],
) error {
	encode, width := encoder(dtype), int(Width(dtype))
	if encode == nil || len(shape) == 0 {
		return fmt.Errorf("safetensors: rows of dtype %q, shape %v; must be F32 or BF16 and have an axis", dtype, shape)
	}
	head, err := header([]Info{{Name: name, DType: dtype, Shape: shape}}, metadata)
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	out := bufio.NewWriterSize(w, 1<<20)
	if _, err := out.Write(head); err != nil {
		return err
	}
	n, numbers := 0, elements(shape[1:])
	block := make([]byte, 64<<10)
	for row, err := range rows {
		if err != nil {
			return err
		}
		if len(row) != numbers || n == shape[0] {
			return fmt.Errorf("safetensors: row %d of %d has %d values for shape %v", n, shape[0], len(row), shape)
		}
		n++
		for part := range slices.Chunk(row, len(block)/width) {
			for i, x := range part {
				encode(block[width*i:], x)
			}
			if _, err := out.Write(block[:width*len(part)]); err != nil {
				return err
			}
		}
	}
	if n != shape[0] {
		return fmt.Errorf("safetensors: %d rows for shape %v", n, shape)
	}
	return out.Flush()
}

// encoder writes a number little-endian; it is nil for dtypes other than F32 and BF16.
func encoder(dtype string) func(b []byte, x float32) {
	switch dtype {
	case "F32":
		return func(b []byte, x float32) { binary.LittleEndian.PutUint32(b, math.Float32bits(x)) }
	case "BF16":
		return func(b []byte, x float32) { binary.LittleEndian.PutUint16(b, bfloat16(x)) }
	}
	return nil
}

// bfloat16 rounds to the nearest, ties to even; a NaN stays one.
func bfloat16(x float32) uint16 {
	bits := math.Float32bits(x)
	if x != x {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// ReadRow copies row i of a tensor's first axis as the file has it: len(dst) bytes, little-endian, from byte at of the
// row on.
func (f *File) ReadRow(t Info, i, at int, dst []byte) error {
	if len(t.Shape) == 0 || i < 0 || i >= t.Shape[0] {
		return fmt.Errorf("safetensors: row %d of tensor %q of shape %v", i, t.Name, t.Shape)
	}
	size := (t.end - t.begin) / int64(t.Shape[0])
	if at < 0 || int64(at+len(dst)) > size {
		return fmt.Errorf("safetensors: bytes %d to %d of a row of tensor %q, which has %d", at, at+len(dst), t.Name, size)
	}
	return f.readAt(t, i, int64(i)*size+int64(at), dst)
}

// ReadRows copies whole rows from i on, as many as dst has room for.
func (f *File) ReadRows(t Info, i int, dst []byte) error {
	if len(t.Shape) == 0 || i < 0 || i > t.Shape[0] {
		return fmt.Errorf("safetensors: row %d of tensor %q of shape %v", i, t.Name, t.Shape)
	}
	size := Width(t.DType) * int64(elements(t.Shape[1:]))
	if n := int64(len(dst)); n%size != 0 || int64(i)*size+n > t.end-t.begin {
		return fmt.Errorf("safetensors: %d bytes from row %d of tensor %q of shape %v, whose rows have %d", n, i, t.Name,
			t.Shape, size)
	}
	return f.readAt(t, i, int64(i)*size, dst)
}

func (f *File) readAt(t Info, row int, at int64, dst []byte) error {
	if n, err := f.r.ReadAt(dst, t.begin+at); n < len(dst) {
		return fmt.Errorf("safetensors: read row %d of tensor %q: %w", row, t.Name, err)
	}
	return nil
}
