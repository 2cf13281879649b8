package onnx

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/model"
)

// The layers of a dtype are all of its matrices, in the order of the graphs, and what their codes stand for is near to
// the weights: within half a step, which is a block's largest weight / 6.5 in 4 bits at most, and a column's / 127.
func TestLayersGiveTheRoundedWeights(t *testing.T) {
	c := testConfig(32, 48)
	w := lively(c, 7)
	want := []string{
		"encoder.embeddings.patch_embeddings.projection", "encoder.encoder.layer.0", "encoder.encoder.layer.1",
		"decoder.transformer.wte", "enc_to_dec_proj", "decoder.transformer.h.0", "decoder.transformer.h.1",
		"decoder.transformer.h.2",
	}
	for _, dtype := range []string{"q8", "int8", "q4", "q4f16"} {
		layers, err := Layers(c, w, dtype, nil)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		tensors := map[string]bool{}
		for _, l := range layers {
			names = append(names, l.Name)
			if err := l.Rounded(func(name string, data []float32) error {
				tensors[name] = true
				given, wrong, highest := w[name].Data, 0.0, 0.0
				if len(data) != len(given) {
					t.Fatalf("%s has %d weights, want %d", name, len(data), len(given))
				}
				for i, v := range given {
					highest = max(highest, math.Abs(float64(v)))
					wrong = max(wrong, math.Abs(float64(v-data[i])))
				}
				step := highest / 127
				if Mixes(dtype) {
					step = highest / 6.5
				} else if dtype == "int8" {
					step = highest / 64
				}
				if wrong == 0 || wrong > step*1.01 {
					t.Errorf("%s: %s is off by %v of %v", dtype, name, wrong, highest)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s has the layers %v", dtype, names)
		}
		for name, x := range w {
			if matrix := len(x.Shape) > 1 && x.Shape[0] > 1; matrix && !tensors[name] && name != "decoder.transformer.wpe.weight" {
				t.Errorf("%s: %s is in no layer", dtype, name)
			}
		}
	}
	if layers, err := Layers(c, w, "fp16", nil); err != nil || layers != nil {
		t.Errorf("fp16 rounds %v, %v", layers, err)
	}
}

// A mixed file computes what its layers' codes stand for, in ONNX Runtime, whichever layers keep 8 bits; it has the size
// that was foretold.
func TestMixedFilesAreWhatTheyStandFor(t *testing.T) {
	for _, c := range []*model.Config{testConfig(32, 48), testConfig(32, 32), prefixConfig()} {
		w := lively(c, 7)
		all, err := Layers(c, w, "q4", nil)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, l := range all {
			names = append(names, l.Name)
		}
		for i, kept := range [][]string{names[:1], {strings.TrimSuffix(c.TableName(), ".weight"), names[1]}, names} {
			for _, dtype := range []string{"q4", "q4f16"} {
				dir := t.TempDir()
				if _, err := WriteWith(dir, c, w, dtype, Options{EightBits: kept}); err != nil {
					t.Fatal(err)
				}
				if err := WriteConfigs(dir, c, greedy, []string{dtype}); err != nil {
					t.Fatal(err)
				}
				size, err := FilesSize(dir, dtype)
				if err != nil {
					t.Fatal(err)
				}
				if told, err := Size(c, dtype, kept); err != nil || told != size {
					t.Errorf("%s %d: %d bytes were foretold, %v; there are %d", dtype, i, told, err, size)
				}
				rounded := roundedAs(t, c, w, dtype, kept)
				ref, s := captioner(t, c, rounded), open(t, dir, dtype)
				ids := []int32{300, 17, 255, 0, 299, 64, 128, 3}
				for n := range 3 {
					pixels := picture(n, c.Encoder.ImageSize)
					want, err := ref.Logits(pixels, ids)
					if err != nil {
						t.Fatal(err)
					}
					got, err := s.Logits(PixelValues(pixels, model.HalfNormalization), ids)
					if err != nil {
						t.Fatal(err)
					}
					kl := 0.0
					for at := 0; at < len(want); at += c.VocabSize() {
						kl = max(kl, divergence(want[at:][:c.VocabSize()], got[at:][:c.VocabSize()]))
					}
					if most := map[string]float64{"q4": 1e-6, "q4f16": 1e-3}[dtype]; kl > most {
						t.Errorf("%s, %v in 8 bits: KL %.3g from its own weights", dtype, kept, kl)
					}
				}
			}
		}
	}
}

// roundedAs are the weights that a mixed file stands for.
func roundedAs(t *testing.T, c *model.Config, w model.Weights, dtype string, kept []string) model.Weights {
	t.Helper()
	out := model.Weights{}
	for name, x := range w {
		y := *x
		out[name] = &y
	}
	for _, d := range []string{dtype, "q8"} {
		layers, err := Layers(c, w, d, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			if d == "q8" && !slices.Contains(kept, l.Name) {
				continue
			}
			if err := l.Rounded(func(name string, data []float32) error {
				out[name].Data = data
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// positions have 8 bits in every form
	positions := out["decoder.transformer.wpe.weight"]
	if positions == nil {
		return out
	}
	m := matrix{in: positions.Shape[1], out: positions.Shape[0], data: positions.Data, transposed: true}
	positions.Data = ofEight.decode(m, ofEight.encode(m, nil))
	return out
}

// Layers are chosen by damage for each byte, those that no longer fit are passed over for smaller ones, and neither
// size nor choice depends on anything else.
func TestMixTakesTheMostDamageForEachByte(t *testing.T) {
	c := testConfig(32, 48)
	w := lively(c, 7)
	plain, err := Size(c, "q4", nil)
	if err != nil {
		t.Fatal(err)
	}
	// a decoder's layer is far larger than the projection
	damage := map[string]float64{"decoder.transformer.h.1": 10, "enc_to_dec_proj": 1, "encoder.encoder.layer.0": 1e-9}
	only := func(names ...string) int64 {
		n, err := Size(c, "q4", names)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	projection, layer := only("enc_to_dec_proj"), only("decoder.transformer.h.1")
	for name, test := range map[string]struct {
		most int64
		want []string
	}{
		"nothing fits":          {plain, nil},
		"less than 4 bits need": {1, nil},
		"the small one alone":   {layer - 1, []string{"enc_to_dec_proj", "encoder.encoder.layer.0"}},
		"all that are damaged":  {1 << 40, []string{"enc_to_dec_proj", "decoder.transformer.h.1", "encoder.encoder.layer.0"}},
	} {
		got, size, err := Mix(c, w, "q4", damage, test.most)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		slices.Sort(test.want)
		if !slices.Equal(got, test.want) || size != only(got...) {
			t.Errorf("%s: %v of %d bytes, want %v", name, got, size, test.want)
		}
	}
	if projection >= layer {
		t.Errorf("the projection takes %d bytes, a layer %d", projection, layer)
	}
	if _, _, err := Mix(c, w, "q8", damage, 1<<40); err == nil {
		t.Error("q8 was mixed")
	}
}

// Without layers in 8 bits a file is what it was.
func TestNothingMixedIsTheSameFile(t *testing.T) {
	c := testConfig(32, 32)
	w := lively(c, 7)
	dir := t.TempDir()
	for _, dtype := range []string{"q4", "q8"} {
		o := Options{EightBits: map[string][]string{"q8": {"decoder.transformer.wte"}}[dtype]} // which q8 does not heed
		if _, err := WriteWith(dir, c, w, dtype, o); err != nil {
			t.Fatal(err)
		}
		other := export(t, c, w, dtype)
		for _, name := range []string{EncoderFile(dtype), DecoderFile(dtype)} {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join(other, name))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s is another file", name)
			}
		}
	}
}
