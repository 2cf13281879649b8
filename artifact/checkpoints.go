package artifact

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"

	"distilvit/artifact/record"
	"distilvit/model/trainer"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// Checkpoints is the log of a run's checkpoints. Each is complete or invisible: its
// files are blobs, and its manifest, written last, names them.
type Checkpoints struct {
	Store *storage.Store
	Run   layout.Run
}

// List has the keys of the manifests, newest first; branch 0 is every branch.
func (c Checkpoints) List(ctx context.Context, branch int) ([]string, error) {
	var keys []string
	for o, err := range c.Store.List(ctx, c.Run.BranchCheckpoints(branch)) {
		if err != nil {
			return nil, err
		}
		if _, _, _, ok := layout.ParseCheckpoint(o.Key); ok {
			keys = append(keys, o.Key)
		}
	}
	slices.SortFunc(keys, func(x, y string) int {
		_, bx, sx, _ := layout.ParseCheckpoint(x)
		_, by, sy, _ := layout.ParseCheckpoint(y)
		return cmp.Or(by-bx, cmp.Compare(sy, sx))
	})
	return keys, nil
}

// ReadCheckpoint reads a checkpoint's manifest; whether its files are there is
// another question, see Complete.
func ReadCheckpoint(ctx context.Context, s *storage.Store, key string) (record.CheckpointManifest, error) {
	var m record.CheckpointManifest
	err := s.GetJSON(ctx, key, &m)
	return m, err
}

// readable yields the manifests that can be read, newest first; branch 0 is every branch.
func (c Checkpoints) readable(ctx context.Context, branch int) iter.Seq2[record.CheckpointManifest, error] {
	return func(yield func(record.CheckpointManifest, error) bool) {
		keys, err := c.List(ctx, branch)
		if err != nil {
			yield(record.CheckpointManifest{}, err)
			return
		}
		for _, key := range keys {
			m, err := ReadCheckpoint(ctx, c.Store, key)
			if !Unreadable(err) && !yield(m, err) {
				return
			}
		}
	}
}

// Newest is the newest complete checkpoint of a branch; nil where there is none.
// Those that cannot be read are passed over.
func (c Checkpoints) Newest(ctx context.Context, branch int) (*record.CheckpointRef, error) {
	for m, err := range c.readable(ctx, branch) {
		if err != nil {
			return nil, err
		}
		ok, err := Complete(ctx, c.Store, m.Files)
		if err != nil {
			return nil, err
		}
		if ok {
			ref := m.Ref()
			return &ref, nil
		}
	}
	return nil, nil
}

// Put uploads a local checkpoint of a branch: blobs, then the manifest. training
// is the digest of what is trained on what. Files that are not what the trainer wrote
// are storage.ErrDamaged. The metrics of a finished epoch are kept apart, too, where
// no pruning touches them.
func (c Checkpoints) Put(
	ctx context.Context, branch int, training string, local trainer.Checkpoint,
) (record.CheckpointManifest, error) {
	m := record.CheckpointManifest{
		Version: 1, Run: string(c.Run), Branch: branch, State: local.State, Training: training,
		Files: map[string]layout.Object{},
	}
	for _, name := range slices.Sorted(maps.Keys(local.Files)) {
		o, err := c.Store.PutKnownBlob(ctx, c.Run.Blobs(), "", filepath.Join(local.Dir, name), local.Files[name])
		if err != nil {
			return m, err
		}
		m.Files[name] = o
	}
	if m.EpochStep == 0 {
		path := filepath.Join(local.Dir, trainer.MetricsFile)
		o, err := c.Store.PutFile(ctx, c.Run.Metrics(branch, m.Epoch), path)
		if err != nil {
			return m, err
		}
		// A later attempt at this epoch writes it again.
		if o.SHA256 != local.Files[trainer.MetricsFile].SHA256 {
			return m, fmt.Errorf("%s: %w", path, storage.ErrDamaged)
		}
	}
	return m, c.Store.Publish(ctx, c.Run.Checkpoint(branch, m.Step), m)
}

// Prune keeps a run's checkpoints from filling the store: it removes old ones, then the blobs that only they
// used. It leaves
//   - the newest, as many as keep says,
//   - the newest at the end of an epoch: a run that diverges goes back to it,
//   - those named by the caller,
//   - those named in the run's record of progress: a caller that is out of date does not know them.
func (c Checkpoints) Prune(ctx context.Context, keep int, named ...*record.CheckpointRef) error {
	keys, err := c.List(ctx, 0)
	if err != nil || len(keys) <= keep {
		return err
	}
	progress, err := NewestProgress(ctx, c.Store, c.Run, nil)
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
	used, gone := map[string]bool{}, map[string]bool{} // blobs
	ended := false                                     // an epoch's end is among the kept
	_, newest, _, _ := layout.ParseCheckpoint(keys[0])
	for i, key := range keys {
		m, err := ReadCheckpoint(ctx, c.Store, key)
		if NotFound(err) {
			continue // another attempt prunes too
		}
		if err != nil {
			return err
		}
		_, branch, _, _ := layout.ParseCheckpoint(key)
		end := m.EpochStep == 0 && !ended && branch == newest
		ended = ended || end
		into := used
		if i >= keep && !kept[key] && !end {
			remove = append(remove, key)
			into = gone
		}
		for _, o := range m.Files {
			into[o.Key] = true
		}
	}
	if len(remove) == 0 {
		return nil
	}
	if err := c.Store.Remove(ctx, remove...); err != nil {
		return err
	}
	maps.DeleteFunc(gone, func(key string, _ bool) bool { return used[key] })
	return c.Store.Remove(ctx, slices.Sorted(maps.Keys(gone))...)
}

// Without are the manifests of the checkpoints that lack something when these objects
// are gone.
func (c Checkpoints) Without(ctx context.Context, gone []string) ([]string, error) {
	var out, own []string
	for _, key := range gone {
		if run, ok := layout.RunOf(key); ok && run == c.Run {
			own = append(own, key)
		}
	}
	if len(own) == 0 {
		return nil, nil
	}
	for _, key := range own {
		if _, kind, _, _ := layout.InRun(key); kind == layout.Checkpoints {
			out = append(out, key)
		}
	}
	for m, err := range c.readable(ctx, 0) {
		if err != nil {
			return nil, err
		}
		key := m.Ref().Manifest
		for _, o := range m.Files {
			if slices.Contains(own, o.Key) && !slices.Contains(out, key) {
				out = append(out, key)
			}
		}
	}
	return out, nil
}
