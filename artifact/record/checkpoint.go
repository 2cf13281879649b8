package record

// CheckpointRef names a complete checkpoint. A run's checkpoints lie in branches:
// a new branch begins at an older checkpoint whenever what follows is trained in
// another way than before, so that neither overwrites the other's.
type CheckpointRef struct {
	Manifest string `json:"manifest"` // key of its manifest.json
	Branch   int    `json:"branch"`   // 1-based
	Epoch    int    `json:"epoch"`    // epochs finished
	Step     int64  `json:"step"`     // steps done, of the whole training

	EpochStep int64 `json:"epoch_step,omitempty"` // of Step, those of the epoch under way; 0: none is
}
