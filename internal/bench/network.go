package bench

import (
	"distilvit/model"
	"distilvit/pipeline"
)

// Network is a network with random weights.
type Network struct {
	Config *model.Config
	Preset string // its sizes: tiny, small or base
	Seed   uint64 // of the weights
}

// NewNetwork gives a preset a vocabulary of so many tokens, at least 2.
func NewNetwork(preset string, c model.Config, vocabulary int, seed uint64) Network {
	c.SetVocabSize(vocabulary)
	c.SetSpecialToken(vocabulary - 1)
	c.EOSTokenID = vocabulary - 2 // a random network repeats the start token, which must not end it
	return Network{Config: &c, Preset: preset, Seed: seed}
}

// side is the pixels of a picture's sides.
func (n Network) side() int { return n.Config.Encoder.ImageSize }

// weights are the random ones.
func (n Network) weights() model.Weights { return model.Init(n.Config, n.Seed) }

// Defaults is a run's config with that preset and nothing else said.
func Defaults(preset string) pipeline.Config {
	c := pipeline.Default()
	c.Model.Preset = preset
	return c.Resolve()
}
