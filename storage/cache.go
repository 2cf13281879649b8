package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"distilvit/internal/atomicfile"
	"distilvit/internal/filelock"
	"distilvit/storage/layout"
)

// Cache keeps verified copies of objects as local files, named by digest, and
// may be shared by processes. A file that Path handed out stays until Release
// or the end of the process, whatever the limit; of the others the least
// recently used go first when the limit is passed.
type Cache struct {
	dir      string
	maxBytes int64

	mu   sync.Mutex
	held map[string]*hold // by digest
}

// hold is a file in use by this process: a shared lock on its lock file.
type hold struct {
	lock  *flock.Flock
	count int
}

// NewCache keeps at most about maxBytes in dir, which is created when needed.
func NewCache(dir string, maxBytes int64) *Cache {
	return &Cache{dir: dir, maxBytes: maxBytes, held: map[string]*hold{}}
}

// Path is a local file with the object's bytes, fetched when it is not there yet
// and verified unless this process holds it: a copy that is broken is fetched
// again. Every Path is undone by one Release.
func (c *Cache) Path(ctx context.Context, s *Store, o layout.Object) (string, error) {
	if len(o.SHA256) != 64 || strings.Trim(o.SHA256, "0123456789abcdef") != "" {
		return "", fmt.Errorf("cache %s: %q is not a sha256 digest", o.Key, o.SHA256)
	}
	path := filepath.Join(c.dir, o.SHA256)
	if c.again(o.SHA256) {
		return path, nil
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return "", localError("cache", o.Key, err)
	}
	lock, err := filelock.Lock(ctx, path+lockSuffix, filelock.Shared)
	if err != nil {
		return "", localError("cache", o.Key, err)
	}
	fetched, err := c.ensure(ctx, s, o, path)
	if err != nil {
		lock.Close()
		return "", localError("cache", o.Key, err)
	}
	c.hold(o.SHA256, lock)
	if fetched {
		if err := c.trim(); err != nil {
			c.Release(o)
			return "", fmt.Errorf("trim cache %s: %w", c.dir, err)
		}
	}
	return path, nil
}

// Release undoes one Path per object.
func (c *Cache) Release(objects ...layout.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range objects {
		h, ok := c.held[o.SHA256]
		if !ok {
			continue
		}
		if h.count--; h.count == 0 {
			delete(c.held, o.SHA256)
			h.lock.Close()
		}
	}
}

// again counts one more use of a file that this process holds already.
func (c *Cache) again(digest string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.held[digest]
	if ok {
		h.count++
	}
	return ok
}

func (c *Cache) hold(digest string, lock *flock.Flock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.held[digest]; ok { // two of our goroutines came one after the other
		h.count++
		lock.Close()
		return
	}
	c.held[digest] = &hold{lock: lock, count: 1}
}

// ensure makes path hold the object, which nobody removes meanwhile. Of several
// processes that miss it, one fetches.
func (c *Cache) ensure(
	ctx context.Context, s *Store, o layout.Object, path string,
) (fetched bool, err error) {
	if sound, err := used(path, o); sound || err != nil {
		return false, err
	}
	lock, err := filelock.Lock(ctx, path+fetchSuffix, filelock.Exclusive)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	defer os.Remove(lock.Path())
	if sound, err := used(path, o); sound || err != nil { // another process was faster
		return false, err
	}
	return true, s.Fetch(ctx, o, path)
}

// used reports whether path has the object's bytes, and marks it as used last.
func used(path string, o layout.Object) (bool, error) {
	sound, err := Holds(path, o)
	if !sound || err != nil {
		return false, err
	}
	now := time.Now()
	return os.Chtimes(path, now, now) == nil, nil
}

// trim removes files nobody holds, the least recently used first, until the
// limit is kept, and what fetches of dead processes left.
func (c *Cache) trim() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	var total int64
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(entry.Name(), lockSuffix) ||
			strings.HasSuffix(entry.Name(), fetchSuffix) {
			continue
		}
		if err != nil {
			return err
		}
		files = append(files, info)
		total += info.Size()
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Compare(a.ModTime().UnixNano(), b.ModTime().UnixNano())
	})
	for _, info := range files {
		lock := info.Name() + lockSuffix
		digest, _, partial := strings.Cut(info.Name(), atomicfile.Partial)
		if partial {
			lock = digest + fetchSuffix
		} else if total <= c.maxBytes {
			continue
		}
		removed, err := c.removeUnused(info.Name(), lock)
		if err != nil {
			return err
		}
		if removed {
			total -= info.Size()
		}
	}
	return nil
}

// removeUnused removes a file unless somebody has its lock.
func (c *Cache) removeUnused(name, lockName string) (bool, error) {
	lock, err := filelock.Try(filepath.Join(c.dir, lockName), filelock.Exclusive)
	if lock == nil {
		return false, err
	}
	defer lock.Close()
	defer os.Remove(lock.Path())
	if err := os.Remove(filepath.Join(c.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}

// A file is locked shared by those who use it and exclusively by who removes
// it; a second lock is held by who fetches it. Lock files are removed only
// under an exclusive lock.
const (
	lockSuffix  = ".lock"
	fetchSuffix = ".fetch"
)
