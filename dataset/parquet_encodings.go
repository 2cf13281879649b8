package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/parquet-go/parquet-go/format"
)

// maxSharedBytes bounds what the values of one page may share with the values before
// them: DELTA_BYTE_ARRAY writes a megabyte again in two bytes.
const maxSharedBytes = 64 << 20

// valueBytes are the least bytes of a plain value; 0: values of this kind are not read.
func valueBytes(kind format.Type) int {
	switch kind {
	case format.ByteArray, format.Int32, format.Float:
		return 4
	case format.Int64, format.Double:
		return 8
	}
	return 0
}

// plainBytes cuts values out of a body as they are asked for.
func plainBytes(b []byte) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
			return nil, io.ErrUnexpectedEOF
		}
		end := 4 + int(binary.LittleEndian.Uint32(b))
		value := b[4:end:end]
		b = b[end:]
		return value, nil
	}
}

// decodeValues reads n values of a page's body. What is not bytes becomes text: numbers
// in decimals, truth values as true and false.
func (c *chunk) decodeValues(encoding format.Encoding, body []byte, n int) ([][]byte, error) {
	if n == 0 {
		return nil, nil
	}
	kind := c.leaf.kind
	switch encoding {
	case format.Plain:
		return plainValues(body, n, kind)
	case format.DeltaBinaryPacked:
		if kind == format.Int32 || kind == format.Int64 {
			numbers, _, err := deltaNumbers(body, n)
			return decimals(numbers, kind), err
		}
	case format.DeltaLengthByteArray:
		if kind == format.ByteArray {
			return lengthsFirst(body, n)
		}
	case format.DeltaByteArray:
		if kind == format.ByteArray {
			return prefixesFirst(body, n)
		}
	case format.ByteStreamSplit:
		if kind != format.ByteArray && valueBytes(kind) > 0 {
			joined, err := joinStreams(body, n, valueBytes(kind))
			if err != nil {
				return nil, err
			}
			return plainValues(joined, n, kind)
		}
	case format.RLE:
		if kind == format.Boolean {
			return runsOfTruth(body, n)
		}
	}
	return nil, fmt.Errorf("its encoding %v is not read for %v; "+
		"write the file again without it (of pyarrow's write_table leave out column_encoding)", encoding, kind)
}

// plainValues cuts n values out of a body.
func plainValues(b []byte, n int, kind format.Type) ([][]byte, error) {
	if kind == format.Boolean {
		if n > 8*len(b) {
			return nil, io.ErrUnexpectedEOF
		}
		return truths(unpackBits[uint8](nil, b, 1, n)), nil
	}
	least := valueBytes(kind)
	if least == 0 {
		return nil, fmt.Errorf("its values are %v; bytes, text, numbers and truth values are read", kind)
	}
	if n > len(b)/least {
		return nil, io.ErrUnexpectedEOF
	}
	out := make([][]byte, n)
	next := plainBytes(b)
	for i := range out {
		if kind == format.ByteArray {
			var err error
			if out[i], err = next(); err != nil {
				return nil, err
			}
			continue
		}
		out[i], b = plainNumber(b, kind), b[least:]
	}
	return out, nil
}

func plainNumber(b []byte, kind format.Type) []byte {
	switch kind {
	case format.Int32:
		return strconv.AppendInt(nil, int64(int32(binary.LittleEndian.Uint32(b))), 10)
	case format.Float:
		f := math.Float32frombits(binary.LittleEndian.Uint32(b))
		return strconv.AppendFloat(nil, float64(f), 'f', -1, 32)
	case format.Double:
		return strconv.AppendFloat(nil, math.Float64frombits(binary.LittleEndian.Uint64(b)), 'f', -1, 64)
	}
	return strconv.AppendInt(nil, int64(binary.LittleEndian.Uint64(b)), 10)
}

func truths(bits []uint8) [][]byte {
	out := make([][]byte, len(bits))
	for i, bit := range bits {
		out[i] = strconv.AppendBool(nil, bit == 1)
	}
	return out
}

// runsOfTruth reads truth values behind the number of their bytes.
func runsOfTruth(b []byte, n int) ([][]byte, error) {
	if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
		return nil, io.ErrUnexpectedEOF
	}
	bits, err := runs[uint8](b[4:4+binary.LittleEndian.Uint32(b)], 1, n)
	return truths(bits), err
}

func decimals(numbers []int64, kind format.Type) [][]byte {
	out := make([][]byte, len(numbers))
	for i, v := range numbers {
		if kind == format.Int32 {
			v = int64(int32(v)) // differences wrap around
		}
		out[i] = strconv.AppendInt(nil, v, 10)
	}
	return out
}

// joinStreams puts values together whose first bytes stand first, then their second.
func joinStreams(b []byte, n, size int) ([]byte, error) {
	if n > len(b)/size {
		return nil, io.ErrUnexpectedEOF
	}
	out := make([]byte, n*size)
	for i := range out {
		out[i] = b[i%size*n+i/size]
	}
	return out, nil
}

var errDelta = errors.New("corrupt: no block of differences")

// deltaNumbers reads n numbers that are stored as differences (DELTA_BINARY_PACKED in the
// format's Encodings.md) and answers what follows them.
func deltaNumbers(b []byte, n int) (out []int64, rest []byte, err error) {
	var head [3]uint64 // numbers a block, parts of a block, numbers in all
	for i := range head {
		used := 0
		if head[i], used = binary.Uvarint(b); used <= 0 {
			return nil, nil, io.ErrUnexpectedEOF
		}
		b = b[used:]
	}
	last, used := binary.Varint(b)
	if used <= 0 {
		return nil, nil, io.ErrUnexpectedEOF
	}
	b = b[used:]
	const most = 1 << 20
	if head[0] == 0 || head[0] > most || head[1] == 0 || head[0]%head[1] != 0 || head[0]/head[1]%8 != 0 {
		return nil, nil, fmt.Errorf("corrupt: blocks of %d numbers in %d parts", head[0], head[1])
	}
	if head[2] != uint64(n) {
		return nil, nil, fmt.Errorf("corrupt: %d numbers, not %d", head[2], n)
	}
	parts, each := int(head[1]), int(head[0]/head[1])
	if n > 0 {
		out = append(make([]int64, 0, min(n, 8*len(b)+1)), last)
	}
	for len(out) < n {
		least, used := binary.Varint(b)
		if used <= 0 || len(b) < used+parts {
			return nil, nil, io.ErrUnexpectedEOF
		}
		widths := b[used : used+parts]
		b = b[used+parts:]
		for _, width := range widths {
			if len(out) == n {
				break
			}
			size := each / 8 * int(width)
			if width > 64 {
				return nil, nil, errDelta
			}
			packed := b[:min(size, len(b))] // the last part may end with its last number
			for i := range min(each, n-len(out)) {
				if (i+1)*int(width) > 8*len(packed) {
					return nil, nil, io.ErrUnexpectedEOF
				}
				last += least + int64(bitsAt(packed, i*int(width), int(width)))
				out = append(out, last)
			}
			b = b[len(packed):]
		}
	}
	return out, b, nil
}

// bitsAt is a number of width bits, the lowest first, at most 64.
func bitsAt(b []byte, at, width int) (v uint64) {
	for got := 0; got < width; {
		low := (at + got) % 8
		v |= uint64(b[(at+got)/8]>>low) << got
		got += 8 - low
	}
	if width < 64 {
		v &= 1<<width - 1
	}
	return v
}

// lengthsFirst reads values that follow all their lengths (DELTA_LENGTH_BYTE_ARRAY).
func lengthsFirst(b []byte, n int) ([][]byte, error) {
	lengths, b, err := deltaNumbers(b, n)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, n)
	for i, length := range lengths {
		if length < 0 || length > int64(len(b)) {
			return nil, io.ErrUnexpectedEOF
		}
		out[i], b = b[:length:length], b[length:]
	}
	return out, nil
}

// prefixesFirst reads values of which only the ends stand there: each begins as the value
// before it, for so many bytes (DELTA_BYTE_ARRAY).
func prefixesFirst(b []byte, n int) ([][]byte, error) {
	prefixes, b, err := deltaNumbers(b, n)
	if err != nil {
		return nil, err
	}
	out, err := lengthsFirst(b, n)
	if err != nil {
		return nil, err
	}
	var before []byte
	var shared int64
	for i, prefix := range prefixes {
		if prefix < 0 || prefix > int64(len(before)) {
			return nil, fmt.Errorf("corrupt: value %d shares %d bytes of %d", i, prefix, len(before))
		}
		if shared += prefix; shared > maxSharedBytes {
			return nil, fmt.Errorf("its values share more than %d bytes; write the file with smaller pages",
				maxSharedBytes)
		}
		if prefix > 0 {
			out[i] = append(before[:prefix:prefix], out[i]...)
		}
		before = out[i]
	}
	return out, nil
}
