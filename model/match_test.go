package model

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPatternsMeanTensorsOfEveryEncoder(t *testing.T) {
	type want struct{ embeddings, layer, norm int } // tensors
	for dir, n := range map[string]want{
		"same": {4, 16, 2}, "variants/deit": {5, 16, 2}, "variants/siglip": {3, 16, 2}, "variants/clip": {5, 16, 0},
		"variants/dinov2": {4, 18, 2},
	} {
		c, err := ReadConfig(filepath.Join("testdata", dir))
		if err != nil {
			t.Fatal(err)
		}
		count := func(pattern string) int {
			names, err := c.Match(pattern)
			if err != nil {
				t.Fatalf("%s: %v", dir, err)
			}
			if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
				t.Errorf("%s, %s: %v", dir, pattern, names)
			}
			return len(names)
		}
		for pattern, want := range map[string]int{
			"encoder.embeddings": n.embeddings, "encoder.layers.1": n.layer, "encoder.layers.0-1": 2 * n.layer,
			"encoder.layers":     2 * n.layer,
			"encoder":            n.embeddings + 2*n.layer + n.norm,
			"decoder.embeddings": 2, "decoder.layers.0-1": 40, "decoder.cross_attention": 16, "decoder.norm": 2,
			"decoder.layers.1.mlp": 4, "decoder.transformer.h.0-1.attn.c_attn.weight": 2, "*": len(c.Names()),
			"*.bias": count("*bias"),
		} {
			if got := count(pattern); got != want {
				t.Errorf("%s: %s means %d tensors, want %d", dir, pattern, got, want)
			}
		}
		if n.norm > 0 && count("encoder.norm") != n.norm {
			t.Errorf("%s: encoder.norm means %d tensors", dir, count("encoder.norm"))
		}
		for name, want := range map[string]int{
			c.Encoder.Names().Positions: 3, c.Encoder.Names().OfLayer(0).Up + ".weight": 2,
			c.Encoder.Names().OfLayer(1).Norm1 + ".bias": 1, "decoder.transformer.wpe.weight": 3,
			"decoder.transformer.h.1.ln_1.bias": 1, "decoder.transformer.ln_f.bias": 0, "enc_to_dec_proj.weight": 0,
		} {
			if got := c.Depth(name); got != want {
				t.Errorf("%s: %s lies %d deep, want %d", dir, name, got, want)
			}
		}
	}
}

func TestPatternsWithoutATensorNameWhatIsNear(t *testing.T) {
	c, err := ReadConfig("testdata/differ")
	if err != nil {
		t.Fatal(err)
	}
	if names, err := c.Match("projection"); err != nil || len(names) != 2 {
		t.Errorf("%v, %v", names, err)
	}
	for pattern, want := range map[string]string{
		"encoder.layer.0":           `no tensor has the name "encoder.layer.0"; near ones are encoder.layers.0, `,
		"encoder.layers.0-2":        `no tensor has the name "encoder.layers.2" of "encoder.layers.0-2"; near ones are encoder.layers.`,
		"encoder.layers.1-0":        `no tensor has the name "encoder.layers.1-0"`,
		"decoder.embedding":         "near ones are decoder.embeddings",
		"enc":                       "they begin with encoder or decoder, such as decoder.transformer.h.0.attn.c_attn.bias",
		"decoder.transformer.wte.w": "near ones are decoder.transformer.wte",
		"(":                         `no tensor has the name "("`,
	} {
		_, err := c.Match(pattern)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}
