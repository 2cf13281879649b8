package pixels

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// noise is a picture of random pixels, some of them black and white.
func noise(rng *rand.Rand, w, h int) *rgbImage {
	im := newRGB(w, h)
	for i := range im.pix {
		im.pix[i] = uint8(max(0, min(255, rng.IntN(600)-170)))
	}
	return im
}

func TestVectorsResizeAsPlainCodeDoes(t *testing.T) {
	if !haveVectors {
		t.Skip("built without vectors, or a processor without AVX2")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := []int{1, 2, 3, 5, 10, 11, 31, 64, 97, 224, 333}
	for range 300 {
		w, h, n := sizes[rng.IntN(len(sizes))], sizes[rng.IntN(len(sizes))], sizes[rng.IntN(len(sizes))]
		for name, f := range filters {
			im := noise(rng, w, h)
			vectors, plain := newRGB(n, h), newRGB(n, h)
			widthVectors(vectors, im, windows(w, n, f))
			widthPlain(plain, im, windows(w, n, f))
			if !bytes.Equal(vectors.pix, plain.pix) {
				t.Fatalf("filter %d: %dx%d to %d wide differs", name, w, h, n)
			}
			vectors, plain = newRGB(w, n), newRGB(w, n)
			heightPlain(vectors, im, windows(h, n, f), heightVectors(vectors, im, windows(h, n, f)))
			heightPlain(plain, im, windows(h, n, f), 0)
			if !bytes.Equal(vectors.pix, plain.pix) {
				t.Fatalf("filter %d: %dx%d to %d high differs", name, w, h, n)
			}
		}
	}
}

func BenchmarkResize(b *testing.B) {
	im := noise(rand.New(rand.NewPCG(1, 2)), 640, 480)
	f := filters[Bilinear]
	for _, c := range []struct {
		name          string
		width, height func(out, im *rgbImage, ws []window)
	}{
		{"plain", widthPlain, func(out, im *rgbImage, ws []window) { heightPlain(out, im, ws, 0) }},
		{"vectors", widthVectors, func(out, im *rgbImage, ws []window) { heightVectors(out, im, ws) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			if c.name == "vectors" && !haveVectors {
				b.Skip("no vectors")
			}
			half, out := newRGB(224, 480), newRGB(224, 224)
			for b.Loop() {
				c.width(half, im, windows(640, 224, f))
				c.height(out, half, windows(480, 224, f))
			}
		})
	}
}
