package model

import (
	"math"
	"testing"

	"distilvit/internal/backend"
)

// The divergence with other weights is that of the captioners' own logits, summed in float64 over what is no padding;
// with the network's own weights it is 0, also after others stood there.
func TestDivergencesAreThoseOfLogits(t *testing.T) {
	c := &Config{
		Encoder: EncoderConfig{HiddenSize: 16, NumHiddenLayers: 1, NumAttentionHeads: 2, IntermediateSize: 24,
			ImageSize: 8, PatchSize: 4, NumChannels: 3, LayerNormEps: 1e-12, HiddenAct: "gelu", QKVBias: true},
		Decoder: GPT2Config{VocabSize: 31, NPositions: 8, NEmbd: 12, NLayer: 2, NHead: 2, NInner: 20,
			LayerNormEpsilon: 1e-5, ActivationFunction: "gelu_new"},
		DecoderStartTokenID: 30, EOSTokenID: 30, TieWordEmbeddings: true,
	}
	w, other := Init(c, 3), Init(c, 3)
	for _, x := range []Weights{w, other} {
		for i := range x["decoder.transformer.wte.weight"].Data {
			x["decoder.transformer.wte.weight"].Data[i] = float32(math.Sin(float64(i)))
		}
	}
	changed := Weights{}
	for _, name := range []string{"decoder.transformer.wte.weight", "decoder.transformer.h.1.mlp.c_fc.weight"} {
		for i := range other[name].Data {
			other[name].Data[i] += float32(0.1 * math.Cos(float64(3*i)))
		}
		changed[name] = other[name]
	}
	pixels := make([]uint8, 3*8*8*3)
	for i := range pixels {
		pixels[i] = uint8(37*i + i*i/11)
	}
	ids := []int32{30, 4, 9, 30, 7, 0, 30, 2, 2}
	real := []float32{1, 1, 1, 1, 1, 0, 1, 0, 0}

	be, err := backend.Open(backend.Choice{Kind: backend.Go})
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDivergences(be, c, w, HalfNormalization)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	picture := len(pixels) / 3
	for _, batch := range [][2]int{{0, 2}, {2, 3}} {
		from, to := batch[0], batch[1]
		b := Observed{pixels[from*picture : to*picture], ids[3*from : 3*to], real[3*from : 3*to]}
		if err := d.Add(b, to-from); err != nil {
			t.Fatal(err)
		}
	}
	var sum, highest, tokens float64
	var logits [2][]float32
	for n := range 3 {
		for i, x := range []Weights{w, other} {
			g, err := NewCaptioner(be, c, x)
			if err != nil {
				t.Fatal(err)
			}
			if logits[i], err = g.Logits(pixels[n*picture:(n+1)*picture], ids[3*n:3*n+3]); err != nil {
				t.Fatal(err)
			}
			g.Close()
		}
		for at := range 3 {
			if real[3*n+at] == 0 {
				continue
			}
			p, q := logits[0][31*at:31*at+31], logits[1][31*at:31*at+31]
			logSoftmax(p)
			logSoftmax(q)
			kl := 0.0
			for i := range p {
				kl += math.Exp(float64(p[i])) * float64(p[i]-q[i])
			}
			sum, highest, tokens = sum+kl, max(highest, kl), tokens+1
		}
	}
	for range 2 {
		mean, most, err := d.With(changed)
		if err != nil {
			t.Fatal(err)
		}
		if want := sum / tokens; math.Abs(mean-want) > 1e-5*want+1e-6 || math.Abs(most-highest) > 1e-5*highest+1e-6 || want < 1e-4 {
			t.Errorf("KL %v, at most %v; want %v, %v", mean, most, want, highest)
		}
		if mean, most, err = d.With(Weights{}); err != nil || mean > 1e-7 || most > 1e-6 {
			t.Errorf("KL %v, at most %v of the network from itself, %v", mean, most, err)
		}
	}
	if _, _, err := d.With(Weights{"encoder.no": w["decoder.transformer.wte.weight"]}); err == nil {
		t.Error("a tensor that the model has not is replaced")
	}
}
