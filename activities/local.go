package activities

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"distilvit/artifact/record"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// A worker keeps the newest checkpoint of each run that trains here beside the
// object store's copy, so that a fresh trainer does not wait for gigabytes that
// are on this machine already. It is only ever a copy: each use verifies it.

// localRoot holds a directory per run, named like the checkpoint's files.
func (a *Activities) localRoot() string { return filepath.Join(a.Dir, "checkpoints") }

func (a *Activities) localDir(run string) string { return filepath.Join(a.localRoot(), run) }

// keepLocal takes a stored checkpoint's directory over as the run's newest.
func (a *Activities) keepLocal(run, dir string) error {
	if err := os.MkdirAll(a.localRoot(), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(a.localDir(run)); err != nil {
		return err
	}
	return os.Rename(dir, a.localDir(run))
}

// local links a checkpoint's files into dir if this machine has them, byte for
// byte, and tells whether it does. The links outlive the original.
func (a *Activities) local(m record.CheckpointManifest, dir string) bool {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false
	}
	for name, o := range m.Files {
		path := filepath.Join(dir, name)
		if os.Link(filepath.Join(a.localDir(m.Run), name), path) != nil || !is(path, o) {
			os.RemoveAll(dir)
			return false
		}
	}
	return len(m.Files) > 0
}

// is tells whether a file has the object's bytes.
func is(path string, o layout.Object) bool {
	sound, err := storage.Holds(path, o)
	return sound && err == nil
}

// dropLocal forgets a run's local checkpoint, and those of runs that have not
// trained here for long.
func (a *Activities) dropLocal(run string) error {
	const forgotten = 14 * 24 * time.Hour
	entries, err := os.ReadDir(a.localRoot())
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("local checkpoints: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if e.Name() == run || err == nil && time.Since(info.ModTime()) > forgotten {
			if err := os.RemoveAll(filepath.Join(a.localRoot(), e.Name())); err != nil {
				return fmt.Errorf("local checkpoints: %w", err)
			}
		}
	}
	return nil
}
