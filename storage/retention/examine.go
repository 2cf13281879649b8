package retention

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"distilvit/artifact/record"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// sweeper looks at groups with one rule for what is too young to be removed.
type sweeper struct {
	*storage.Store
	Options
	notes []string
}

// Options of a sweep.
type Options struct {
	DryRun bool          // nothing is written or removed
	Grace  time.Duration // younger objects are left alone
	// Open tells whether a run's workflow is open at this moment.
	Open func(ctx context.Context, run string) (bool, error)
	Told Told // hears whom the sweep waits for; may be nil
}

// old: without grace everything is, whatever the server's clock says.
func (s *sweeper) old(e storage.Entry) bool { return s.Grace <= 0 || age(e.Modified) >= s.Grace }

// now is the time of day, which may jump: what rests on it is only how long something unused is kept.
var now = time.Now

func age(stored time.Time) time.Duration { return now().Sub(stored) }

func (s *sweeper) note(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); !slices.Contains(s.notes, line) {
		s.notes = append(s.notes, line)
	}
}

// examine lists what of a group may be removed, in the order in which it is.
func (s *sweeper) examine(ctx context.Context, m *marks, group string) ([]storage.Entry, error) {
	if run, ok := layout.RunOf(group); ok {
		return s.examineRun(ctx, m, run)
	}
	if layout.AreaOf(group) == layout.Models {
		return s.examineModel(ctx, group)
	}
	if m.groups[group] {
		return nil, nil
	}
	entries, err := s.whole(ctx, group)
	if len(entries) > 0 && len(m.doubts) > 0 {
		for _, doubt := range m.doubts {
			s.note("%s", doubt)
		}
		return nil, err
	}
	return entries, err
}

// wholeObjects is how many objects of a group are listed at once: a prepared dataset may have any number.
var wholeObjects = pageObjects

// whole is all of a group, or nothing where some of it is young: somebody may be writing it. Manifests come first and
// references last: what is interrupted in the middle looks unfinished, not whole with parts missing. Of a group of
// wholeObjects or more it is those that go first; once they are removed the others are found.
func (s *sweeper) whole(ctx context.Context, group string) ([]storage.Entry, error) {
	var ranks [3][]storage.Entry
	for e, err := range s.Entries(ctx, group+"/") {
		if err != nil {
			return nil, err
		}
		if !s.old(e) {
			return nil, nil
		}
		if r := rank(e); r != 1 || len(ranks[1]) < wholeObjects {
			ranks[r] = append(ranks[r], e)
		}
	}
	if len(ranks[1]) == wholeObjects {
		ranks[2] = nil
	}
	return slices.Concat(ranks[:]...), nil
}

// rank is when an object is removed of those of a group.
func rank(e storage.Entry) int {
	_, kind, _, _ := layout.InRun(e.Key)
	switch {
	case path.Base(e.Key) == layout.ManifestFile, kind == layout.Progress, kind == layout.Exports:
		return 0
	case kind == layout.Refs:
		return 2
	}
	return 1
}

// examineModel finds the files of a publication that never came to its manifest.
func (s *sweeper) examineModel(ctx context.Context, group string) ([]storage.Entry, error) {
	if m, ok := layout.ParseModel(group); ok {
		open, err := s.Open(ctx, m.Run)
		if open || err != nil {
			return nil, err
		}
	}
	_, err := s.Stat(ctx, layout.Manifest(group))
	if !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	return s.whole(ctx, group)
}

// runState is what a run's documents say.
type runState struct {
	entries     []storage.Entry
	blobs       []storage.Entry
	checkpoints []storage.Entry
	logs        []storage.Entry // of trainers that failed
	documents   []storage.Entry // JSON other than references
	progress    string          // key of the newest
}

func (s *sweeper) readRun(ctx context.Context, run layout.Run) (*runState, error) {
	r := &runState{}
	for e, err := range s.Entries(ctx, run.Group()+"/") {
		if err != nil {
			return nil, err
		}
		r.entries = append(r.entries, e)
		_, kind, rest, _ := layout.InRun(e.Key)
		switch {
		case kind == layout.Blobs:
			r.blobs = append(r.blobs, e)
		case kind == layout.Logs:
			r.logs = append(r.logs, e)
		case kind == layout.Refs, kind == layout.Predictions, !layout.IsDocument(e.Key):
		case kind == layout.Checkpoints && path.Base(rest) == layout.ManifestFile:
			r.checkpoints = append(r.checkpoints, e)
			r.documents = append(r.documents, e)
		default:
			if kind == layout.Progress {
				r.progress = max(r.progress, e.Key)
			}
			r.documents = append(r.documents, e)
		}
	}
	return r, nil
}

// examineRun finds, of a run that is not open, blobs that no manifest names, and
// what a run which published no longer needs.
func (s *sweeper) examineRun(ctx context.Context, m *marks, run layout.Run) ([]storage.Entry, error) {
	open, err := s.Open(ctx, string(run))
	if open || err != nil {
		return nil, err
	}
	r, err := s.readRun(ctx, run)
	if err != nil || len(r.blobs) == 0 {
		return nil, err
	}
	remove, err := s.superseded(ctx, r, m.published[run])
	if err != nil {
		return nil, s.flawed(run, err)
	}
	gone := map[string]bool{}
	for _, e := range remove {
		gone[e.Key] = true
	}
	named := map[string]bool{}
	for _, e := range r.documents {
		if gone[e.Key] {
			continue
		}
		var any any
		tree, err := readDocument(ctx, s.Store, e.Key, &any)
		if err != nil {
			return nil, s.flawed(run, err)
		}
		for key := range keysIn(tree) {
			named[key] = true
		}
	}
	for _, e := range r.blobs {
		if !named[e.Key] && s.old(e) {
			remove = append(remove, e)
		}
	}
	return remove, nil
}

// flawed leaves a run alone one of whose manifests cannot be read.
func (s *sweeper) flawed(run layout.Run, err error) error {
	if errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrNotFound) {
		s.note("%v: nothing of run %s is removed", err, run)
		return nil
	}
	return err
}

// superseded are, of a run that published its newest branch, the manifests of all
// checkpoints but the best one, the last one and the branch's start: from them
// training could be extended, the others were only steps on the way. So were
// failures: the logs of trainers that died go, too.
func (s *sweeper) superseded(ctx context.Context, r *runState, published map[int]bool) ([]storage.Entry, error) {
	if r.progress == "" || len(published) == 0 {
		return nil, nil
	}
	var p record.Progress
	if _, err := readDocument(ctx, s.Store, r.progress, &p); err != nil {
		return nil, err
	}
	if !published[p.Branch] || p.Best == nil || p.Last == nil {
		return nil, nil
	}
	needed := []string{p.Best.Checkpoint.Manifest, p.Last.Manifest}
	there := func(key string) bool {
		return slices.ContainsFunc(r.checkpoints, func(e storage.Entry) bool { return e.Key == key })
	}
	if !there(needed[0]) || !there(needed[1]) {
		return nil, nil // something is wrong: the others may be all there is
	}
	if p.From != nil {
		needed = append(needed, p.From.Manifest)
	}
	var out []storage.Entry
	for _, e := range append(r.checkpoints, r.logs...) {
		if !slices.Contains(needed, e.Key) && s.old(e) {
			out = append(out, e)
		}
	}
	return out, nil
}
