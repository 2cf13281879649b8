package onnx

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/x448/float16"

	"distilvit/model"
)

// A 4-bit file computes what its codes and scales stand for: the same logits as a float32 file of the weights
// that they are taken apart to.
func TestFourBitFilesComputeWhatTheyStandFor(t *testing.T) {
	for name, change := range map[string]func(*model.Config){
		"whole blocks":   func(*model.Config) {},
		"rest of blocks": func(c *model.Config) { *c = *testConfig(40, 48); c.Encoder.PatchSize = 4 },
		"untied lm_head": func(c *model.Config) { c.TieWordEmbeddings = false },
	} {
		for dtype, most := range map[string]float64{"q4": 5e-5, "q4f16": 0.03} {
			t.Run(name+", "+dtype, func(t *testing.T) {
				c := testConfig(32, 32)
				change(c)
				w := lively(c, 7)
				plain := open(t, export(t, c, takenApart(t, c, w, dtype), "fp32"), "fp32")
				packed := open(t, export(t, c, w, dtype), dtype)
				for n := range 3 {
					values := PixelValues(picture(n, c.Encoder.ImageSize), model.HalfNormalization)
					ids := []int32{5, 17, 255, 0, 299, 64, 128, 3}
					want, err := plain.Logits(values, ids)
					if err != nil {
						t.Fatal(err)
					}
					got, err := packed.Logits(values, ids)
					if err != nil {
						t.Fatal(err)
					}
					if d := distance(got, want); d > most {
						t.Errorf("picture %d: logits differ by %g", n, d)
					}
				}
			})
		}
	}
}

// takenApart are the weights that a 4-bit file stands for.
func takenApart(t *testing.T, c *model.Config, w model.Weights, dtype string) model.Weights {
	t.Helper()
	got := model.Weights{}
	for name, x := range w {
		got[name] = &model.Tensor{Shape: x.Shape, Data: slices.Clone(x.Data)}
	}
	for _, build := range []builds{encoder, decoder} {
		g, err := build(c, w, dtypes[dtype].numbers, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := &builder{graph: *g}
		for _, x := range g.tensors {
			if name, ok := strings.CutSuffix(x.name, "_q4"); ok {
				codes, scales := content(t, b, x.name), content(t, b, name+"_scales")
				takeApart(got[name], isConv1D(name), x.shape, codes, scales, dtype == "q4f16")
			}
			if name, ok := strings.CutSuffix(x.name, "_quantized"); ok { // positions, 8 bits
				codes, scales, rows := content(t, b, x.name), content(t, b, name+"_scale"), int(x.shape[1])
				for i, code := range codes {
					scale := math.Float32frombits(binary.LittleEndian.Uint32(scales[i%rows*4:]))
					got[name].Data[i%rows*got[name].Shape[1]+i/rows] = float32(int(code)-128) * scale
				}
			}
		}
	}
	return got
}

// isConv1D tells GPT-2's weights [in, out] from those of a Linear [out, in].
func isConv1D(name string) bool {
	return strings.Contains(name, ".c_") || strings.HasSuffix(name, "q_attn.weight")
}

// takeApart sets a weight to what codes [out, blocks, 16] and scales [out·blocks] say.
func takeApart(w *model.Tensor, conv1d bool, shape []int64, codes, scales []byte, half bool) {
	out, blocks := int(shape[0]), int(shape[1])
	in := len(w.Data) / out
	for o := range out {
		for i := range in {
			block := o*blocks + i/nibbleBlock
			var scale float32
			if half {
				scale = float16.Frombits(binary.LittleEndian.Uint16(scales[2*block:])).Float32()
			} else {
				scale = math.Float32frombits(binary.LittleEndian.Uint32(scales[4*block:]))
			}
			code := codes[(block*nibbleBlock+i%nibbleBlock)/2] >> (4 * (i % 2)) & 15
			at := o*in + i
			if conv1d {
				at = i*out + o
			}
			w.Data[at] = float32(int(code)-8) * scale
		}
	}
}

// Every code is the nearest to its weight, or the last on its side; the scale is the best of its candidates.
func TestNibblesAreNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for range 200 {
		block := make([]float32, 1+r.IntN(nibbleBlock))
		for i := range block {
			block[i] = float32(r.NormFloat64() * math.Exp(r.NormFloat64()))
		}
		scale := nibbles{}.scale(block)
		for _, v := range block {
			code, nearest := nibble(v, scale), math.Inf(1)
			for other := range 16 {
				nearest = min(nearest, math.Abs(float64(v)-float64(other-8)*float64(scale)))
			}
			if got := math.Abs(float64(v) - float64(code-8)*float64(scale)); got > nearest*1.0001 {
				t.Errorf("%v has the code %d at scale %v: off by %v, the nearest by %v", v, code, scale, got, nearest)
			}
		}
		extreme := slices.MaxFunc(block, func(a, b float32) int {
			return int(math.Copysign(1, math.Abs(float64(a))-math.Abs(float64(b))))
		})
		if e := nibbleError(block, scale); e > nibbleError(block, extreme/-8) {
			t.Errorf("error %v, with the scale that keeps the largest %v", e, nibbleError(block, extreme/-8))
		}
	}
	zeros := appendNibbles(nil, nibbles{}.encode(matrix{in: 5, out: 1, data: make([]float32, 5)}, nil).of)
	if len(zeros) != 16 || slices.ContainsFunc(zeros, func(b byte) bool { return b != 0x88 }) {
		t.Errorf("five zeros are % x", zeros)
	}
}

// What float16 cannot hold is refused, with the weight's name.
func TestWriteRefusesWeightsBeyondFloat16(t *testing.T) {
	c := testConfig(32, 32)
	w := lively(c, 1)
	w["decoder.transformer.h.1.mlp.c_fc.weight"].Data[9] = 70_000
	_, err := Write(t.TempDir(), c, w, "fp16")
	if err == nil || !strings.Contains(err.Error(),
		"decoder.transformer.h.1.mlp.c_fc.weight: 70000 is beyond float16's 65504") {
		t.Errorf("error %v", err)
	}
	if _, err := Write(t.TempDir(), c, w, "q4f16"); err != nil {
		t.Errorf("as q4f16, whose scale is small enough: %v", err)
	}
}
