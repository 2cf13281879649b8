package layout

import (
	"fmt"
	"strconv"
	"strings"
)

// Run is a run's id, from which the keys of all that belongs to the run follow.
type Run string

// Kind is a folder of a run's objects.
type Kind string

// Kinds of what a run stores, beside its config and report.
const (
	Refs        Kind = "refs"        // the groups it uses
	Blobs       Kind = "blobs"       // files of checkpoints and exports, by digest
	Checkpoints Kind = "checkpoints" // manifests
	Metrics     Kind = "metrics"     // steps of finished epochs
	Predictions Kind = "predictions" // captions of evaluations
	Progress    Kind = "progress"    // what a new execution goes on from
	Exports     Kind = "exports"     // exports and their checks
	Logs        Kind = "logs"        // of trainers that failed
	TensorBoard Kind = "tensorboard" // event files
)

// Group is runs/<run>.
func (r Run) Group() string { return Runs + "/" + string(r) }

// Folder is the prefix of all objects of a kind, with a slash at its end.
func (r Run) Folder(k Kind) string { return r.Group() + "/" + string(k) + "/" }

// RunOf is the run that owns a key below runs/, or a group that is one.
func RunOf(key string) (r Run, ok bool) {
	rest, ok := strings.CutPrefix(key, Runs+"/")
	id, _, _ := strings.Cut(rest, "/")
	return Run(id), ok && id != ""
}

// InRun takes a run's key apart: its kind, and what stands behind the folder. The
// kind of an object that is in no folder is "".
func InRun(key string) (r Run, k Kind, rest string, ok bool) {
	r, ok = RunOf(key)
	if !ok {
		return "", "", "", false
	}
	rest, ok = strings.CutPrefix(key, r.Group()+"/")
	if kind, below, in := strings.Cut(rest, "/"); in {
		return r, Kind(kind), below, ok
	}
	return r, "", rest, ok
}

// Config is the key of the resolved config.
func (r Run) Config() string { return File(r.Group(), "config.json") }

// Report is the key of the report for people.
func (r Run) Report() string { return File(r.Group(), ReportFile) }

// ReportFile is the report's name, in a run and in a published model.
const ReportFile = "report.html"

// Ref is the key that says that the run uses a group.
func (r Run) Ref(group string) string { return r.Folder(Refs) + group + ".json" }

// RefOf is the group that a key below Folder(Refs) refers to.
func RefOf(key string) (group string, ok bool) {
	_, kind, rest, ok := InRun(key)
	group, document := strings.CutSuffix(rest, ".json")
	return group, ok && document && kind == Refs
}

// Blobs is below which the run's blobs are, for Blob.
func (r Run) Blobs() string { return strings.TrimSuffix(r.Folder(Blobs), "/") }

// Checkpoint is the key of a checkpoint's manifest: after so many steps of a branch,
// both counted from 1.
func (r Run) Checkpoint(branch int, step int64) string {
	return fmt.Sprintf("%s%d/%s", r.BranchCheckpoints(branch), step, ManifestFile)
}

// BranchCheckpoints is the prefix of a branch's checkpoints; branch 0 is every one.
func (r Run) BranchCheckpoints(branch int) string {
	if branch == 0 {
		return r.Folder(Checkpoints)
	}
	return r.Folder(Checkpoints) + strconv.Itoa(branch) + "/"
}

// ParseCheckpoint reads what Checkpoint made.
func ParseCheckpoint(key string) (r Run, branch int, step int64, ok bool) {
	r, kind, rest, ok := InRun(key)
	part := strings.Split(rest, "/")
	if !ok || kind != Checkpoints || len(part) != 3 || part[2] != ManifestFile {
		return "", 0, 0, false
	}
	branch, err1 := strconv.Atoi(part[0])
	step, err2 := strconv.ParseInt(part[1], 10, 64)
	return r, branch, step, err1 == nil && err2 == nil
}

// Metrics is the key of the steps of a finished epoch, counted from 1.
func (r Run) Metrics(branch, epoch int) string {
	return fmt.Sprintf("%s%04d-%06d.jsonl", r.Folder(Metrics), branch, epoch)
}

// ParseMetrics reads what Metrics made.
func ParseMetrics(key string) (branch, epoch int, ok bool) {
	_, kind, rest, ok := InRun(key)
	name, lines := strings.CutSuffix(rest, ".jsonl")
	b, e, two := strings.Cut(name, "-")
	branch, err1 := strconv.Atoi(b)
	epoch, err2 := strconv.Atoi(e)
	return branch, epoch, ok && kind == Metrics && lines && two && err1 == nil && err2 == nil
}

// Predictions is the key of the captions of an evaluation; limit 0 is the whole split.
func (r Run) Predictions(branch int, step int64, split string, limit int) string {
	name := fmt.Sprintf("%d-%d-%s", branch, step, split)
	if limit > 0 {
		name += fmt.Sprintf("-%d", limit)
	}
	return r.Folder(Predictions) + name + ".jsonl"
}

// Progress is the key of the record after so many finished epochs. Of a run's
// records the last key is the newest.
func (r Run) Progress(branch, epochs int) string {
	return fmt.Sprintf("%s%04d-%06d.json", r.Folder(Progress), branch, epochs)
}

// Export is the key of the export that is named by all that determines it.
func (r Run) Export(digest string) string { return r.Folder(Exports) + digest + ".json" }

// Log is the key of a log.
func (r Run) Log(name string) string { return r.Folder(Logs) + name }

// Events is the key of the event file of an epoch, counted from 1. By its name TensorBoard knows it for one, and
// reads those of a directory in their order.
func (r Run) Events(epoch int) string {
	return fmt.Sprintf("%sevents.out.tfevents.%010d.distilvit", r.Folder(TensorBoard), epoch)
}
