package pixels

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// readFormats reads testdata/formats.json, made by testdata/make_formats.py.
func readFormats(t *testing.T) map[string]formatGolden {
	t.Helper()
	b, err := os.ReadFile("testdata/formats.json")
	if err != nil {
		t.Fatal(err)
	}
	var g map[string]formatGolden
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

type formatGolden struct {
	Mode          string
	Width, Height int
	Near          bool
	RGB           string
	Orientation   int // EXIF's, where it is not 1
}

func TestFormatsThatPeopleBringAreReadAsByPillow(t *testing.T) {
	for name, g := range readFormats(t) {
		t.Run(name, func(t *testing.T) {
			raw := readFile(t, "formats/"+name)
			for _, turbo := range []bool{false, true} {
				if turbo {
					if CheckJPEGDecoder(JPEGTurbo) != nil || !strings.HasPrefix(name, "jpeg_") {
						continue
					}
				}
				im, turned, err := decode(raw, false, turbo)
				if err != nil {
					t.Fatal(err)
				}
				if turned != (g.Orientation > 1) {
					t.Errorf("turned is %v; EXIF says %d", turned, g.Orientation)
				}
				if im.w != g.Width || im.h != g.Height {
					t.Fatalf("%dx%d pixels; Pillow reads %dx%d", im.w, im.h, g.Width, g.Height)
				}
				if digest(im.pix) == g.RGB {
					continue
				}
				if !g.Near || turbo {
					t.Fatalf("differs from Pillow's (mode %s)", g.Mode)
				}
				want := readFile(t, "formats/"+name+".rgb")
				allowedMean, allowedMost := 0.2, 4
				if strings.HasSuffix(name, ".avif") {
					// Colour at half size is interpolated otherwise than in Pillow's libavif,
					// which brightness shows where a colour is clipped.
					im.pix, want = luma(im.pix), luma(want)
					allowedMean, allowedMost = 0.4, 8
				}
				mean, most := distance(im.pix, want)
				t.Logf("mean difference %.4f, largest %d", mean, most)
				if mean > allowedMean || most > allowedMost {
					t.Errorf("mean difference %.4f, largest %d", mean, most)
				}
			}
		})
	}
}

// luma is the brightness of pixels (ITU-R BT.601).
func luma(rgb []uint8) []uint8 {
	out := make([]uint8, len(rgb)/3)
	for i := range out {
		out[i] = uint8((299*int(rgb[3*i]) + 587*int(rgb[3*i+1]) + 114*int(rgb[3*i+2]) + 500) / 1000)
	}
	return out
}

// distance is the mean and the largest difference of two pictures.
func distance(a, b []uint8) (mean float64, most int) {
	sum := 0
	for i, v := range a {
		d := max(int(v)-int(b[i]), int(b[i])-int(v))
		sum, most = sum+d, max(most, d)
	}
	return float64(sum) / float64(len(b)), most
}

func TestWrongCheckSumOfPixelsIsAnErrorAsInPillow(t *testing.T) {
	if _, _, err := NewProcessor(9).Pixels(readFile(t, "formats/bad_adler.png")); err == nil {
		t.Error("read")
	}
}

func TestFormatsThatAreNotReadAreNamed(t *testing.T) {
	for want, raw := range map[string]string{
		"HEIC picture":                    "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00",
		"JPEG 2000 picture":               "\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00",
		"JPEG XL picture":                 "\xff\x0a\x00\x00",
		"JPEG of CMYK":                    string(readFile(t, "formats/refused_cmyk_jpeg.tiff")),
		"fax group 3 in two dimensions":   string(readFile(t, "formats/refused_fax_2d.tiff")),
		"fax group 3 with rows that end ": string(readFile(t, "formats/refused_fax_bytes.tiff")),
	} {
		_, _, err := NewProcessor(9).Pixels([]byte(raw))
		if err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "convert it to ") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// Rows of a PNG are resized while they are read; the pixels are those of the whole.
func TestPNGResizedByRowsIsThatOfTheWhole(t *testing.T) {
	for _, name := range []string{"rgb_large.png", "formats/c0_16.png", "formats/c3_4.png"} {
		raw := readFile(t, name)
		whole, _, err := decode(raw, false, false)
		if err != nil {
			t.Fatal(err)
		}
		streamed := 0
		for resample := Nearest; resample <= Hamming; resample++ {
			for _, size := range [][2]int{{16, 16}, {24, 9}, {7, 31}, {224, 224}, {200, 5}, {5, 130}} {
				p := Processor{Width: size[0], Height: size[1], Resample: resample, Std: [3]float32{1, 1, 1},
					RescaleFactor: 1}
				rgb, _, err := p.Pixels(raw)
				if err != nil {
					t.Fatal(err)
				}
				if digest(rgb) != digest(whole.resize(size[0], size[1], resample).pix) {
					t.Errorf("%s: filter %d to %v differs", name, resample, size)
				}
				if o, err := p.open(raw); err == nil && p.streams(o) {
					streamed++
				}
			}
		}
		if streamed == 0 {
			t.Errorf("%s: never by rows", name)
		}
	}
}
