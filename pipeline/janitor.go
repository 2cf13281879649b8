package pipeline

// JanitorInput asks for a sweep of the bucket. The zero value is the daily one.
type JanitorInput struct {
	DryRun bool `json:"dry_run,omitempty"` // only say what would be removed
	// younger objects are left alone; a Go duration, default DefaultGrace
	Grace string `json:"grace,omitempty"`
}

// DefaultGrace is how long what nothing refers to is left alone.
const DefaultGrace = "24h"

// JanitorResult is what a sweep of the whole bucket removed.
type JanitorResult struct {
	DryRun  bool      `json:"dry_run"`
	Grace   string    `json:"grace"`
	Removed []Removed `json:"removed"`

	// Notes say what was left alone for a reason that a person should know.
	Notes []string `json:"notes,omitempty"`
}

// Removed is how much of one kind was removed, or would be.
type Removed struct {
	Kind    string `json:"kind"` // datasets, checkpoints, blobs and so on
	Objects int64  `json:"objects"`
	Bytes   int64  `json:"bytes"` // of all of them
}

// JanitorPageInput asks for the page of the bucket that begins at Cursor.
type JanitorPageInput struct {
	Cursor string `json:"cursor"` // "": the beginning
	JanitorInput
}

// JanitorPage is what of one page was removed, and where the next one begins.
type JanitorPage struct {
	Removed []Removed `json:"removed,omitempty"`
	Notes   []string  `json:"notes,omitempty"`
	Next    string    `json:"next,omitempty"` // cursor of the next page; "": this was the last
}
