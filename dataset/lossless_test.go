package dataset

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"testing"
)

// noise, a run, a ramp and a photograph-like mixture of a size.
func samplePictures(width, height int) [][]uint8 {
	n := 3 * width * height
	rng := rand.New(rand.NewPCG(1, uint64(width)))
	noise, run, ramp, mixed := make([]uint8, n), make([]uint8, n), make([]uint8, n), make([]uint8, n)
	for i := range n {
		x, y := i/3%width, i/3/width
		noise[i], run[i], ramp[i] = uint8(rng.Uint32()), 77, uint8(x+2*y)
		mixed[i] = uint8(x*x/7 + 3*y + rng.IntN(6))
	}
	return [][]uint8{noise, run, ramp, mixed}
}

func TestStoredPicturesAreRestoredExactly(t *testing.T) {
	for _, size := range [][2]int{
		{224, 224}, {32, 32}, {1, 1}, {1, 9000}, {9000, 1}, {3, 2}, {127, 66}, {384, 384},
	} {
		for i, rgb := range samplePictures(size[0], size[1]) {
			stored, err := appendPicture([]byte("before"), rgb, size[0], size[1])
			if err != nil {
				t.Fatal(err)
			}
			got := make([]uint8, len(rgb))
			if err := restorePicture(got, stored[len("before"):]); err != nil || !bytes.Equal(got, rgb) {
				t.Fatalf("%v, picture %d: %v", size, i, err)
			}
			if most := len(rgb) + sizeBytes + 3*(size[1]+1); len(stored) > most+len("before") {
				t.Errorf("%v, picture %d: %d bytes stored of %d", size, i, len(stored), len(rgb))
			}
		}
	}
}

func TestVectorsFilterAsPlainCodeDoes(t *testing.T) {
	if !haveVectors {
		t.Skip("built without vectors, or a processor without AVX2")
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for n := 1; n < 300; n++ {
		row, above, vectors, plain := make([]uint8, n), make([]uint8, n), make([]uint8, n), make([]uint8, n)
		for i := range row {
			row[i], above[i] = uint8(rng.Uint32()), uint8(rng.Uint32())>>(i%8)
		}
		differencesPlain(vectors, row, above, differencesVectors(vectors, row, above))
		differencesPlain(plain, row, above, 1)
		if !bytes.Equal(vectors, plain) {
			t.Fatalf("a row of %d differs", n)
		}
	}
}

func TestVectorsAddUpAsPlainCodeDoes(t *testing.T) {
	if !haveVectors {
		t.Skip("built without vectors, or a processor without AVX2")
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for _, size := range [][2]int{{1, 1}, {1, 50}, {50, 1}, {64, 64}, {127, 33}} {
		w, h := size[0], size[1]
		l := &lossless{}
		l.size(w, h)
		planes := make([]uint8, 3*w*h)
		for i := range planes {
			planes[i] = uint8(rng.Uint32()) >> (i % 7)
		}
		vectors, plain := make([]uint8, 3*w*h), make([]uint8, 3*w*h)
		for range 2 { // memory is used again
			copy(l.planes, planes)
			l.addUpVectors(vectors, w, h)
			copy(l.planes, planes)
			l.addUp(plain, w, h)
			if !bytes.Equal(vectors, plain) {
				t.Fatalf("%dx%d differs", w, h)
			}
		}
	}
}

// The form on disk, once and for all: another one needs another prepareVersion.
func TestFormOfAStoredPictureIsFixed(t *testing.T) {
	rgb := []uint8{10, 20, 30, 11, 21, 31, 12, 22, 32, 13, 23, 40}
	stored, err := appendPicture(nil, rgb, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(stored), "02000200"+"00"+"14010201"+"00"+"f6000000"+"00"+
		"0a000007"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestDamagedPicturesAreErrors(t *testing.T) {
	rgb := samplePictures(64, 48)[3]
	stored, err := appendPicture(nil, rgb, 64, 48)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]uint8, len(rgb))
	for n := range len(stored) {
		if restorePicture(got, stored[:n]) == nil {
			t.Fatalf("the first %d of %d bytes are a picture", n, len(stored))
		}
	}
	if restorePicture(got, append(stored, 0)) == nil || restorePicture(got[3:], stored) == nil {
		t.Error("a byte more, or a picture of another size, is no error")
	}
}

func FuzzRestorePicture(f *testing.F) {
	for _, rgb := range samplePictures(16, 16) {
		stored, err := appendPicture(nil, rgb, 16, 16)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(stored)
	}
	got := make([]uint8, 3*16*16)
	f.Fuzz(func(t *testing.T, stored []byte) { _ = restorePicture(got, stored) })
}

// benchmarkPictures are photographs where DISTILVIT_PICTURES names a file of raw
// 224 × 224 RGB pictures, else a mixture drawn here.
func benchmarkPictures(b *testing.B) [][]uint8 {
	const side = 224
	name := os.Getenv("DISTILVIT_PICTURES")
	if name == "" {
		return samplePictures(side, side)[3:]
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	var all [][]uint8
	for n := 3 * side * side; len(raw) >= n; raw = raw[n:] {
		all = append(all, raw[:n])
	}
	return all
}

func BenchmarkStorePicture(b *testing.B) {
	pictures := benchmarkPictures(b)
	var out []uint8
	bytes := 0
	for i := 0; b.Loop(); i++ {
		out, _ = appendPicture(out[:0], pictures[i%len(pictures)], 224, 224)
		bytes += len(out)
	}
	b.ReportMetric(float64(bytes)/float64(b.N), "bytes/picture")
}

func BenchmarkRestorePicture(b *testing.B) {
	var stored [][]uint8
	for _, p := range benchmarkPictures(b) {
		s, err := appendPicture(nil, p, 224, 224)
		if err != nil {
			b.Fatal(err)
		}
		stored = append(stored, s)
	}
	dst := make([]uint8, 3*224*224)
	for i := 0; b.Loop(); i++ {
		if err := restorePicture(dst, stored[i%len(stored)]); err != nil {
			b.Fatal(err)
		}
	}
}
