// Package retention decides what in the bucket may be removed. Objects that
// belong together form a group: a prepared dataset, a run, a published model.
// Runs refer to the groups they use by reference objects written before use;
// the Janitor removes groups that nothing refers to, and what a run left
// without a manifest. Why that is safe while runs go on is told in
// docs/storage.md. It knows the keys and the manifests as JSON, but neither
// Temporal nor what the objects are for. Start reading at Adopt, then Sweep.
package retention

import (
	"slices"
	"strings"
)

// Areas are the parts of the bucket, in the order they are swept.
var Areas = []string{Runs, Models, "tokens", "datasets", "weights", "sources", Uploads, Leftovers}

// Areas with rules of their own; the others hold groups that live by references.
const (
	Runs      = "runs"      // blobs without a manifest, checkpoints that a finished run no longer needs
	Models    = "models"    // files of models that were never published
	Uploads   = "uploads"   // multipart uploads that were never completed
	Leftovers = "leftovers" // objects of checks and sweeps that were killed
)

var shared = []string{"sources", "weights", "datasets", "tokens"}

// GroupOf is the group an object belongs to: datasets/<key>, runs/<run>,
// models/<name>/<version>. ok is false for keys that are none of ours.
func GroupOf(key string) (group string, ok bool) {
	parts := strings.Split(key, "/")
	n := 2
	switch {
	case parts[0] == Models:
		n = 3
	case parts[0] != Runs && !slices.Contains(shared, parts[0]):
		return "", false
	}
	if len(parts) <= n || slices.Contains(parts[:n], "") {
		return "", false
	}
	return strings.Join(parts[:n], "/"), true
}

func areaOf(group string) string {
	area, _, _ := strings.Cut(group, "/")
	return area
}

// RunGroup is a run's own group.
func RunGroup(run string) string { return Runs + "/" + run }

// refsPrefix is where a run's references are: a key below it, without .json,
// is the group it refers to.
func refsPrefix(run string) string { return RunGroup(run) + "/refs/" }

func refKey(run, group string) string { return refsPrefix(run) + group + ".json" }

// condemnedKey is there while somebody removes objects of the group.
func condemnedKey(group string) string { return condemnedPrefix + group + ".json" }

const (
	condemnedPrefix = "condemned/"
	checkPrefix     = ".check/" // of storage.Check
	manifestName    = "/manifest.json"
)
