package parity

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
)

// committed are the vectors that testdata/parity/make_vectors.py makes by default.
const committed = "../../testdata/parity"

func compare(t *testing.T, dir string, backends ...Backend) *Table {
	t.Helper()
	table, err := Run(Options{Dir: dir, Backends: backends})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range table.Rows {
		t.Log(strings.Join(r.Cells(), " | "))
	}
	return table
}

func TestEverythingEqualsThePythonLibraries(t *testing.T) {
	table := compare(t, committed, Backend{backend.Go, backendtest.Open(t, backend.Go)})
	for _, r := range table.Rows {
		if !r.OK || r.Compared == 0 || r.Skipped != "" {
			t.Errorf("%s: %d compared %s, difference %g, %s", r.What, r.Compared, r.Skipped,
				r.Difference, r.At)
		}
	}
	const ofPrefix = 13 // rows that a captioner whose picture stands before the caption has apart
	if len(table.Rows) != len(kinds)+ofPrefix {
		t.Errorf("%d rows for %d kinds of vectors", len(table.Rows), len(kinds))
	}
}

func TestAModelEqualsPyTorchOnXLA(t *testing.T) {
	be := backendtest.Open(t, backend.XLA)
	table := compare(t, copyOf(t, "models/main"), Backend{backend.XLA, be})
	for _, r := range table.Differing() {
		t.Errorf("%s: %s", r.What, r.At)
	}
}

// copyOf makes a directory of vectors that holds parts of the committed ones.
func copyOf(t *testing.T, parts ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, part := range parts {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(committed, part))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAWrongVectorIsFoundAndNamed(t *testing.T) {
	for name, c := range map[string]struct {
		part   []string
		change func(t *testing.T, dir string)
		row    *kind
		at     string // where the difference is said to be
	}{
		"an id of a text": {[]string{"tokenizers/end-last"}, func(t *testing.T, dir string) {
			edit(t, dir+"/tokenizers/end-last/vectors.json", func(v *tokenizerVectors) {
				v.Cases[20].IDs[0] += 2
			})
		}, tokenIDs, "tokenizers/end-last, case 20, text "},
		"decoded text": {[]string{"tokenizers/end-first"}, func(t *testing.T, dir string) {
			edit(t, dir+"/tokenizers/end-first/vectors.json", func(v *tokenizerVectors) {
				*v.Cases[9].SkipSpecial += "!"
			})
		}, tokenTexts, "tokenizers/end-first, case 9, ids "},
		"a pixel": {[]string{"processors/lanczos", "pictures"}, func(t *testing.T, dir string) {
			flip(t, dir+"/processors/lanczos/vectors.safetensors", "resized.rgba.png", 9*3*2+4, 1)
		}, pixelsExact, "processors/lanczos, rgba.png, row 2, column 1, channel 1: "},
		"a JPEG": {[]string{"processors/lanczos", "pictures"}, func(t *testing.T, dir string) {
			for i := range 30 {
				flip(t, dir+"/processors/lanczos/vectors.safetensors", "resized.grey.jpg", i, 0x80)
			}
		}, pixelsJPEG, "processors/lanczos, grey.jpg, "},
		"a pixel value": {[]string{"processors/bicubic", "pictures"}, func(t *testing.T, dir string) {
			flip(t, dir+"/processors/bicubic/vectors.safetensors", "pixel_values.rgb.png", 4*5+2, 1)
		}, pixelValues, "processors/bicubic, rgb.png[5]: "},
		"a weight": {[]string{"models/fp16"}, func(t *testing.T, dir string) {
			flip(t, dir+"/models/fp16/model.safetensors", "decoder.transformer.ln_f.weight", 1, 0x80)
		}, logits, "models/fp16, caption "},
		"a weight that PyTorch read": {[]string{"models/bf16-sharded"}, func(t *testing.T, dir string) {
			flip(t, dir+"/models/bf16-sharded/vectors.safetensors", "weight.enc_to_dec_proj.bias", 4*2, 1)
		}, weightsRead, "models/bf16-sharded, enc_to_dec_proj.bias[2]: "},
		"the loss": {[]string{"models/fp16"}, func(t *testing.T, dir string) {
			flip(t, dir+"/models/fp16/vectors.safetensors", "loss", 2, 1)
		}, loss, "models/fp16: "},
		"a gradient": {[]string{"models/main"}, func(t *testing.T, dir string) {
			flip(
				t, dir+"/models/main/vectors.safetensors", "grad.decoder.transformer.wpe.weight", 4*3+3, 0x80,
			)
		}, gradients, "models/main, decoder.transformer.wpe.weight[3]: "},
		"a weight after the steps": {[]string{"models/main"}, func(t *testing.T, dir string) {
			flip(t, dir+"/models/main/vectors.safetensors", "after.encoder.layernorm.weight", 4*3+2, 0x10)
		}, stepWeights, "models/main, encoder.layernorm.weight[3]: "},
		"a step's loss": {[]string{"models/main"}, func(t *testing.T, dir string) {
			editModel(t, dir, func(v *modelJSON) { v.Training.Each[7].Loss += 0.01 })
		}, stepLoss, "models/main, step 7: "},
		"an id of a caption": {[]string{"models/main"}, func(t *testing.T, dir string) {
			editModel(t, dir, func(v *modelJSON) { v.Generate[7].IDs[3][1]++ })
		}, beams, `models/main, options {"num_beams":4,`},
		"a score": {[]string{"metrics"}, func(t *testing.T, dir string) {
			edit(
				t, dir+"/metrics/odd.json", func(v *metricVectors) { v.Examples[3].Scores["meteor"] += 1e-6 },
			)
		}, meteor, "metrics/odd.json, example 3, meteor: "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyOf(t, c.part...)
			c.change(t, dir)
			table := compare(t, dir, Backend{backend.Go, backendtest.Open(t, backend.Go)})
			var named []string
			for _, r := range table.Differing() {
				if r.kind == c.row {
					named = append(named, r.At)
				}
			}
			if len(named) != 1 || !strings.HasPrefix(named[0], c.at) {
				t.Errorf("found %q, want %q", named, c.at)
			}
		})
	}
}

// edit changes a JSON file, which may be compressed, and leaves it uncompressed.
func edit[T any](t *testing.T, path string, change func(*T)) {
	t.Helper()
	v := new(T)
	if err := readJSON(path, v); err != nil {
		t.Fatal(err)
	}
	change(v)
	b, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func editModel(t *testing.T, dir string, change func(*modelJSON)) {
	t.Helper()
	edit(t, filepath.Join(dir, "models/main/vectors.json"), change)
}

// flip changes bits of the byte at a place in a tensor's data.
func flip(t *testing.T, path, tensor string, at int, bits byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := int(binary.LittleEndian.Uint64(b))
	var header map[string]struct {
		Offsets []int `json:"data_offsets"`
	}
	if err := json.Unmarshal(b[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	o := header[tensor].Offsets
	if len(o) != 2 || o[0]+at >= o[1] {
		t.Fatalf("%s has no byte %d of %s", path, at, tensor)
	}
	b[8+n+o[0]+at] ^= bits
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAWrongLayoutIsOneLineThatSaysWhatIsWrong(t *testing.T) {
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for want, c := range map[string]struct {
		parts  []string
		change func(t *testing.T, dir string)
	}{
		"it has neither tokenizers/, processors/, models/ nor metrics/": {nil,
			func(t *testing.T, dir string) {}},
		"tokenizers/x: neither tokenizer.json nor vocab.json": {nil, func(t *testing.T, dir string) {
			write(t, dir+"/tokenizers/x/vectors.json", "{}")
		}},
		"tokenizers/x: vectors.json has no cases": {nil, func(t *testing.T, dir string) {
			write(t, dir+"/tokenizers/x/tokenizer.json", "{}")
			write(t, dir+"/tokenizers/x/vectors.json", "{}")
		}},
		"vectors.json: unexpected end of JSON input": {
			nil, func(t *testing.T, dir string) { write(t, dir+"/vectors.json", "{") },
		},
		"models/x: no config.json": {[]string{"models/fp16"}, func(t *testing.T, dir string) {
			if err := os.Rename(dir+"/models/fp16", dir+"/models/x"); err != nil {
				t.Fatal(err)
			}
			os.Remove(dir + "/models/x/config.json")
		}},
		"open DIR/models/x/vectors.safetensors: no such file": {nil, func(t *testing.T, dir string) {
			write(t, dir+"/models/x/config.json", "{}")
		}},
		"vectors.safetensors: safetensors: file has only 1 bytes": {[]string{"models/fp16"},
			func(t *testing.T, dir string) {
				write(t, dir+"/models/fp16/vectors.safetensors", "x")
			}},
		"; must be from -100 to 47": {[]string{"models/fp16"}, func(t *testing.T, dir string) {
			flip(t, dir+"/models/fp16/vectors.safetensors", "labels", 1, 1)
		}},
		"pixel_values.rgb.png: open DIR/pictures/rgb.png: no such file": {[]string{"processors/box",
			"pictures"}, func(t *testing.T, dir string) {
			os.Remove(dir + "/pictures/rgb.png")
		}},
		`unknown score "bleu5"`: {nil, func(t *testing.T, dir string) {
			write(
				t, dir+"/metrics/x.json",
				`{"examples": [{"caption": "a", "references": ["a"]}], "scores": {"bleu5": 1}}`,
			)
		}},
	} {
		t.Run(want, func(t *testing.T) {
			dir := copyOf(t, c.parts...)
			c.change(t, dir)
			_, err := Run(Options{Dir: dir})
			var layout *LayoutError
			want := strings.ReplaceAll(want, "DIR", dir)
			if !errors.As(err, &layout) || !strings.Contains(err.Error(), want) ||
				strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
	if _, err := Run(Options{Dir: filepath.Join(t.TempDir(), "none")}); err == nil ||
		!strings.Contains(err.Error(), "none: no such directory") {
		t.Error(err)
	}
}

// What distilvit cannot do with a vector is a difference, not a wrong layout.
func TestAModelThatIsRefusedDiffers(t *testing.T) {
	dir := copyOf(t, "models/fp16")
	path := dir + "/models/fp16/config.json"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte(`"model_type": "gpt2"`), []byte(`"model_type": "opt"`), 1)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	rows := compare(t, dir).Differing()
	if len(rows) != 1 || !strings.Contains(rows[0].At, `decoder.model_type is "opt"`) ||
		rows[0].Cells()[4] != "unbounded" {
		t.Errorf("%+v", rows)
	}
}
