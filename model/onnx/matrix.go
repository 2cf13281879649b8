package onnx

import "slices"

// matrix is the W [in, out] of y = x·W, read from the weights as they are stored: as it is (GPT-2's Conv1D),
// or transposed (a Linear's [out, in], an embedding table's [vocabulary, width], a patch projection's [width,
// channels·p·p]).
type matrix struct {
	name       string
	in, out    int
	data       []float32
	transposed bool
	fine       bool // a table too small to be worth storing in 4 bits
	table      bool // its columns are looked up, too
}

// flipped is Wᵀ, of the same data.
func (m matrix) flipped() matrix {
	m.in, m.out, m.transposed = m.out, m.in, !m.transposed
	return m
}

// blockBytes bounds the float32 rows that are held at once while a matrix is written.
const blockBytes = 8 << 20

// eachBlock calls f with the matrix's rows in order, several at a time. The slice is the sink's or the
// weights' own.
func (m matrix) eachBlock(s *sink, f func(rows []float32) error) error {
	n := min(m.in, max(1, blockBytes/(4*m.out)))
	for first := 0; first < m.in; first += n {
		last := min(first+n, m.in)
		rows := m.data[first*m.out : last*m.out]
		if m.transposed {
			rows = m.turned(s, first, last)
		}
		if err := f(rows); err != nil {
			return err
		}
	}
	return nil
}

// eachRow calls f with each row.
func (m matrix) eachRow(f func(row []float32)) {
	_ = m.eachBlock(&sink{}, func(rows []float32) error { // of f alone come errors
		for row := range slices.Chunk(rows, m.out) {
			f(row)
		}
		return nil
	})
}

// at is the weight of an input to an output.
func (m matrix) at(in, out int) float32 {
	if m.transposed {
		return m.data[out*m.in+in]
	}
	return m.data[in*m.out+out]
}

// filled are weights as f has them, in the order of data.
func (m matrix) filled(f func(in, out int) float32) []float32 {
	data := make([]float32, 0, m.in*m.out)
	if m.transposed {
		for o := range m.out {
			for i := range m.in {
				data = append(data, f(i, o))
			}
		}
		return data
	}
	for i := range m.in {
		for o := range m.out {
			data = append(data, f(i, o))
		}
	}
	return data
}

// turned is rows first to last of a transposed matrix.
func (m matrix) turned(s *sink, first, last int) []float32 {
	n := (last - first) * m.out
	if cap(s.floats) < n {
		s.floats = make([]float32, n)
	}
	rows := s.floats[:n]
	for o := range m.out {
		for i, v := range m.data[o*m.in+first : o*m.in+last] {
			rows[i*m.out+o] = v
		}
	}
	return rows
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
