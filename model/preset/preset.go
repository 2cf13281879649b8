// Package preset names the networks that a config asks for by name. It stands apart from package
// model, which reads files, so that package pipeline, the contract that workflows compute with, may
// know them too: it imports nothing.
package preset

// Sizes of a network built from scratch.
type Sizes struct {
	Prefix        bool // a SigLIP whose vectors stand before the caption in a Llama; else a ViT and a GPT-2
	ImageSize     int  // side of the square input, pixels
	PatchSize     int  // side of a patch, pixels
	HiddenSize    int  // width of encoder and, unless it has one of its own, decoder
	EncoderLayers int
	DecoderLayers int
	Heads         int // of both, unless the decoder has its own
	MLPSize       int // inner width of both MLPs, unless the decoder has its own; 0: 4 × HiddenSize
	VocabSize     int // tokens; a trained tokenizer has so many at most
	Positions     int // tokens of a caption at most, with Prefix the picture's vectors among them

	// of a Prefix's decoder
	DecoderHiddenSize int
	DecoderHeads      int
	KeyValueHeads     int // divides DecoderHeads
	DecoderMLPSize    int
}

// Names of all presets, smallest first.
func Names() []string {
	return []string{"tiny", "small", "base", "modern-tiny", "modern-base", "modern-large"}
}

// Of returns the sizes a name stands for, false for a name that is none. tiny and modern-tiny train within minutes
// on two cores; base is ViT-base/16-224 with DistilGPT2, modern-base and modern-large are SigLIP-base/16-224 with
// SmolLM2-135M and -360M.
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
	case "modern-tiny":
		return Sizes{
			Prefix: true, ImageSize: 64, PatchSize: 8, HiddenSize: 128, EncoderLayers: 3, DecoderLayers: 3, Heads: 4,
			VocabSize: 2000, Positions: 128,
			DecoderHiddenSize: 128, DecoderHeads: 4, KeyValueHeads: 2, DecoderMLPSize: 384,
		}, true
	case "modern-base":
		return Sizes{
			Prefix: true, ImageSize: 224, PatchSize: 16, HiddenSize: 768, EncoderLayers: 12, DecoderLayers: 30, Heads: 12,
			VocabSize: 49152, Positions: 8192,
			DecoderHiddenSize: 576, DecoderHeads: 9, KeyValueHeads: 3, DecoderMLPSize: 1536,
		}, true
	case "modern-large":
		return Sizes{
			Prefix: true, ImageSize: 224, PatchSize: 16, HiddenSize: 768, EncoderLayers: 12, DecoderLayers: 32, Heads: 12,
			VocabSize: 49152, Positions: 8192,
			DecoderHiddenSize: 960, DecoderHeads: 15, KeyValueHeads: 5, DecoderMLPSize: 2560,
		}, true
	}
	return Sizes{}, false
}
