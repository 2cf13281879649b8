package record

import "distilvit/storage/layout"

// Shard is a stored Parquet file: of pictures and captions, or of the tokens of
// the same rows.
type Shard struct {
	Index  int           `json:"index"`
	Split  string        `json:"split"`            // train, validation or test
	Source int           `json:"source,omitempty"` // index of its only source, where sources have weights
	Rows   int           `json:"rows"`             // pictures
	Object layout.Object `json:"object"`
}
