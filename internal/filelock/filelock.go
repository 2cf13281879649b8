// Package filelock locks files that whoever unlocks them may remove: huggingface_hub does with those of its
// cache, and storage.Cache so that lock files do not pile up. The lock of a removed file guards nothing, so a
// lock counts only while its file has its name. The locks are flock's, which end with their process.
package filelock

import (
	"context"
	"io/fs"
	"os"
	"time"

	"github.com/gofrs/flock"

	"distilvit/internal/retry"
)

// Kind of lock.
type Kind bool

// A shared lock keeps exclusive ones away, an exclusive lock all others.
const (
	Shared    Kind = false
	Exclusive Kind = true
)

// poll is how often a lock that somebody else has is tried: waiting for flock could not be interrupted.
const poll = 20 * time.Millisecond

// Lock waits for a lock of a file, which is created when needed. Close it to unlock.
func Lock(ctx context.Context, path string, kind Kind) (*flock.Flock, error) {
	for {
		l, err := Try(path, kind)
		if l != nil || err != nil {
			return l, err
		}
		if err := retry.Pause(ctx, poll); err != nil {
			return nil, err
		}
	}
}

// Try is Lock without waiting: nil where somebody else has the lock.
func Try(path string, kind Kind) (*flock.Flock, error) {
	l := flock.New(path, flock.SetPermissions(fs.FileMode(0o644)))
	try := l.TryRLock
	if kind == Exclusive {
		try = l.TryLock
	}
	locked, err := try()
	if locked && named(l) {
		return l, nil
	}
	l.Close()
	return nil, err
}

// named: the file that is locked still has its name.
func named(l *flock.Flock) bool {
	locked, err := l.Stat()
	if err != nil {
		return false
	}
	present, err := os.Stat(l.Path())
	return err == nil && os.SameFile(locked, present)
}
