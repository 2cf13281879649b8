//go:build cgo

package onnx

import (
	"slices"
	"testing"

	ort "github.com/yalue/onnxruntime_go"

	"distilvit/model"
)

// beginTwo begins two pictures.
func beginTwo(t *testing.T, s *Session, side int) *decoding {
	t.Helper()
	values := append(PixelValues(picture(0, side), model.HalfNormalization),
		PixelValues(picture(1, side), model.HalfNormalization)...)
	d, err := s.begin(values, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

func step(t *testing.T, d *decoding, ids ...int64) []float32 {
	t.Helper()
	logits, err := d.step(ids)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(logits)
}

// A caption may be fed whole, token by token, or in parts: the logits after its last token are the same. Of q8
// and int8 they are not quite: what is multiplied at once shares one range of numbers.
func TestCachesTakeTokensInAnyPortions(t *testing.T) {
	for dtype, most := range map[string]float64{
		"fp32": 1e-4, "fp16": 1e-3, "q8": 0.3, "int8": 0.3, "q4": 1e-4, "q4f16": 1e-3,
	} {
		t.Run(dtype, func(t *testing.T) { wantAnyPortions(t, dtype, most) })
	}
}

func wantAnyPortions(t *testing.T, dtype string, most float64) {
	for name, c := range map[string]*model.Config{
		"one width": testConfig(32, 32), "two widths": testConfig(32, 48), "prefix": prefixConfig(),
	} {
		most := most
		if c.Kind == model.Prefix && most == 0.3 {
			most = 0.35 // the picture's vectors share the range, too
		}
		s := open(t, export(t, c, lively(c, 7), dtype), dtype)
		last := func(logits []float32) []float32 { // of two pictures
			half, vocabulary := len(logits)/2, c.VocabSize()
			return append(slices.Clone(logits[half-vocabulary:half]), logits[len(logits)-vocabulary:]...)
		}
		whole := step(t, beginTwo(t, s, 32), 300, 5, 17, 64, 300, 9, 8, 7)

		single := beginTwo(t, s, 32)
		step(t, single, 300, 300)
		step(t, single, 5, 9)
		step(t, single, 17, 8)
		if d := distance(last(whole), step(t, single, 64, 7)); d > most {
			t.Errorf("%s: token by token logits differ by %g from those of a whole caption", name, d)
		}
		parts := beginTwo(t, s, 32)
		step(t, parts, 300, 300)
		if d := distance(last(whole), last(step(t, parts, 5, 17, 64, 9, 8, 7))); d > most {
			t.Errorf("%s: in two parts logits differ by %g from those of a whole caption", name, d)
		}
	}
}

// After the first call nothing is computed of the picture any more: its keys and values are in the caches.
func TestPicturesAreProjectedOnce(t *testing.T) {
	for _, c := range []*model.Config{testConfig(32, 48), prefixConfig()} {
		wantProjectedOnce(t, c)
	}
}

func wantProjectedOnce(t *testing.T, c *model.Config) {
	t.Helper()
	for _, dtype := range Dtypes() {
		s := open(t, export(t, c, lively(c, 7), dtype), dtype)
		d, other := beginTwo(t, s, 32), beginTwo(t, s, 32)
		step(t, d, 300, 300)
		step(t, other, 300, 300)
		clear(other.pictures.(*ort.Tensor[float32]).GetData())
		want := step(t, d, 5, 9)
		if !slices.Equal(want, step(t, other, 5, 9)) {
			t.Errorf("%s: logits depend on the picture after the first call", dtype)
		}
		if slices.Equal(want[:c.VocabSize()], want[c.VocabSize():]) {
			t.Errorf("%s: both pictures have the same logits", dtype)
		}
	}
}
