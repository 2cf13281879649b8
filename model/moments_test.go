package model

import (
	"math"
	"testing"

	"distilvit/internal/backend"
)

// observed sums moments of batches up on the pure-Go backend.
func observedMoments(t *testing.T, c *Config, w Weights, captions int, batches ...Observed) map[string]*Moments {
	t.Helper()
	be, err := backend.Open(backend.Choice{Kind: backend.Go})
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewObserver(be, c, w, HalfNormalization)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for _, b := range batches {
		if err := o.Add(b, len(b.Pixels)/(c.Encoder.ImageSize*c.Encoder.ImageSize*3), captions); err != nil {
			t.Fatal(err)
		}
	}
	return o.Moments()
}

// Moments of the patches are those of the pixels in the weight's order; every matrix has its own; padding counts for
// nothing, and batches add up.
func TestObserverSumsWhatMatricesMultiply(t *testing.T) {
	c := &Config{
		Encoder: EncoderConfig{HiddenSize: 16, NumHiddenLayers: 1, NumAttentionHeads: 2, IntermediateSize: 24,
			ImageSize: 8, PatchSize: 4, NumChannels: 3, LayerNormEps: 1e-12, HiddenAct: "gelu", QKVBias: true},
		Decoder: GPT2Config{VocabSize: 31, NPositions: 8, NEmbd: 12, NLayer: 2, NHead: 2, NInner: 20,
			LayerNormEpsilon: 1e-5, ActivationFunction: "gelu_new"},
		DecoderStartTokenID: 30, EOSTokenID: 30, TieWordEmbeddings: true,
	}
	w := Init(c, 3)
	const side, p = 8, 4
	pixels := make([]uint8, 2*side*side*3)
	for i := range pixels {
		pixels[i] = uint8(37*i + i*i/11)
	}
	half := len(pixels) / 2
	first := Observed{pixels[:half], []int32{30, 4, 9, 30, 7, 0}, []float32{1, 1, 1, 1, 1, 0}}
	second := Observed{pixels[half:], []int32{30, 1, 0, 30, 2, 3}, []float32{1, 1, 0, 1, 1, 1}}
	both := Observed{pixels, append(append([]int32{}, first.IDs...), second.IDs...),
		append(append([]float32{}, first.Real...), second.Real...)}
	got := observedMoments(t, c, w, 2, first, second)

	name := c.Encoder.Names().Patches + ".weight"
	var want [48][48]float64
	for n := range 2 {
		for py := range side / p {
			for px := range side / p {
				var x [48]float64
				for i := range x {
					channel, y, col := i/(p*p), py*p+i/p%p, px*p+i%p
					x[i] = float64(pixels[n*half+(y*side+col)*3+channel])/127.5 - 1
				}
				for i := range x {
					for j := range x {
						want[i][j] += x[i] * x[j]
					}
				}
			}
		}
	}
	for i := range want {
		for j, v := range got[name].Row(i) {
			if d := math.Abs(v - want[i][i+j]); d > 1e-4 {
				t.Fatalf("moment %d, %d of the patches is %v, want %v", i, i+j, v, want[i][i+j])
			}
		}
	}
	matrices := 0
	for name, shape := range c.Shapes() {
		if len(shape) < 2 || got[name] == nil {
			continue
		}
		matrices++
	}
	if matrices != len(got) || len(got) != 1+6+1+2*7+1 {
		t.Errorf("moments of %d matrices, %d of them the network's", len(got), matrices)
	}
	head := got["decoder.transformer.wte.weight"]
	if head == nil || head.Width != 12 {
		t.Errorf("the output layer has the moments %+v, want 12 inputs", head)
	}

	padded := both
	padded.IDs = append([]int32{}, both.IDs...)
	padded.IDs[5], padded.IDs[8] = 22, 23 // where there is no token
	for what, b := range map[string]Observed{"one batch": both, "other padding": padded} {
		for name, m := range observedMoments(t, c, w, 2, b) {
			for i, v := range m.Sum {
				if d := math.Abs(v - got[name].Sum[i]); d > 1e-4*(1+math.Abs(v)) {
					t.Fatalf("%s: moment %d of %s is %v, in two batches %v", what, i, name, v, got[name].Sum[i])
				}
			}
		}
	}
}
