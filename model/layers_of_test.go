package model

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A student has the teacher's tensors, of the layers that it took, and Hugging Face's config says how many those are.
func TestAStudentHasTheTensorsOfTheLayersItTook(t *testing.T) {
	for dir, layers := range map[string][2]string{
		"same":         {"encoder.encoder.layer.", "decoder.transformer.h."},
		"llava/siglip": {"vision_tower.vision_model.encoder.layers.", "language_model.model.layers."},
	} {
		teacher, err := ReadConfig(filepath.Join("testdata", dir))
		if err != nil {
			t.Fatal(err)
		}
		all, err := ReadWeights(filepath.Join("testdata", dir), teacher)
		if err != nil {
			t.Fatal(err)
		}
		c, w := *teacher, Weights{}
		for name, x := range all {
			w[name] = x
		}
		if err := c.TakeLayers(w, Layers{Encoder: []int{1}, Decoder: []int{0}}); err != nil {
			t.Fatal(err)
		}
		if err := w.Check(&c); err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		for name, x := range w {
			of := strings.Replace(name, layers[0]+"0.", layers[0]+"1.", 1)
			if !slices.Equal(x.Data, all[of].Data) {
				t.Errorf("%s: %s is not the teacher's %s", dir, name, of)
			}
		}
		out := t.TempDir()
		if err := c.WriteFile(out); err != nil {
			t.Fatal(err)
		}
		read, err := ReadConfig(out)
		if err != nil || read.DecoderLayers() != 1 || read.Encoder.NumHiddenLayers != 1 {
			raw, _ := os.ReadFile(filepath.Join(out, configName))
			t.Errorf("%s: read back %v\n%s", dir, err, raw)
		}
		for _, bad := range []Layers{{Decoder: []int{2}}, {Decoder: []int{1, 0}}, {Encoder: []int{0, 0}}, {Encoder: []int{-1}}} {
			c := *teacher
			if err := c.TakeLayers(nil, bad); err == nil {
				t.Errorf("%s: took layers %+v", dir, bad)
			}
		}
	}
}
