package onnx

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// A stored matrix is the same read from either layout, however many blocks it takes.
func TestBlocksAreTheRowsOfEitherLayout(t *testing.T) {
	const in, out = 900_000, 3 // two blocks
	plain := matrix{in: in, out: out, data: make([]float32, in*out)}
	turned := matrix{in: in, out: out, data: make([]float32, in*out), transposed: true}
	for i := range in {
		for o := range out {
			v := float32(i*out + o)
			plain.data[i*out+o], turned.data[o*in+i] = v, v
		}
	}
	for _, m := range []matrix{plain, turned} {
		var all []float32
		blocks := 0
		err := m.eachBlock(&sink{}, func(rows []float32) error {
			blocks++
			all = append(all, rows...)
			return nil
		})
		if err != nil || blocks != 2 || !slices.Equal(all, plain.data) {
			t.Errorf("transposed %v: %d blocks, error %v, or other values", m.transposed, blocks, err)
		}
	}
}

// Every code is within half a step of its weight, zero is exact, and a column of zeros stays one.
func TestQuantizedColumnsAreWithinHalfAStep(t *testing.T) {
	for _, dtype := range []string{"q8", "int8"} {
		t.Run(dtype, func(t *testing.T) { wantHalfAStep(t, dtypes[dtype].numbers.(integerNumbers)) })
	}
}

func wantHalfAStep(t *testing.T, n integerNumbers) {
	r := rand.New(rand.NewPCG(4, 4))
	const in, out = 50, 7
	for _, transposed := range []bool{false, true} {
		m := matrix{name: "w", in: in, out: out, data: make([]float32, in*out), transposed: transposed}
		at := func(i, o int) *float32 {
			if transposed {
				return &m.data[o*in+i]
			}
			return &m.data[i*out+o]
		}
		for i := range in {
			for o := 1; o < out; o++ { // column 0 stays zero
				*at(i, o) = float32(r.NormFloat64() * math.Pow(10, float64(o-4)))
			}
			*at(i, 1) = 0.25 * float32(i%3-1)
		}
		b := newBuilder("test", nil, n, nil)
		codesName, scalesName := n.store(b, m)
		codes, raw := content(t, b, codesName), content(t, b, scalesName)
		for o := range out {
			scale := math.Float32frombits(binary.LittleEndian.Uint32(raw[4*o:]))
			if !(scale > 0) {
				t.Fatalf("column %d has the scale %v", o, scale)
			}
			for i := range in {
				want, code := *at(i, o), int(codes[i*out+o])
				if n.elem == elemInt8 {
					code = int(int8(code))
				}
				level := code - n.zero
				got := float32(level) * scale
				if math.Abs(float64(got-want)) > 0.5001*float64(scale) || want == 0 && level != 0 ||
					max(level, -level) > n.top {
					t.Errorf("transposed %v, row %d, column %d: code %d is %v, the weight %v", transposed,
						i, o, code, got, want)
				}
			}
		}
	}
}

// The table of the tokens is the output layer's, and is in the file once.
func TestTiedTableIsStoredOnce(t *testing.T) {
	const rows, width = 301, 32
	c := testConfig(width, width)
	for dtype, bytes := range map[string]int64{
		"fp32": 4 * rows * width, "fp16": 2 * rows * width, "q8": rows * width, "int8": rows * width,
		"q4": rows * width / 2, "q4f16": rows * width / 2,
	} {
		g, err := decoder(c, lively(c, 1), dtypes[dtype].numbers, nil)
		if err != nil {
			t.Fatal(err)
		}
		tables := 0
		for _, x := range g.tensors {
			if len(x.shape) > 1 && slices.Contains(x.shape, rows) {
				tables++
				if x.bytes() != bytes {
					t.Errorf("%s: table of %d bytes", dtype, x.bytes())
				}
			}
		}
		if tables != 1 {
			t.Errorf("%s: %d tables", dtype, tables)
		}
	}
}

func TestUntiedHeadIsStoredByItself(t *testing.T) {
	c := testConfig(32, 32)
	w := lively(c, 1)
	c.TieWordEmbeddings = false
	w["decoder.lm_head.weight"] = w["decoder.transformer.wte.weight"]
	g, err := decoder(c, w, float32Numbers{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(g.tensors, func(x *tensor) bool { return x.name == "decoder.lm_head.weight" }) {
		t.Error("no output layer in the file")
	}
}

func TestWriterRefusesATensorThatWritesLess(t *testing.T) {
	g := graph{tensors: []*tensor{{name: "w", elem: elemUint8, shape: []int64{3}, write: func(s *sink) error {
		return s.write([]byte{1, 2})
	}}}}
	if err := g.writeTo(io.Discard); err == nil || err.Error() != "w: 2 bytes written, 3 announced" {
		t.Errorf("error %v", err)
	}
}

func content(t *testing.T, b *builder, name string) []byte {
	t.Helper()
	for _, x := range b.graph.tensors {
		if x.name == name {
			var buffer bytes.Buffer
			if err := x.write(&sink{w: &buffer}); err != nil {
				t.Fatal(err)
			}
			if int64(buffer.Len()) != x.bytes() {
				t.Fatalf("%s: %d bytes written, %d announced", name, buffer.Len(), x.bytes())
			}
			return buffer.Bytes()
		}
	}
	t.Fatalf("no tensor %s", name)
	return nil
}
