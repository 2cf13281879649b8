package onnx

import (
	"fmt"
	"slices"
	"strings"

	"distilvit/model"
)

// Options say how a dtype's matrices are stored. Zero: as the dtype says, each weight rounded to the nearest.
type Options struct {
	Calibration *Calibration // what rounding goes by; nil: to the nearest
	EightBits   []string     // of q4 and q4f16: layers (Layer.Name) that keep 8 bits a weight
}

// numbers are a dtype's, or of 4 bits those that mix in 8.
func (o Options) numbers(dtype string) numbers {
	n := dtypes[dtype].numbers
	few, ok := n.(nibbles)
	if !ok || len(o.EightBits) == 0 {
		return n
	}
	return mixed{few: few, many: eightBits(few), layers: o.EightBits}
}

// Mixes says whether layers of a dtype can keep 8 bits.
func Mixes(dtype string) bool {
	_, ok := dtypes[dtype].numbers.(nibbles)
	return ok
}

// mixed stores matrices in 4 bits, those of some layers in 8.
type mixed struct {
	few    nibbles
	many   eightBits
	layers []string
}

func (m mixed) matmul(b *builder, x string, w matrix) string {
	if slices.Contains(m.layers, layerOf(w.name)) {
		return m.many.matmul(b, x, w)
	}
	return m.few.matmul(b, x, w)
}

func (m mixed) gather(b *builder, table matrix, ids string) string {
	if !table.fine && slices.Contains(m.layers, layerOf(table.name)) {
		return ofEight.gather(b, table, ids)
	}
	return m.few.gather(b, table, ids)
}

// eightBits stores a matrix as q8 does and multiplies it as numbers of float32, or float16, which ONNX Runtime makes
// of it once, when the file is loaded. q8's own products of integers are wrong or missing on WebGPU, and MatMulNBits
// takes 8 bits in no version that pages have.
type eightBits struct{ half bool }

// ofEight is how q8 stores a matrix.
var ofEight = integerNumbers{elemUint8, 128, 127}

func (n eightBits) matmul(b *builder, x string, w matrix) string {
	codes, scales := ofEight.store(b, w)
	y := b.mul(b.op("Sub", []string{b.cast(codes, elemFloat32), b.float(float64(ofEight.zero))}), scales)
	if !n.half {
		return b.op("MatMul", []string{x, y})
	}
	return b.cast(b.op("MatMul", []string{b.half(x), b.cast(y, elemFloat16)}), elemFloat32)
}

// Layer is what of a network is rounded together: the matrices of an encoder's or a decoder's layer, the table of the
// tokens, the patches' projection.
type Layer struct {
	Name     string // as the tensors' names begin
	Bytes    int64  // that a dtype stores its matrices in, scales included
	matrices []matrix
	rounds   rounds
	known    *Calibration
}

// rounds are numbers whose codes are known to stand for others.
type rounds interface {
	encode(matrix, *Calibration) coded
	decode(matrix, coded) []float32
	bytes(matrix) int64
}

// bytes are those of codes and scales.
func (n nibbles) bytes(w matrix) int64 {
	scale := int64(4)
	if n.half {
		scale = 2
	}
	return int64(w.out) * int64(w.blocks()) * (nibbleBlock/2 + scale)
}

// bytes are those of codes and scales.
func (n integerNumbers) bytes(w matrix) int64 { return int64(w.out) * (int64(w.in) + 4) }

// Layers are those that a dtype rounds, in the order of the graphs; of fp32 and fp16 none. Positions, which no dtype
// stores in less than 8 bits, are in none.
func Layers(c *model.Config, w model.Weights, dtype string, known *Calibration) ([]Layer, error) {
	if err := checkDtype(dtype); err != nil {
		return nil, err
	}
	r, ok := dtypes[dtype].numbers.(rounds)
	if !ok {
		return nil, nil
	}
	list := &listing{}
	for _, make := range graphs(c) {
		if _, err := make(c, w, list, nil); err != nil {
			return nil, err
		}
	}
	var layers []Layer
	for _, m := range list.found {
		name := layerOf(m.name)
		at := slices.IndexFunc(layers, func(l Layer) bool { return l.Name == name })
		if at < 0 {
			at = len(layers)
			layers = append(layers, Layer{Name: name, rounds: r, known: known})
		}
		layers[at].matrices = append(layers[at].matrices, m)
		layers[at].Bytes += r.bytes(m)
	}
	return layers, nil
}

// Rounded calls f with each of the layer's tensors as the dtype's codes stand for it, in the order of its weights.
func (l Layer) Rounded(f func(tensor string, data []float32) error) error {
	for _, m := range l.matrices {
		if err := f(m.name, l.rounds.decode(m, l.rounds.encode(m, l.known))); err != nil {
			return err
		}
	}
	return nil
}

// layerOf is the layer of a tensor: its name up to a number, or all of it but ".weight".
func layerOf(tensor string) string {
	parts := strings.Split(strings.TrimSuffix(tensor, ".weight"), ".")
	for i, part := range parts {
		if part != "" && strings.Trim(part, "0123456789") == "" {
			return strings.Join(parts[:i+1], ".")
		}
	}
	return strings.Join(parts, ".")
}

// listing notes the matrices of a graph that is thrown away.
type listing struct {
	float32Numbers
	found []matrix
}

func (l *listing) matmul(b *builder, x string, w matrix) string {
	l.add(w)
	return l.float32Numbers.matmul(b, x, w)
}

func (l *listing) gather(b *builder, table matrix, ids string) string {
	if !table.fine {
		l.add(table)
	}
	return l.float32Numbers.gather(b, table, ids)
}

func (l *listing) add(w matrix) {
	if !slices.ContainsFunc(l.found, func(m matrix) bool { return m.name == w.name }) {
		l.found = append(l.found, w)
	}
}

// Mix chooses the layers of a dtype of 4 bits that keep 8, and answers how many bytes its two files then have: of those
// that fit within most bytes the one whose damage (nats, by layer) is greatest for each byte that 4 bits save, then
// the next. Equal ones are taken in the order of the graphs. A layer without damage stays in 4 bits.
func Mix(
	c *model.Config, w model.Weights, dtype string, damage map[string]float64, most int64,
) (kept []string, size int64, err error) {
	few, err := Layers(c, w, dtype, nil)
	if err != nil {
		return nil, 0, err
	}
	if !Mixes(dtype) {
		return nil, 0, fmt.Errorf("%s mixes no numbers: q4 and q4f16 do", dtype)
	}
	worth := map[string]float64{}
	for _, l := range few {
		var more int64
		for _, m := range l.matrices {
			more += ofEight.bytes(m)
		}
		worth[l.Name] = damage[l.Name] / float64(max(1, more-l.Bytes))
	}
	slices.SortStableFunc(few, func(a, b Layer) int {
		switch x, y := worth[a.Name], worth[b.Name]; {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	if size, err = Size(c, dtype, nil); err != nil {
		return nil, 0, err
	}
	for _, l := range few {
		if !(worth[l.Name] > 0) {
			break
		}
		more := append(slices.Clone(kept), l.Name)
		n, err := Size(c, dtype, more)
		if err != nil {
			return nil, 0, err
		}
		if n <= most {
			kept, size = more, n
		}
	}
	return kept, size, nil
}
