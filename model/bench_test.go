package model

import (
	"path/filepath"
	"testing"
)

// BenchmarkBaseSave and BenchmarkBaseLoad move ViT-base + DistilGPT2 (random
// weights, 728 MB of fp32) to and from a directory.
func BenchmarkBaseSave(b *testing.B) {
	_, w, dir := baseModel(b)
	for b.Loop() {
		if err := WriteWeights(filepath.Join(dir, "model.safetensors"), w, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBaseLoad(b *testing.B) {
	c, w, dir := baseModel(b)
	if err := WriteWeights(filepath.Join(dir, "model.safetensors"), w, nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := ReadWeights(dir, c); err != nil {
			b.Fatal(err)
		}
	}
}

func baseModel(b *testing.B) (*Config, Weights, string) {
	c, _ := Preset("base")
	c.SetSpecialToken(c.Decoder.VocabSize - 1)
	return &c, Init(&c, 1), b.TempDir()
}
