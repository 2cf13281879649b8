package record

import "distilvit/storage/layout"

// Shard is a stored file: Parquet of pictures and captions, or of the tokens of the same rows, or safetensors of
// their features.
type Shard struct {
	Index  int           `json:"index"`
	Split  string        `json:"split"`            // train, validation or test
	Source int           `json:"source,omitempty"` // index of its only source, where sources have weights
	Rows   int           `json:"rows"`             // pictures
	Object layout.Object `json:"object"`
}
