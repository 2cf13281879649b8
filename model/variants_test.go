package model

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model/safetensors"
)

// What inputs() of testdata/make_variants.py makes.
const variantPictures, variantTokens, variantSide, variantVocab = 2, 6, 16, 24

func variantInputs() (pixels []uint8, ids []int32) {
	for i := range variantPictures * variantSide * variantSide * 3 {
		pixels = append(pixels, uint8((i*i+31*i)/7%256))
	}
	for i := range variantPictures * variantTokens {
		ids = append(ids, int32(i*5%variantVocab))
	}
	return pixels, ids
}

// openGolden opens what PyTorch computed.
func openGolden(t *testing.T, path string) *safetensors.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s, err := safetensors.Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantLogits compares every logit with PyTorch's and says how far they are.
func wantLogits(t *testing.T, be compute.Backend, c *Config, w Weights, golden *safetensors.File) {
	t.Helper()
	want, err := golden.Float32s("logits")
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewCaptioner(be, c, w)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	pixels, ids := variantInputs()
	picture := len(pixels) / variantPictures
	var got []float32
	for i := range variantPictures {
		logits, err := m.Logits(pixels[i*picture:(i+1)*picture], ids[i*variantTokens:(i+1)*variantTokens])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, logits...)
	}
	worst := math.Inf(1)
	if len(got) == len(want) {
		worst = 0
		for i := range want {
			worst = max(worst, math.Abs(float64(got[i]-want[i])))
		}
	}
	if t.Logf("largest difference of a logit: %.2g", worst); worst > 2e-5 {
		t.Errorf("a logit is off by %g", worst)
	}
}

func TestLogitsOfEveryVariantEqualPyTorch(t *testing.T) {
	for _, name := range []string{
		"untied", "deit", "relu", "gelu", "tanh", "scaled", "widths", "bf16", "fp16", "sharded",
		"siglip", "clip", "dinov2",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("testdata/variants", name)
			c, err := ReadConfig(dir)
			if err != nil {
				t.Fatal(err)
			}
			w, err := ReadWeights(dir, c)
			if err != nil {
				t.Fatal(err)
			}
			if w[lmHeadName] != nil != (name == "untied") {
				t.Errorf("lm_head is %v", w[lmHeadName])
			}
			// what is written is the same model
			copied := t.TempDir()
			if err := c.WriteFile(copied); err != nil {
				t.Fatal(err)
			}
			if err := WriteWeights(filepath.Join(copied, weightsName), w, nil); err != nil {
				t.Fatal(err)
			}
			again, err := ReadConfig(copied)
			if err != nil || !reflect.DeepEqual(again, c) {
				t.Fatalf("config is read back as %+v instead of %+v: %v", again, c, err)
			}
			if w, err = ReadWeights(copied, again); err != nil {
				t.Fatal(err)
			}
			golden := openGolden(t, filepath.Join(dir, "golden.safetensors"))
			wantLogits(t, backendtest.Open(t, backend.Go), again, w, golden)
			// what XLA compiles otherwise; it takes seconds
			if slices.Contains([]string{"untied", "deit", "relu", "siglip", "clip", "dinov2"}, name) {
				wantLogits(t, backendtest.Open(t, backend.XLA), again, w, golden)
			}
		})
	}
}

func TestShardsThatDoNotFitTheirIndexAreNamed(t *testing.T) {
	c, err := ReadConfig("testdata/variants/sharded")
	if err != nil {
		t.Fatal(err)
	}
	const first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
	for want, change := range map[string]func(dir string) error{
		second + ": no such file": func(dir string) error { return os.Remove(filepath.Join(dir, second)) },
		"tensors missing: ": func(dir string) error {
			index := []byte(`{"weight_map":{"a":"` + first + `"}}`)
			return os.WriteFile(filepath.Join(dir, weightsName+indexSuffix), index, 0o644)
		},
		"is in " + first + ", too": func(dir string) error {
			b, err := os.ReadFile(filepath.Join(dir, first))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, second), b, 0o644)
		},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("testdata/variants/sharded")); err != nil {
			t.Fatal(err)
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadWeights(dir, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
