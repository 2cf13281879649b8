package activities

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.temporal.io/sdk/activity"

	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage"
)

// checkpointManifest is runs/<run>/checkpoints/<branch>/<step>/manifest.json:
// what makes a checkpoint complete. Everything in it follows from the training
// and the step, so that whoever makes it again makes the same bytes.
type checkpointManifest struct {
	Version     int                        `json:"version"`
	Run         string                     `json:"run"`
	Branch      int                        `json:"branch"`
	Step        int64                      `json:"step"`
	Epoch       int                        `json:"epoch"`      // epochs finished
	EpochStep   int64                      `json:"epoch_step"` // steps done of the next one
	LossSum     float64                    `json:"loss_sum"`   // of the epoch so far, or the one just finished
	Tokens      int64                      `json:"tokens"`
	Training    string                     `json:"training"` // digest of what is trained on what
	Fingerprint map[string]string          `json:"fingerprint"`
	Files       map[string]pipeline.Object `json:"files"`
}

func (m checkpointManifest) ref() pipeline.CheckpointRef {
	return pipeline.CheckpointRef{Manifest: checkpointKey(m.Run, m.Branch, m.Step), Branch: m.Branch, Epoch: m.Epoch, Step: m.Step}
}

func (m checkpointManifest) loss() float64 {
	if m.Tokens == 0 {
		return 0
	}
	return m.LossSum / float64(m.Tokens)
}

func checkpointKey(run string, branch int, step int64) string {
	return fmt.Sprintf("runs/%s/checkpoints/%d/%d/manifest.json", run, branch, step)
}

func blobs(run string) string { return "runs/" + run + "/blobs" }

// training names what a checkpoint's branch trains: two runs of one id with
// different ones must not share checkpoints.
func training(w pipeline.Work) (string, error) {
	t := w.Train
	// How often to save and when to stop do not touch the weights.
	t.Patience, t.CheckpointSteps, t.CheckpointSeconds, t.KeepCheckpoints, t.AllowNumericsChange = 0, 0, 0, 0, false
	return digestOf(struct {
		Seed                   uint64
		Model, Dataset, Tokens string
		Train                  pipeline.TrainConfig
		Extension              *pipeline.Extension `json:",omitempty"`
	}{w.Seed, w.Model.Digest, w.Dataset.Manifest, w.Tokens.Manifest, t, w.Extension})
}

// point is a stored checkpoint's place.
type point struct {
	key    string
	branch int
	step   int64
}

// checkpoints lists a run's, newest first; branch 0 is every branch.
func (a *Activities) checkpoints(ctx context.Context, run string, branch int) ([]point, error) {
	prefix := "runs/" + run + "/checkpoints/"
	under := prefix
	if branch != 0 {
		under += strconv.Itoa(branch) + "/"
	}
	var out []point
	for o, err := range a.Store.List(ctx, under) {
		if err != nil {
			return nil, err
		}
		part := strings.Split(strings.TrimPrefix(o.Key, prefix), "/")
		if len(part) != 3 || part[2] != "manifest.json" {
			continue
		}
		b, err1 := strconv.Atoi(part[0])
		step, err2 := strconv.ParseInt(part[1], 10, 64)
		if err1 == nil && err2 == nil {
			out = append(out, point{o.Key, b, step})
		}
	}
	slices.SortFunc(out, func(x, y point) int {
		if x.branch != y.branch {
			return y.branch - x.branch
		}
		return int(y.step - x.step)
	})
	return out, nil
}

func (a *Activities) readCheckpoint(ctx context.Context, key string) (checkpointManifest, error) {
	var m checkpointManifest
	err := a.Store.GetJSON(ctx, key, &m)
	return m, err
}

// complete tells whether every file that a manifest names is there.
func (a *Activities) complete(ctx context.Context, files map[string]pipeline.Object) (bool, error) {
	for _, o := range files {
		found, err := a.Store.Stat(ctx, o.Key)
		if isNotFound(err) || err == nil && found.Size != o.Size {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// newest is the newest complete checkpoint of a branch; nil where there is none.
func (a *Activities) newest(ctx context.Context, run string, branch int) (*pipeline.CheckpointRef, error) {
	points, err := a.checkpoints(ctx, run, branch)
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		m, err := a.readCheckpoint(ctx, p.key)
		if unreadable(err) {
			continue // an older one may be good
		}
		if err != nil {
			return nil, err
		}
		ok, err := a.complete(ctx, m.Files)
		if err != nil {
			return nil, err
		}
		if ok {
			ref := m.ref()
			return &ref, nil
		}
	}
	return nil, nil
}

// storeCheckpoint uploads a local checkpoint: blobs, then the manifest. One whose
// files are not what the trainer wrote is storage.ErrDamaged. The metrics of a finished epoch are kept apart, where no pruning touches them.
func (a *Activities) storeCheckpoint(ctx context.Context, w pipeline.Work, c trainer.Checkpoint) (checkpointManifest, error) {
	m := checkpointManifest{
		Version: 1, Run: w.Run, Branch: w.Branch, Step: c.State.Step, Epoch: c.State.Epoch, EpochStep: c.State.EpochStep,
		LossSum: c.State.LossSum, Tokens: c.State.Tokens, Fingerprint: c.State.Fingerprint, Files: map[string]pipeline.Object{},
	}
	var err error
	if m.Training, err = training(w); err != nil {
		return m, err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		known := storage.Object{Size: c.Files[name].Size, SHA256: c.Files[name].SHA256}
		o, err := a.Store.PutKnownBlob(ctx, blobs(w.Run), "", filepath.Join(c.Dir, name), known)
		if err != nil {
			return m, err
		}
		m.Files[name] = object(o)
	}
	if m.EpochStep == 0 {
		path := filepath.Join(c.Dir, trainer.MetricsFile)
		o, err := a.Store.PutFile(ctx, metricsKey(w.Run, w.Branch, m.Epoch), path)
		if err != nil {
			return m, err
		}
		if o.SHA256 != c.Files[trainer.MetricsFile].SHA256 { // a later attempt at this epoch writes it again
			return m, fmt.Errorf("%s: %w", path, storage.ErrDamaged)
		}
	}
	return m, a.Store.Publish(ctx, checkpointKey(w.Run, w.Branch, m.Step), m)
}

// metricsKey is where the steps of a finished epoch (1-based) are kept.
func metricsKey(run string, branch, epoch int) string {
	return fmt.Sprintf("runs/%s/metrics/%04d-%06d.jsonl", run, branch, epoch)
}

// prune removes all but the newest keep checkpoints of a run, the newest end of
// an epoch, to which a run that diverges goes back, those named and those the
// run's record names, which an attempt that is out of date does not know; then
// the blobs that none of the rest uses.
func (a *Activities) prune(ctx context.Context, run string, keep int, named ...*pipeline.CheckpointRef) error {
	points, err := a.checkpoints(ctx, run, 0)
	if err != nil || len(points) <= keep {
		return err
	}
	progress, err := a.newestProgress(ctx, run)
	if err != nil {
		return err
	}
	named = append(named, progress.From, progress.Last)
	if progress.Best != nil {
		named = append(named, &progress.Best.Checkpoint)
	}
	kept := map[string]bool{}
	for _, ref := range named {
		if ref != nil {
			kept[ref.Manifest] = true
		}
	}
	var remove []string
	used := map[string]bool{}
	gone := map[string]bool{}
	ended := false // an epoch's end is among the kept
	for i, p := range points {
		m, err := a.readCheckpoint(ctx, p.key)
		if isNotFound(err) {
			continue // another attempt prunes too
		}
		if err != nil {
			return err
		}
		into := used
		end := m.EpochStep == 0 && !ended && p.branch == points[0].branch
		ended = ended || end
		if i >= keep && !kept[p.key] && !end {
			remove = append(remove, p.key)
			into = gone
		}
		for _, o := range m.Files {
			into[o.Key] = true
		}
	}
	if len(remove) == 0 {
		return nil
	}
	if err := a.Store.Remove(ctx, remove...); err != nil {
		return err
	}
	maps.DeleteFunc(gone, func(key string, _ bool) bool { return used[key] })
	return a.Store.Remove(ctx, slices.Sorted(maps.Keys(gone))...)
}

// FindProgress answers a run's newest recorded progress and the newest
// checkpoint of its branch.
func (a *Activities) FindProgress(ctx context.Context, in pipeline.FindProgressInput) (pipeline.Progress, error) {
	return run(ctx, func(ctx context.Context, _ *pulse) (pipeline.Progress, error) {
		out, err := a.newestProgress(ctx, in.Run)
		if err != nil {
			return out, err
		}
		branch := in.Branch
		if branch == 0 {
			branch = max(out.Branch, 1)
		}
		out.Newest, err = a.newest(ctx, in.Run, branch)
		return out, err
	})
}

// newestProgress is a run's newest record that can be read, since what an older one
// does not know is done again; empty where there is none.
func (a *Activities) newestProgress(ctx context.Context, run string) (pipeline.Progress, error) {
	var keys []string
	for o, err := range a.Store.List(ctx, "runs/"+run+"/progress/") {
		if err != nil {
			return pipeline.Progress{}, err
		}
		keys = append(keys, o.Key)
	}
	slices.Sort(keys)
	for _, key := range slices.Backward(keys) {
		var p pipeline.Progress
		if err := a.Store.GetJSON(ctx, key, &p); !unreadable(err) {
			return p, err
		}
		activity.GetLogger(ctx).Warn("a record of progress cannot be read, taking an older one", "key", key)
	}
	return pipeline.Progress{}, nil
}

// RecordProgress stores what a new execution of the run goes on from.
func (a *Activities) RecordProgress(ctx context.Context, in pipeline.RecordProgressInput) error {
	_, err := run(ctx, func(ctx context.Context, _ *pulse) (struct{}, error) {
		in.Progress.Newest = nil
		key := fmt.Sprintf("runs/%s/progress/%04d-%06d.json", in.Run, in.Progress.Branch, len(in.Progress.Epochs))
		_, err := a.Store.PutJSON(ctx, key, in.Progress)
		return struct{}{}, err
	})
	return err
}

// unreadable tells whether another, older checkpoint may still be good.
func unreadable(err error) bool {
	return errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrNotFound)
}
