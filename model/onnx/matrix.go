package onnx

import (
	"encoding/binary"
	"io"
	"math"
)

// matrix is the W [in, out] of y = x·W, read from the weights as they are stored: as it is (GPT-2's Conv1D), or transposed
// (a Linear's [out, in], an embedding table's [vocabulary, width], a patch projection's [width, channels·p·p]).
type matrix struct {
	name       string
	in, out    int
	data       []float32
	transposed bool
}

// blockBytes bounds the float32 rows that are held at once while a matrix is written.
const blockBytes = 8 << 20

// eachBlock calls f with the matrix's rows in order, several at a time; first is the number of the first one. The slice is reused.
func (m matrix) eachBlock(f func(first int, rows []float32) error) error {
	n := min(m.in, max(1, blockBytes/(4*m.out)))
	var buffer []float32
	if m.transposed {
		buffer = make([]float32, n*m.out)
	}
	for first := 0; first < m.in; first += n {
		last := min(first+n, m.in)
		rows := buffer
		if m.transposed {
			rows = buffer[:(last-first)*m.out]
			for o := range m.out {
				for i, v := range m.data[o*m.in+first : o*m.in+last] {
					rows[i*m.out+o] = v
				}
			}
		} else {
			rows = m.data[first*m.out : last*m.out]
		}
		if err := f(first, rows); err != nil {
			return err
		}
	}
	return nil
}

// columnMax is the largest magnitude of each column [out].
func (m matrix) columnMax() []float32 {
	highest := make([]float32, m.out)
	if m.transposed {
		for o := range highest {
			for _, v := range m.data[o*m.in : (o+1)*m.in] {
				highest[o] = max(highest[o], v, -v)
			}
		}
		return highest
	}
	for i := range m.in {
		for o, v := range m.data[i*m.out : (i+1)*m.out] {
			highest[o] = max(highest[o], v, -v)
		}
	}
	return highest
}

// writeFloats writes v as little-endian float32.
func writeFloats(w io.Writer, v []float32) error {
	buffer := make([]byte, 0, 4*min(len(v), 1<<16))
	for len(v) > 0 {
		n := min(len(v), 1<<16)
		buffer = buffer[:0]
		for _, x := range v[:n] {
			buffer = binary.LittleEndian.AppendUint32(buffer, math.Float32bits(x))
		}
		if _, err := w.Write(buffer); err != nil {
			return err
		}
		v = v[n:]
	}
	return nil
}
