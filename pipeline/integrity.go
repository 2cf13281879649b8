package pipeline

// Broken is the detail of an error of type Corrupt: keys of objects whose bytes
// are wrong or that are missing.
type Broken struct {
	Keys []string `json:"keys"`
}

// DropBrokenInput asks to remove those of the objects that are broken indeed, so
// that they can be made again: what is stored is never overwritten.
type DropBrokenInput struct {
	Run  string   `json:"run"`
	Keys []string `json:"keys"`
}

// DropBrokenResult says what became of each key, and which checkpoints it costs.
type DropBrokenResult struct {
	Dropped     []string `json:"dropped,omitempty"`     // were broken and are removed
	Missing     []string `json:"missing,omitempty"`     // were not there
	Sound       []string `json:"sound,omitempty"`       // are as they should be
	Checkpoints []string `json:"checkpoints,omitempty"` // manifests of checkpoints that are incomplete now
}
