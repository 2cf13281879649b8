package model

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestPyTorchsWeightsAreThoseOfSafetensors reads what testdata/make_pytorch.py made of variants.
func TestPyTorchsWeightsAreThoseOfSafetensors(t *testing.T) {
	for name, variant := range map[string]string{
		"zip": "tanh", "legacy": "tanh", "sharded": "tanh",
		"untied": "untied", "fp16": "fp16", "bf16": "bf16",
	} {
		c, err := ReadConfig(filepath.Join("testdata/pytorch", name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadWeights(filepath.Join("testdata/pytorch", name), c)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want, err := ReadWeights(filepath.Join("testdata/variants", variant), c)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: other weights than those of %s", name, variant)
		}
	}
	const parts, safe = "testdata/pytorch/parts/", "testdata/variants/parts/"
	_, got, err := (Parts{Encoder: parts + "encoder", Decoder: parts + "decoder"}).Read(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, want, err := (Parts{Encoder: safe + "encoder", Decoder: safe + "decoder"}).Read(1); err != nil ||
		!reflect.DeepEqual(got, want) {
		t.Errorf("other weights of the parts: %v", err)
	}
}

// copyFiles copies files into a new directory under other names, pairs of from and to.
func copyFiles(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(names); i += 2 {
		b, err := os.ReadFile(filepath.Join("testdata", names[i]))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, names[i+1]), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSafetensorsComesBeforePyTorch(t *testing.T) {
	dir := copyFiles(t, "variants/tanh/model.safetensors", weightsName,
		"pytorch/fp16/pytorch_model.bin", torchName)
	if files, err := WeightFiles(dir); err != nil ||
		!reflect.DeepEqual(files, []string{filepath.Join(dir, weightsName)}) {
		t.Errorf("%v, %v", files, err)
	}
}

func TestWeightsThatAreNoneAreNamed(t *testing.T) {
	c, err := ReadConfig("testdata/variants/tanh")
	if err != nil {
		t.Fatal(err)
	}
	pointer := t.TempDir()
	const text = lfsPointer + "\noid sha256:1\nsize 982141993\n"
	if err := os.WriteFile(filepath.Join(pointer, torchName), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for says, dir := range map[string]string{
		`pytorch_model.bin: pytorch: hostile-zip/data.pkl: byte 169 of the pickle: ` +
			`global "posix system" is none that weights need: refused`: copyFiles(
			t, "../pytorch/testdata/hostile-zip.bin", torchName,
		),
		"pytorch_model.bin: it is a Git LFS pointer": pointer,
		"tensors missing: decoder.transformer.h.0":   copyFiles(t, "../pytorch/testdata/legacy.bin", torchName),
		`model-00001.safetensors" is no .bin`:        copyFiles(t, "pytorch/mixed.json", torchName+indexSuffix),
	} {
		if _, err := ReadWeights(dir, c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
