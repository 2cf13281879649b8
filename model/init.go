package model

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
)

// initStd is the initializer_range of ViT and GPT-2.
const initStd = 0.02

// Init draws weights as transformers initialises them: normal matrices and
// embeddings, those that write to GPT-2's residual stream scaled down by its depth,
// biases 0, norms 1. Each tensor is a function of the seed and its name.
func Init(c *Config, seed uint64) Weights {
	w := Weights{}
	for name, shape := range c.Shapes() {
		t := &Tensor{Shape: shape, Data: make([]float32, elements(shape))}
		w[name] = t
		switch {
		case strings.HasSuffix(name, ".bias"):
		case len(shape) == 1: // a norm's weight
			for i := range t.Data {
				t.Data[i] = 1
			}
		default:
			std := initStd
			if strings.HasSuffix(name, ".c_proj.weight") {
				std /= math.Sqrt(2 * float64(c.Decoder.NLayer))
			}
			h := fnv.New64a()
			h.Write([]byte(name))
			rng := rand.New(rand.NewPCG(seed, h.Sum64()))
			for i := range t.Data {
				t.Data[i] = float32(rng.NormFloat64() * std)
			}
		}
	}
	return w
}
