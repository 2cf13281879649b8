package pixels

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The pixels of transformers' image processors, and so after the file is written anew.
func TestProcessorsPixelsEqualTransformers(t *testing.T) {
	var golden []struct {
		Name      string
		Config    json.RawMessage
		Mean, Std []float32
		Pixels    map[string]string
	}
	if err := json.Unmarshal(readFile(t, "processors.json"), &golden); err != nil {
		t.Fatal(err)
	}
	for _, g := range golden {
		p, err := ParseProcessor(g.Config)
		if err != nil {
			t.Fatalf("%s: %v", g.Name, err)
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseProcessor(text)
		if err != nil || again != p {
			t.Errorf("%s: %+v is read back as %+v: %v", g.Name, p, again, err)
		}
		if !slices.Equal(p.Mean[:], g.Mean) || !slices.Equal(p.Std[:], g.Std) {
			t.Errorf("%s: mean %v and deviation %v instead of %v and %v", g.Name, p.Mean, p.Std, g.Mean, g.Std)
		}
		for name, want := range g.Pixels {
			rgb, _, err := again.Pixels(readFile(t, name))
			if err != nil {
				t.Fatalf("%s, %s: %v", g.Name, name, err)
			}
			if got := fmt.Sprintf("%x", sha256.Sum256(rgb)); got != want {
				t.Errorf("%s: other pixels of %s", g.Name, name)
			}
		}
	}
}

func TestProcessorsThatCannotCutAreNamed(t *testing.T) {
	for config, want := range map[string]string{
		`{"image_processor_type": "CLIPImageProcessor", "do_center_crop": false}`:  "do_center_crop is false",
		`{"image_processor_type": "CLIPImageProcessor", "crop_size": 225}`:         "crop_size is 225x225; must not",
		`{"image_processor_type": "BitImageProcessor", "crop_size": {"width": 3}}`: "crop_size is {",
		`{"image_processor_type": "CLIPImageProcessor", "size": 5000}`:             "size is 5000; must be 1 to",
		`{"image_processor_type": "ConvNextFeatures", "do_center_crop": true}`: `do_center_crop is true and the ` +
			`type "ConvNext`,
		`{"size": {"shortest_edge": 224, "longest_edge": 300}}`: "must have height and width",
	} {
		if _, err := ParseProcessor([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

// A picture a pixel high would be millions of pixels long: only what is kept of it is made.
func TestAThinPictureIsCutWithoutItsWholeLength(t *testing.T) {
	p, err := ParseProcessor([]byte(`{"image_processor_type": "CLIPImageProcessor"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []image.Point{{1, 60000}, {60000, 1}} {
		im := image.NewGray(image.Rectangle{Max: size})
		for i := range im.Pix {
			im.Pix[i] = 77
		}
		var raw bytes.Buffer
		if err := png.Encode(&raw, im); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		rgb, _, err := p.Pixels(raw.Bytes())
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatal(err)
		}
		if len(rgb) != 224*224*3 || slices.Min(rgb) != 77 || slices.Max(rgb) != 77 {
			t.Errorf("%v: other pixels", size)
		}
		if made := after.TotalAlloc - before.TotalAlloc; made > 64<<20 {
			t.Errorf("%v: %d bytes are allocated", size, made)
		}
	}
}
