// Package retention decides what in the bucket may be removed. Objects that
// belong together form a group (package layout): a prepared dataset, a run, a
// published model. Runs refer to the groups they use by reference objects written
// before use; the Janitor removes groups that nothing refers to, and what a run
// left without a manifest. Why that is safe while runs go on is told in
// docs/storage.md. It knows neither Temporal nor what the objects are for. Start
// reading at Adopt, then Sweep.
package retention

import "distilvit/storage/layout"

// Areas are the parts of the bucket, in the order they are swept.
var Areas = []string{
	layout.Runs,   // blobs without a manifest, checkpoints that a finished run no longer needs
	layout.Models, // files of models that were never published
	// groups that live by references
	layout.Teacher, layout.Features, layout.Tokens, layout.Datasets, layout.Weights, layout.Sources,
	Uploads, Leftovers,
}

// Areas that are no folder of groups.
const (
	Uploads   = "uploads"   // multipart uploads that were never completed
	Leftovers = "leftovers" // objects of checks and sweeps that were killed
)
