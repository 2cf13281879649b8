package layout

// Object names stored bytes, or a file's, wherever one is told of: in manifests,
// in the payloads of workflows, by the store and by the trainer.
type Object struct {
	Key    string `json:"key,omitempty"` // "" where the place says it: a file in a map by name
	Size   int64  `json:"size"`          // bytes
	SHA256 string `json:"sha256"`        // lower-case hex of the bytes; "" where it is not known
}
