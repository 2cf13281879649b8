package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// golden is an entry of testdata/golden.json, made by testdata/make_golden.py.
type golden struct {
	Mode          string
	Width, Height int
	Exact         bool
	RGB           string
	Resample2     map[string]string
	Resample3     map[string]string
	Turned        bool
	Upright       string
}

func readGolden(t *testing.T) map[string]golden {
	t.Helper()
	b, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g map[string]golden
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPixelsEqualPillowBitForBit(t *testing.T) {
	for name, g := range readGolden(t) {
		if !g.Exact {
			continue
		}
		t.Run(name, func(t *testing.T) {
			raw := readFile(t, name)
			p := NewProcessor(1)
			check := func(w, h, resample int, want string) {
				t.Helper()
				p.Width, p.Height, p.Resample = w, h, resample
				rgb, turned, err := p.Pixels(raw)
				if err != nil {
					t.Fatal(err)
				}
				if turned != g.Turned {
					t.Errorf("turned is %v", turned)
				}
				if digest(rgb) != want {
					t.Errorf("%dx%d with filter %d differs from Pillow's (mode %s)", w, h, resample, g.Mode)
				}
			}
			check(g.Width, g.Height, Bilinear, g.RGB)
			for filter, sizes := range map[int]map[string]string{Bilinear: g.Resample2, Bicubic: g.Resample3} {
				for size, want := range sizes {
					var w, h int
					fmt.Sscanf(size, "%dx%d", &w, &h)
					check(w, h, filter, want)
				}
			}
			if g.Upright != "" {
				p.ExifOrientation = true
				im, _, err := decode(raw, true)
				if err != nil {
					t.Fatal(err)
				}
				check(im.w, im.h, Bilinear, g.Upright)
			}
		})
	}
}

func TestJPEGIsNearPillows(t *testing.T) {
	for name, g := range readGolden(t) {
		if g.Exact {
			continue
		}
		im, turned, err := decode(readFile(t, name), false)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := readFile(t, name+".rgb")
		if im.w != g.Width || im.h != g.Height || turned != g.Turned {
			t.Errorf("%s: %dx%d, turned %v", name, im.w, im.h, turned)
			continue
		}
		var sum, most int
		for i, v := range im.pix {
			d := max(int(v)-int(want[i]), int(want[i])-int(v))
			sum, most = sum+d, max(most, d)
		}
		mean := float64(sum) / float64(len(want))
		t.Logf("%-16s mean difference %.4f, largest %d", name, mean, most)
		if mean > 0.2 || most > 4 {
			t.Errorf("%s: mean difference %.4f, largest %d", name, mean, most)
		}
	}
}
