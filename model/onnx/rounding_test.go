package onnx

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"distilvit/model"
)

// correlated draws moments of inputs that depend on each other, as activations do.
func correlated(r *rand.Rand, width, rows int) *model.Moments {
	m := &model.Moments{Width: width, Sum: make([]float64, width*(width+1)/2)}
	mix := make([]float64, width*8)
	for i := range mix {
		mix[i] = r.NormFloat64() * math.Exp(r.NormFloat64())
	}
	for range rows {
		var hidden [8]float64
		for i := range hidden {
			hidden[i] = r.NormFloat64()
		}
		x := make([]float64, width)
		for i := range x {
			for j, h := range hidden {
				x[i] += h * mix[8*i+j]
			}
			x[i] += 0.3 * r.NormFloat64()
		}
		for i := range x {
			for j, v := range x[i:] {
				m.Row(i)[j] += x[i] * v
			}
		}
	}
	return m
}

// damage is Σ over columns of e·H·eᵀ, what wrong weights change in the products with all that was seen.
func damage(w matrix, m *model.Moments, got []float32) float64 {
	wrong, sum := w, 0.0
	wrong.data = got
	e := make([]float64, w.in)
	for o := range w.out {
		for i := range e {
			e[i] = float64(wrong.at(i, o)) - float64(w.at(i, o))
		}
		for i := range e {
			row := m.Row(i)
			sum += e[i] * e[i] * row[0]
			for j := 1; j < len(row); j++ {
				sum += 2 * e[i] * e[i+j] * row[j]
			}
		}
	}
	return sum
}

// What is multiplied comes out several times nearer than with every weight rounded to the nearest, in each form, also
// where the last block is short, and with the same codes however many processors find them.
func TestCalibratedProductsAreNearer(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, in := range []int{64, 75} {
		m := correlated(r, in, 400)
		for _, transposed := range []bool{false, true} {
			w := matrix{name: "w", in: in, out: 9, data: make([]float32, in*9), transposed: transposed}
			for i := range w.data {
				w.data[i] = float32(r.NormFloat64())
			}
			for name, n := range map[string]interface {
				encode(matrix, *Calibration) coded
				decode(matrix, coded) []float32
			}{
				"q4": nibbles{}, "q4f16": nibbles{half: true}, "q8": dtypes["q8"].numbers.(integerNumbers),
				"int8": dtypes["int8"].numbers.(integerNumbers),
			} {
				known := &Calibration{Moments: map[string]*model.Moments{"w": m}}
				found := n.encode(w, known)
				nearest, calibrated := damage(w, m, n.decode(w, n.encode(w, nil))), damage(w, m, n.decode(w, found))
				if calibrated > nearest/2 {
					t.Errorf("%s, %d inputs: damage %.3g, rounded to the nearest %.3g", name, in, calibrated, nearest)
				}
				before := runtime.GOMAXPROCS(1)
				again := n.encode(w, &Calibration{Moments: known.Moments})
				runtime.GOMAXPROCS(before)
				if !slices.Equal(found.of, again.of) || !slices.Equal(found.scales, again.scales) {
					t.Errorf("%s: other codes on one processor", name)
				}
			}
		}
	}
}

// Without correlation, and inputs alike, rounding is to the nearest: nothing can be made good.
func TestCalibratedToTheNearestWithoutCorrelation(t *testing.T) {
	const in, out = 64, 5
	m := &model.Moments{Width: in, Sum: make([]float64, in*(in+1)/2)}
	for i := range in {
		m.Row(i)[0] = 3
	}
	r := rand.New(rand.NewPCG(3, 4))
	w := matrix{name: "w", in: in, out: out, data: make([]float32, in*out)}
	for i := range w.data {
		w.data[i] = float32(r.NormFloat64())
	}
	want := nibbles{}.encode(w, nil)
	got := nibbles{}.encode(w, &Calibration{Moments: map[string]*model.Moments{"w": m}})
	if !slices.Equal(got.of, want.of) || !slices.Equal(got.scales, want.scales) {
		t.Error("other codes than the nearest")
	}
}

// R is what H was made of, and moments that are not positive definite get damping until they are.
func TestFactorOfMoments(t *testing.T) {
	const width = 70
	m := correlated(rand.New(rand.NewPCG(5, 6)), width, 30) // fewer rows than inputs
	f := newFactor(m, 0.01)
	mean := 0.0
	for i := range width {
		mean += m.Row(i)[0] / width
	}
	for i := range width {
		for j := i; j < width; j++ {
			got := 0.0
			for k := range i + 1 {
				got += f.row(k)[i-k] * f.row(k)[j-k]
			}
			a, b := f.order[i], f.order[j]
			want := m.Row(min(a, b))[max(a, b)-min(a, b)] / mean
			if i == j {
				want += 0.01
			}
			if math.Abs(got-want) > 1e-9 {
				t.Fatalf("RᵀR at %d, %d is %v, want %v", i, j, got, want)
			}
		}
	}
	m.Row(3)[4] = 40 * mean // no rows give that
	for _, v := range newFactor(m, 0.01).r {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			t.Fatal("a factor that is not finite")
		}
	}
}

// A calibrated file is as large as any, and ONNX Runtime computes with it what its codes stand for: nearer to the model
// than the one rounded to the nearest.
func TestCalibratedFilesCaptionNearer(t *testing.T) {
	c := testConfig(32, 48)
	w := lively(c, 7)
	known := &Calibration{Moments: observe(t, c, w)}
	plain := open(t, export(t, c, w, "fp32"), "fp32")
	for _, dtype := range []string{"q4", "q8"} {
		dir := t.TempDir()
		if _, err := WriteWith(dir, c, w, dtype, Options{Calibration: known}); err != nil {
			t.Fatal(err)
		}
		if err := WriteConfigs(dir, c, greedy, []string{dtype}); err != nil {
			t.Fatal(err)
		}
		nearestDir := export(t, c, w, dtype)
		size, err := FilesSize(dir, dtype)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := FilesSize(nearestDir, dtype); err != nil || size != want {
			t.Errorf("%s: %d bytes, want %d (%v)", dtype, size, want, err)
		}
		calibrated, nearest := open(t, dir, dtype), open(t, nearestDir, dtype)
		var kl [2]float64
		for n := range 12 {
			values := PixelValues(picture(n, c.Encoder.ImageSize), model.HalfNormalization)
			ids := []int32{300, 17, 255, 0, 299, 64, 128, 3}
			want, err := plain.Logits(values, ids)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range []*Session{calibrated, nearest} {
				got, err := s.Logits(values, ids)
				if err != nil {
					t.Fatal(err)
				}
				for at := 0; at < len(want); at += c.Decoder.VocabSize {
					kl[i] += divergence(want[at:at+c.Decoder.VocabSize], got[at:at+c.Decoder.VocabSize])
				}
			}
		}
		t.Logf("%s: KL %.3g calibrated, %.3g to the nearest", dtype, kl[0], kl[1])
		if dtype == "q4" && kl[0] > 0.7*kl[1] {
			t.Errorf("q4: KL %.3g calibrated, %.3g to the nearest", kl[0], kl[1])
		}
	}
}

// observe sums up moments over other pictures than the tests caption.
func observe(t *testing.T, c *model.Config, w model.Weights) map[string]*model.Moments {
	t.Helper()
	o, err := model.NewObserver(goBackend(t), c, w, model.HalfNormalization)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	r := rand.New(rand.NewPCG(8, 8))
	for range 8 {
		var b model.Observed
		for n := range 8 {
			b.Pixels = append(b.Pixels, picture(1000+n+r.IntN(1e6), c.Encoder.ImageSize)...)
			b.IDs = append(b.IDs, 300)
			for range 7 {
				b.IDs = append(b.IDs, int32(r.IntN(300)))
			}
			b.Real = append(b.Real, 1, 1, 1, 1, 1, 1, 1, 1)
		}
		if err := o.Add(b, 8, 1); err != nil {
			t.Fatal(err)
		}
	}
	return o.Moments()
}
