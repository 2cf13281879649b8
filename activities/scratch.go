package activities

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"distilvit/internal/filelock"
)

// lockSuffix names the lock file beside a scratch directory. It is locked by
// the process that uses the directory, so that a lock nobody holds marks what
// a killed process left.
const lockSuffix = ".lock"

// lockNew makes dir, locked. Nobody else has the lock of a new name for longer than sweep needs.
func lockNew(dir string) (*flock.Flock, error) {
	l, err := filelock.Lock(context.Background(), dir+lockSuffix, filelock.Exclusive)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// sweep removes the directories below root whose process is gone.
func sweep(root string) {
	locks, _ := filepath.Glob(filepath.Join(root, "*"+lockSuffix))
	for _, name := range locks {
		l, err := filelock.Try(name, filelock.Exclusive)
		if err != nil || l == nil {
			continue
		}
		os.RemoveAll(strings.TrimSuffix(name, lockSuffix))
		os.Remove(name)
		l.Close()
	}
}
