package record

import "distilvit/storage/layout"

// ModelRef names a directory in Hugging Face form under weights/<digest>/:
// config.json, tokenizer files, preprocessor_config.json, generation_config.json
// and, unless the weights are drawn by seed, model.safetensors.
type ModelRef struct {
	Digest string                   `json:"digest"` // of the files' names and digests
	Files  map[string]layout.Object `json:"files"`  // by name
}
