// Package preset names the networks that a config asks for by name. It stands apart from package
// model, which reads files, so that package pipeline, the contract that workflows compute with, may
// know them too: it imports nothing.
package preset

// Sizes of a network built from scratch.
type Sizes struct {
	ImageSize     int // side of the square input, pixels
	PatchSize     int // side of a patch, pixels
	HiddenSize    int // width of encoder and decoder
	EncoderLayers int
	DecoderLayers int
	Heads         int // of both
	MLPSize       int // inner width of both MLPs; 0: 4 × HiddenSize
	VocabSize     int // tokens; a trained tokenizer has so many at most
	Positions     int // tokens of a caption at most
}

// Names of all presets, smallest first.
func Names() []string { return []string{"tiny", "small", "base"} }

// Of returns the sizes a name stands for, false for a name that is none. tiny trains within minutes
// on two cores; base is ViT-base/16-224 with DistilGPT2.
func Of(name string) (Sizes, bool) {
	switch name {
	case "tiny":
		return Sizes{
			ImageSize: 64, PatchSize: 8, HiddenSize: 128, EncoderLayers: 3, DecoderLayers: 3, Heads: 4,
			VocabSize: 2000, Positions: 64,
		}, true
	case "small":
		return Sizes{
			ImageSize: 128, PatchSize: 16, HiddenSize: 256, EncoderLayers: 6, DecoderLayers: 4, Heads: 8,
			VocabSize: 8000, Positions: 128,
		}, true
	case "base":
		return Sizes{
			ImageSize: 224, PatchSize: 16, HiddenSize: 768, EncoderLayers: 12, DecoderLayers: 6, Heads: 12,
			VocabSize: 50257, Positions: 1024,
		}, true
	}
	return Sizes{}, false
}
