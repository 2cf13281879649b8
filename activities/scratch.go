package activities

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockSuffix names the lock file beside a scratch directory. It is locked by
// the process that uses the directory, so that a lock nobody holds marks what
// a killed process left.
const lockSuffix = ".lock"

// lockNew makes dir, locked.
func lockNew(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir+lockSuffix, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweep removes the directories below root whose process is gone.
func sweep(root string) {
	locks, _ := filepath.Glob(filepath.Join(root, "*"+lockSuffix))
	for _, name := range locks {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			os.RemoveAll(strings.TrimSuffix(name, lockSuffix))
			os.Remove(name)
		}
		f.Close()
	}
}
