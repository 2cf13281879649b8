package model

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
)

// initStd is the initializer_range of a part of the given width: that of ViT and
// GPT-2 at their 768, and in proportion to 1/√width elsewhere, since 0.02 leaves
// narrow layers nearly silent and their training slow to begin.
func initStd(width int) float64 { return 0.02 * math.Sqrt(768/float64(width)) }

// Init draws weights as transformers initialises them, but for the deviation of
// narrow models (see initStd): normal matrices and embeddings, those that write to
// GPT-2's residual stream scaled down by its depth, biases 0, norms 1. Each tensor
// is a function of the seed and its name.
func Init(c *Config, seed uint64) Weights {
	w := Weights{}
	for name, shape := range c.Shapes() {
		std := initStd(c.Encoder.HiddenSize)
		if strings.HasPrefix(name, c.decoderRoot()) {
			std = initStd(c.DecoderWidth())
		}
		w[name] = draw(name, shape, std, c.DecoderLayers(), seed)
	}
	c.setIdentity(w)
	return w
}

// setIdentity makes the second layer of a linear projection change nothing.
func (c *Config) setIdentity(w Weights) {
	if c.Kind != Prefix || c.Projector.HiddenAct != linearAct || c.Projector.ScaleFactor > 0 {
		return
	}
	x := w[projectorOut+".weight"]
	clear(x.Data)
	for i := range x.Shape[0] {
		x.Data[i*x.Shape[1]+i] = 1
	}
}

// draw makes one tensor of a network whose decoder has so many layers.
func draw(name string, shape []int, std float64, layers int, seed uint64) *Tensor {
	t := &Tensor{Shape: shape, Data: make([]float32, elements(shape))}
	switch {
	case strings.HasSuffix(name, ".bias"):
	case len(shape) == 1 && !strings.HasSuffix(name, ".class_embedding"): // a norm's weight, a layer's scale
		for i := range t.Data {
			t.Data[i] = 1
		}
	default:
		if strings.HasSuffix(name, ".c_proj.weight") {
			std /= math.Sqrt(2 * float64(layers))
		}
		rng := generator(name, seed)
		for i := range t.Data {
			t.Data[i] = float32(rng.NormFloat64() * std)
		}
	}
	return t
}

// generator of a tensor's values.
func generator(name string, seed uint64) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}
