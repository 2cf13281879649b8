package pixels

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"distilvit/internal/testenv"
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
			for filter, sizes := range map[int]map[string]string{
				Bilinear: g.Resample2, Bicubic: g.Resample3,
			} {
				for size, want := range sizes {
					var w, h int
					fmt.Sscanf(size, "%dx%d", &w, &h)
					check(w, h, filter, want)
				}
			}
			if g.Upright != "" {
				p.ExifOrientation = true
				im, _, err := decode(raw, true, false)
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
		im, turned, err := decode(readFile(t, name), false, false)
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

// needTurbo skips where there is no libjpeg-turbo, but not in CI.
func needTurbo(t testing.TB) {
	t.Helper()
	if err := CheckJPEGDecoder(JPEGTurbo); err != nil {
		testenv.Without(t, err)
	}
}

func TestTurboJPEGEqualsPillowBitForBit(t *testing.T) {
	needTurbo(t)
	for name, g := range readGolden(t) {
		if g.Exact {
			continue
		}
		im, turned, err := decode(readFile(t, name), false, true)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if im.w != g.Width || im.h != g.Height || turned != g.Turned ||
			!bytes.Equal(im.pix, readFile(t, name+".rgb")) {
			t.Errorf("%s: other pixels than Pillow's", name)
		}
	}
}

// Stored datasets name no decoder where it was image/jpeg; a processor that names none
// must not take the one that this machine happens to have.
func TestNoDecoderIsTheStandardOneWhateverIsInstalled(t *testing.T) {
	raw := readFile(t, "sub2_45x33.jpg")
	pixels := func(decoder string) []uint8 {
		p := NewProcessor(16)
		p.JPEG = decoder
		rgb, _, err := p.Pixels(raw)
		if err != nil {
			t.Fatal(err)
		}
		return rgb
	}
	if !bytes.Equal(pixels(""), pixels(JPEGStandard)) {
		t.Error("other pixels than image/jpeg's")
	}
	if CheckJPEGDecoder(JPEGTurbo) == nil && bytes.Equal(pixels(JPEGTurbo), pixels("")) {
		t.Error("both decoders made the same pixels: the picture does not tell them apart")
	}
	if p := NewProcessor(16); p.JPEG != JPEGDecoder() {
		t.Errorf("a new processor decodes with %q, not with the better decoder here", p.JPEG)
	}
	if p, err := ParseProcessor([]byte("{}")); err != nil || p.JPEG != JPEGDecoder() {
		t.Errorf("a model's processor decodes with %q, %v", p.JPEG, err)
	}
	if err := CheckJPEGDecoder("another"); err == nil {
		t.Error("any name is a decoder")
	}
}

func TestPicturesThatAreNoneAreErrors(t *testing.T) {
	p := NewProcessor(16)
	for want, raw := range map[string][]byte{
		"the file is empty":  nil,
		"not JPEG, PNG":      []byte("this is a text file, not a picture"),
		"JPEG picture":       readFile(t, "sub0_64x48.jpg")[:700],
		"PNG picture":        readFile(t, "rgb.png")[:300],
		"GIF picture":        readFile(t, "first.gif")[:200],
		"WebP picture":       readFile(t, "lossy_45x33.webp")[:100],
		"BMP picture":        readFile(t, "rgb.bmp")[:100],
		"TIFF picture":       readFile(t, "rgb.tiff")[:100],
		"decompression bomb": bomb(t),
		"60000x60000 pixels are": append(
			[]byte("GIF89a\x60\xea\x60\xea\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00"), 2, 2, 0x44, 1,
			0,
		),
	} {
		_, _, err := p.Pixels(raw)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// bomb is a PNG that says it has 20000x20000 pixels.
func bomb(t *testing.T) []byte {
	b := bytes.Clone(readFile(t, "rgb.png"))
	binary.BigEndian.PutUint32(b[16:], 20000)
	binary.BigEndian.PutUint32(b[20:], 20000)
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
	return b
}

func TestProcessorFileKeepsAllValues(t *testing.T) {
	p := Processor{
		Width: 20, Height: 30, Resample: Bicubic, Mean: [3]float32{0.485, 0.456, 0.406},
		Std: [3]float32{0.229, 0.224, 0.225}, RescaleFactor: 1.0 / 255, JPEG: JPEGDecoder(),
	}
	for _, want := range []Processor{p, NewProcessor(224)} {
		dir := t.TempDir()
		if err := want.WriteFile(dir); err != nil {
			t.Fatal(err)
		}
		got, err := ReadProcessor(dir)
		if err != nil || got != want {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	}
	dir := t.TempDir()
	NewProcessor(224).WriteFile(dir)
	b, _ := os.ReadFile(filepath.Join(dir, ProcessorFile))
	for _, want := range []string{
		`"image_processor_type": "ViTImageProcessor"`, `"feature_extractor_type": "ViTFeatureExtractor"`,
		`"do_resize": true`, `"resample": 2`, `"height": 224`, `0.00392156862745098`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
}

func TestProcessorFilesOfOldAndBrokenForms(t *testing.T) {
	for _, c := range []struct {
		json, err string
		side      int
	}{
		{`{"size": 384, "image_mean": [0.5,0.5,0.5]}`, "", 384},
		{`{"size": {"height": 96, "width": 96}}`, "", 96},
		{`{}`, "", 224},
		{`{"size": {"shortest_edge": 224}}`, "must have height and width", 0},
		{`{"size": {"height": 1e9, "width": 3}}`, "must have height and width", 0},
		{`{"size": 100000}`, "size is 100000x100000", 0},
		{`{"resample": 6}`, "resample is 6", 0},
		{`{"image_mean": [0.5]}`, "image_mean has 1 values", 0},
		{`{"image_std": [0.5, 0, 1]}`, "image_std", 0},
		{`{"do_resize": false}`, "do_resize is false", 0},
		{`{"do_center_crop": true}`, "do_center_crop", 0},
		{`{"size"`, "broken JSON", 0},
	} {
		p, err := ParseProcessor([]byte(c.json))
		if c.err == "" && (err != nil || p.Width != c.side || p.Height != c.side) ||
			c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %+v, %v", c.json, p, err)
		}
	}
	if p, err := ParseProcessor([]byte(`{"do_normalize": false, "do_rescale": false}`)); err != nil ||
		p.Mean != [3]float32{} || p.Std != [3]float32{1, 1, 1} || p.RescaleFactor != 1 {
		t.Errorf("without normalising: %+v, %v", p, err)
	}
	if _, err := ReadProcessor(t.TempDir()); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("no file: %v", err)
	}
}

// Whatever a picture's file holds, it becomes pixels or an error, and takes no more
// memory than its header was reckoned to need.
func FuzzPixels(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	more, err := filepath.Glob("testdata/formats/*.*")
	if err != nil {
		f.Fatal(err)
	}
	files = append(files, more...)
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil && len(b) < 6000 && !strings.HasSuffix(name, ".rgb") &&
			!strings.HasSuffix(name, ".py") {
			f.Add(b)
		}
	}
	p := NewProcessor(9)
	p.ExifOrientation = true
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := openSafely(p, raw)
		if err == nil && o.w*o.h > 1<<20 {
			return // keep the fuzzer fast
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		rgb, _, err := p.Pixels(raw)
		if err == nil && len(rgb) != 3*9*9 {
			t.Fatalf("%d bytes", len(rgb))
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(2*o.bytes)+16<<20 {
			t.Errorf("%d bytes of input took %d of memory, reckoned with %d", len(raw), used, o.bytes)
		}
	})
}

// openSafely reads a header, which may panic.
func openSafely(p Processor, raw []byte) (o opened, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return p.open(raw)
}

func BenchmarkPixels(b *testing.B) {
	for _, name := range []string{"sub2_64x48.jpg", "rgb_large.png", "lossy_45x33.webp"} {
		raw := readFile(b, name)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := NewProcessor(64).Pixels(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	photo := photoJPEG(b)
	for _, decoder := range []string{JPEGStandard, JPEGTurbo} {
		b.Run("photo640x480to224/"+decoder, func(b *testing.B) {
			if decoder == JPEGTurbo {
				needTurbo(b)
			}
			b.SetBytes(640 * 480 * 3)
			p := NewProcessor(224)
			for p.JPEG = decoder; b.Loop(); {
				if _, _, err := p.Pixels(photo); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// photoJPEG is a 640x480 JPEG with some detail.
func photoJPEG(b *testing.B) []byte {
	im, err := png.Decode(bytes.NewReader(readFile(b, "rgb_large.png")))
	if err != nil {
		b.Fatal(err)
	}
	large, err := rgbFrom(im)
	if err != nil {
		b.Fatal(err)
	}
	large = large.resize(640, 480, Bicubic)
	out := image.NewRGBA(image.Rect(0, 0, 640, 480))
	for i := range 640 * 480 {
		copy(out.Pix[4*i:], large.pix[3*i:3*i+3])
	}
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, out, &jpeg.Options{Quality: 90}); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}

// Whatever a preprocessor_config.json holds, it is an error or a processor that works
// and is written and read back the same.
func FuzzProcessor(f *testing.F) {
	f.Add([]byte(
		`{"size": {"height": 9, "width": 7}, "resample": 3, "image_mean": [0.1, 0.2, 0.3],
			"image_std": [1, 2, 3], "rescale_factor": 0.01}`,
	))
	f.Add([]byte(
		`{"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 9}, "crop_size": 7}`,
	))
	f.Add([]byte(`{"size": 5, "do_normalize": false, "do_rescale": false, "do_resize": null}`))
	raw := readFile(f, "rgb.png")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProcessor(b)
		if err != nil || p.Width*p.Height > 1<<12 {
			return
		}
		if rgb, _, err := p.Pixels(raw); err != nil || len(rgb) != 3*p.Width*p.Height {
			t.Errorf("%d bytes of pixels, %v", len(rgb), err)
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseProcessor(text); err != nil || again != p {
			t.Errorf("%+v is read back as %+v: %v", p, again, err)
		}
	})
}

// Both names of transformers 5 and of 4.5x, whose Fast processors resize as the others do, are one processor.
func TestProcessorsOfTransformers5AreRead(t *testing.T) {
	b, err := os.ReadFile("../../model/testdata/transformers5/preprocessor_config.json")
	if err != nil {
		t.Fatal(err)
	}
	fast := bytes.Replace(b, []byte(`"ViTImageProcessor"`), []byte(`"ViTImageProcessorFast"`), 1)
	if bytes.Equal(fast, b) {
		t.Fatal("the file names another processor")
	}
	for _, file := range [][]byte{b, fast} {
		if p, err := ParseProcessor(file); err != nil || !reflect.DeepEqual(p, NewProcessor(16)) {
			t.Errorf("%+v, %v", p, err)
		}
	}
}
