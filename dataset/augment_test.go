package dataset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"testing"

	"distilvit/internal/rusage"
)

// noise is a picture of random pixels, some of them black and white, with slack.
func noise(rng *rand.Rand, w, h int) []uint8 {
	picture := make([]uint8, 3*w*h, 3*w*h+slack)
	for i := range picture {
		picture[i] = uint8(max(0, min(255, rng.IntN(600)-170)))
	}
	return picture
}

// The bytes, once and for all: a run that goes on has to see the same pictures.
func TestAugmentedPicturesStayTheSame(t *testing.T) {
	for want, c := range map[string]struct {
		w, h    int
		augment Augment
	}{
		"c66284dcc927ec0d3b072a9ba733a8f0dc80730636deb6f0166962a72c0469a6": {224,
			224, Augment{0.1, 0.1, 10, 0.1}},
		"6d7217c06ada05475092f46c04f12dda8f83f2fae7cc12c5ec3bc66b77d3061a": {31, 17,
			Augment{0.5, 0.9, 180, 0}},
		"55210095eb2f18f9605de0b2470abf3a979c1abeca30616579cc8c7a71023a66": {1, 5,
			Augment{0.3, 0.3, 30, 0.5}},
		"5593c5c1c1270d43c1675aa04a4422d45b168aaabbb8807de623f6b9776ee015": {64, 64, Augment{Shift: 2}},
	} {
		a := newAugmenter(LoaderConfig{Seed: 3, Width: c.w, Height: c.h, Augment: c.augment})
		var all []uint8
		for row := range uint64(8) {
			picture := noise(rand.New(rand.NewPCG(row, 1)), c.w, c.h)
			a.apply(picture, 2, row)
			all = append(all, picture...)
		}
		sum := sha256.Sum256(all)
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%dx%d, %+v: %s", c.w, c.h, c.augment, got)
		}
	}
}

func TestVectorsWarpAsPlainCodeDoes(t *testing.T) {
	if !haveVectors {
		t.Skip("built without vectors, or a processor without AVX2")
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		w, h := 1+rng.IntN(40), 1+rng.IntN(40)
		from := noise(rng, w, h)
		at := func(n int) int64 { return rng.Int64N(int64(n+4)<<16) - 2<<16 }
		u, v, ux, vx := at(w), at(h), at(2), at(2)
		vectors, plain := make([]uint8, 3*w), make([]uint8, 3*w)
		n := warpVectors(vectors, from, w, h, u, v, ux, vx)
		for x := range n {
			warpPixel(plain[3*x:], from, w, h, u+int64(x)*ux, v+int64(x)*vx)
		}
		if !bytes.Equal(vectors, plain) {
			t.Fatalf("%dx%d from %d, %d by %d, %d differs", w, h, u, v, ux, vx)
		}
	}
}

func BenchmarkAugment(b *testing.B) {
	a := newAugmenter(LoaderConfig{Width: 224, Height: 224, Augment: Augment{0.1, 0.1, 10, 0.1}})
	picture := noise(rand.New(rand.NewPCG(1, 2)), 224, 224)
	start := rusage.CPUTime()
	for i := 0; b.Loop(); i++ {
		a.apply(picture, 0, uint64(i))
	}
	b.ReportMetric(float64(rusage.CPUTime()-start)/1e6/float64(b.N), "cpu-ms/op")
}
