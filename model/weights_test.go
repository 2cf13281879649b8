package model

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestInitIsAFunctionOfSeedAndName(t *testing.T) {
	c := tiny(t)
	one, two, other := Init(&c, 1), Init(&c, 1), Init(&c, 2)
	if !reflect.DeepEqual(one, two) {
		t.Error("two weights of one seed differ")
	}
	const wte = "decoder.transformer.wte.weight"
	if reflect.DeepEqual(one[wte], other[wte]) {
		t.Error("another seed gives the same weights")
	}
	if err := one.Check(&c); err != nil {
		t.Error(err)
	}
	deviation := func(name string) float64 {
		var sum float64
		for _, x := range one[name].Data {
			sum += float64(x) * float64(x)
		}
		return math.Sqrt(sum / float64(len(one[name].Data)))
	}
	if got := initStd(768); got != 0.02 {
		t.Errorf("at the published width the deviation is %g instead of 0.02", got)
	}
	for name, want := range map[string]float64{
		wte: initStd(c.Decoder.NEmbd),
		"decoder.transformer.h.0.mlp.c_proj.weight":   initStd(c.Decoder.NEmbd) / math.Sqrt(6),
		"encoder.encoder.layer.0.output.dense.weight": initStd(c.Encoder.HiddenSize),
		"decoder.transformer.h.0.attn.c_attn.bias":    0, "encoder.layernorm.weight": 1,
	} {
		if got := deviation(name); math.Abs(got-want) > 0.02*want {
			t.Errorf("%s has deviation %g instead of %g", name, got, want)
		}
	}
}

func TestWrittenWeightsAreReadBackAndFilesAreDeterministic(t *testing.T) {
	c := tiny(t)
	w := Init(&c, 1)
	dir := t.TempDir()
	var files [2][]byte
	for i := range files {
		path := filepath.Join(dir, "model.safetensors")
		if err := WriteWeights(path, w, nil); err != nil {
			t.Fatal(err)
		}
		files[i], _ = os.ReadFile(path)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the same weights gave different bytes")
	}
	got, err := ReadWeights(dir, &c)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range w {
		if !reflect.DeepEqual(got[name].Data, x.Data) {
			t.Fatalf("%s changed", name)
		}
	}
}

func TestShardedWeightsAreRead(t *testing.T) {
	c := tiny(t)
	dir := t.TempDir()
	w, parts, index := Init(&c, 1), []Weights{{}, {}}, map[string]string{}
	for i, name := range c.Names() {
		parts[i%2][name] = w[name]
		index[name] = []string{"a.safetensors", "b.safetensors"}[i%2]
	}
	for i, name := range []string{"a.safetensors", "b.safetensors"} {
		if err := WriteWeights(filepath.Join(dir, name), parts[i], nil); err != nil {
			t.Fatal(err)
		}
	}
	b, _ := json.Marshal(map[string]any{"weight_map": index})
	if err := os.WriteFile(filepath.Join(dir, weightsName+indexSuffix), b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadWeights(dir, &c); err != nil {
		t.Error(err)
	}
}

func TestWeightsThatDoNotFitAreListedByName(t *testing.T) {
	c := tiny(t)
	w := Init(&c, 1)
	delete(w, "encoder.layernorm.bias")
	w["decoder.transformer.wpe.weight"].Shape = []int{8, 1024}
	w["decoder.transformer.h.9.ln_1.weight"] = &Tensor{Shape: []int{1}, Data: []float32{1}}
	w["encoder.pooler.dense.bias"] = &Tensor{Shape: []int{1}, Data: []float32{1}}
	dir := t.TempDir()
	if err := WriteWeights(filepath.Join(dir, "model.safetensors"), w, nil); err != nil {
		t.Fatal(err)
	}
	_, err := ReadWeights(dir, &c)
	for _, want := range []string{
		"1 tensors missing: encoder.layernorm.bias", "1 tensors unknown: decoder.transformer.h.9.ln_1.weight",
		"1 tensors of another shape: decoder.transformer.wpe.weight is [8 1024] instead of [64 128]",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "pooler") {
		t.Error("the pooler is no mistake")
	}
	w = Init(&c, 1)
	w["encoder.layernorm.bias"].Data[3] = float32(math.NaN())
	if err := WriteWeights(filepath.Join(dir, "model.safetensors"), w, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadWeights(dir, &c); err == nil ||
		!strings.Contains(err.Error(), "encoder.layernorm.bias has values that are not finite") {
		t.Errorf("NaN: %v", err)
	}
	if _, err := ReadWeights(t.TempDir(), &c); err == nil ||
		!strings.Contains(err.Error(), "has neither model.safetensors nor pytorch_model.bin") {
		t.Errorf("empty directory: %v", err)
	}
}

func TestPixelsAreNormalisedAsHuggingFaceDoes(t *testing.T) {
	table := HalfNormalization.Table()
	for u, want := range map[int]float32{
		0: -1, 255: 1, 128: 0.003921627998352051, 1: -0.9921568632125854, 77: -0.39607840776443481,
	} {
		if table[u] != want || table[512+u] != want {
			t.Errorf("byte %d is %.17g instead of %.17g", u, table[u], want)
		}
	}
}

func TestAnotherRescaleFactorIsHonoured(t *testing.T) {
	n := HalfNormalization
	n.Rescale = 1 // do_rescale is false
	if table := n.Table(); table[0] != -1 || table[255] != 509 {
		t.Errorf("bytes 0 and 255 are %g and %g instead of -1 and 509", table[0], table[255])
	}
}
