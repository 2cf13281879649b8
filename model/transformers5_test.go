package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/internal/backend/backendtest"
)

// TestFilesOfTransformers5AreRead captions with a directory as save_pretrained of transformers 5 writes it.
func TestFilesOfTransformers5AreRead(t *testing.T) {
	const dir = "testdata/transformers5"
	c, err := ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	w, err := ReadWeights(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	o, err := ReadGenerate(dir)
	if err != nil {
		t.Fatal(err)
	}
	var want [][]int32
	b, err := os.ReadFile(filepath.Join(dir, "ids.json"))
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil || len(want) != variantPictures {
		t.Fatalf("%d captions, %v", len(want), err)
	}
	golden := openGolden(t, filepath.Join(dir, "golden.safetensors"))
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		wantLogits(t, be, c, w, golden)
		m, err := NewCaptioner(be, c, w)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		pixels, _ := variantInputs()
		got, err := m.Generate(pixels, variantPictures, o)
		if err != nil || !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("got %v, %v instead of %v", got, err, want)
		}
	})
}
