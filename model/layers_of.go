package model

import (
	"fmt"
	"strconv"
	"strings"
)

// Layers are numbers of layers from 0, ascending; nil means all of a tower.
type Layers struct{ Encoder, Decoder []int }

// TakeLayers makes of a captioner one of these of its layers alone, renumbered from 0, as DistilGPT2 was made of
// every second layer of a GPT-2. Embeddings, norms behind the layers and heads stay. Layers of the encoder that are not
// run cannot be taken. Without w, the config is changed alone.
func (c *Config) TakeLayers(w Weights, keep Layers) error {
	encoder := strings.TrimSuffix(c.Encoder.Names().Layer, "%d.")
	decoder := c.aliases()["decoder.layers"][0] + "."
	for _, t := range []struct {
		name, prefix string
		layers       int
		keep         []int
	}{
		{"encoder", encoder, c.Encoder.NumHiddenLayers - c.Encoder.UnusedLayers, keep.Encoder},
		{"decoder", decoder, c.DecoderLayers(), keep.Decoder},
	} {
		for i, n := range t.keep {
			if n < 0 || n >= t.layers || i > 0 && n <= t.keep[i-1] {
				return fmt.Errorf("layers %v of the %s: they must ascend, and be from 0 to %d", t.keep, t.name, t.layers-1)
			}
		}
		if t.keep != nil {
			w.renumber(t.prefix, t.keep)
		}
	}
	if keep.Encoder != nil {
		c.Encoder.NumHiddenLayers = len(keep.Encoder) + c.Encoder.UnusedLayers
	}
	if keep.Decoder != nil {
		*c.decoderLayers() = len(keep.Decoder)
	}
	return nil
}

// renumber keeps of the tensors under prefix, behind which a layer's number stands, those of these layers.
func (w Weights) renumber(prefix string, keep []int) {
	to := make(map[int]int, len(keep))
	for i, n := range keep {
		to[n] = i
	}
	moved := Weights{}
	for name, t := range w {
		number, rest, layer := strings.Cut(strings.TrimPrefix(name, prefix), ".")
		n, err := strconv.Atoi(number)
		if !strings.HasPrefix(name, prefix) || !layer || err != nil {
			continue
		}
		delete(w, name)
		if i, kept := to[n]; kept {
			moved[fmt.Sprintf("%s%d.%s", prefix, i, rest)] = t
		}
	}
	for name, t := range moved {
		w[name] = t
	}
}
