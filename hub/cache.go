package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"distilvit/internal/filelock"
)

// The cache is laid out as huggingface_hub does:
//
//	models--ORG--NAME/
//	  blobs/<etag>                 a file's bytes
//	  blobs/<etag>.incomplete      those that have come so far
//	  refs/<revision>              the commit a branch or tag stood for
//	  snapshots/<commit>/<file>    relative symbolic link to the blob
//	.locks/models--ORG--NAME/<etag>.lock
const (
	blobsDir     = "blobs"
	refsDir      = "refs"
	snapshotsDir = "snapshots"
	locksDir     = ".locks"
	incomplete   = ".incomplete"

	maxRefBytes = 1 << 10
)

// folder is a repository's directory in the cache.
func (r Repo) folder() string {
	return strings.Join(append([]string{r.Kind + "s"}, strings.Split(r.ID, "/")...), "--")
}

// cacheError says in one line what is wrong with the cache's directory.
func (c *Client) cacheError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf(
			"cache directory %s: %w: free some, or set HF_HUB_CACHE to another place", c.cache, err,
		)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cache directory %s: %w: set HF_HUB_CACHE to one that can be written", c.cache, err)
	}
	return fmt.Errorf("cache directory %s: %w", c.cache, err)
}

// cached answers from the cache alone.
func (c *Client) cached(r Repo, choose Select) (*Snapshot, error) {
	commit, sizes, err := c.look(r)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, c.cacheError(err)
	}
	if err != nil {
		return nil, fmt.Errorf(
			"the cache %s does not hold it and HF_HUB_OFFLINE is set: fetch it once without", c.cache,
		)
	}
	l := &listing{commit: commit, sizes: sizes}
	files, err := choose(l.names())
	if err != nil {
		return nil, fmt.Errorf(
			"the cache %s holds only a part of it (%w) and HF_HUB_OFFLINE is set: fetch it once without",
			c.cache, err,
		)
	}
	return &Snapshot{
		Dir: filepath.Join(c.cache, r.folder(), snapshotsDir, commit), Commit: commit, Files: files,
	}, nil
}

// orOffline adds to a failure to reach the hub that the cache would do.
func (c *Client) orOffline(r Repo, err error) error {
	if !errors.Is(err, ErrUnavailable) {
		return err
	}
	if commit, _, miss := c.look(r); miss == nil {
		return fmt.Errorf("%w; the cache has commit %.12s of it, which HF_HUB_OFFLINE=1 uses", err, commit)
	}
	return err
}

// look finds the commit a revision stood for when it was fetched, and the
// files of it that are there.
func (c *Client) look(r Repo) (commit string, sizes map[string]int64, err error) {
	root, err := os.OpenRoot(filepath.Join(c.cache, r.folder()))
	if err != nil {
		return "", nil, err
	}
	defer root.Close()
	if commit = r.Revision; !r.Pinned() {
		if commit, err = readRef(root, r.Revision); err != nil {
			return "", nil, err
		}
	}
	dir, sizes := path.Join(snapshotsDir, commit), map[string]int64{}
	err = fs.WalkDir(root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		// What a link leads to counts; one that leads nowhere is no file.
		if info, err := root.Stat(name); err == nil && info.Mode().IsRegular() {
			sizes[strings.TrimPrefix(name, dir+"/")] = info.Size()
		}
		return nil
	})
	return commit, sizes, err
}

func readRef(root *os.Root, revision string) (string, error) {
	name := path.Join(refsDir, revision)
	info, err := root.Stat(name)
	if err != nil {
		return "", err
	}
	if info.Size() > maxRefBytes {
		return "", fmt.Errorf("%s has %d bytes", name, info.Size())
	}
	raw, err := root.ReadFile(name)
	if err != nil {
		return "", err
	}
	commit := strings.TrimSpace(string(raw))
	if !commitPattern.MatchString(commit) {
		return "", fmt.Errorf("%s holds no commit", name)
	}
	return commit, nil
}

// fetch is a repository's directory while files of one commit come into it.
// All access goes through root: no name and no link leads out of it.
type fetch struct {
	client   *Client
	repo     Repo
	commit   string
	sizes    map[string]int64
	root     *os.Root
	progress func(file string, bytes int64) // of this file
	counted  func(bytes int64)              // the file is all here
}

// open makes the repository's directory.
func (c *Client) open(r Repo, l *listing) (*fetch, error) {
	dir := filepath.Join(c.cache, r.folder())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, c.cacheError(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, c.cacheError(err)
	}
	return &fetch{client: c, repo: r, commit: l.commit, sizes: l.sizes, root: root}, nil
}

func (f *fetch) close() { f.root.Close() }

func (f *fetch) snapshotDir() string {
	return filepath.Join(f.root.Name(), snapshotsDir, f.commit)
}

// count makes one count of all files' bytes out of each file's.
func (f *fetch) count(files []string, progress Progress) {
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	var done, total int64
	for _, name := range files {
		if f.sizes[name] < 0 {
			total = 0
			break
		}
		total += f.sizes[name]
	}
	f.progress = func(file string, bytes int64) { progress(file, done+bytes, total) }
	f.counted = func(bytes int64) { done += bytes }
}

// writeRef notes which commit a branch or tag stands for.
func (f *fetch) writeRef(revision string) error {
	if revision == f.commit {
		return nil
	}
	if had, err := readRef(f.root, revision); err == nil && had == f.commit {
		return nil // a cache that is only read stays usable
	}
	name := path.Join(refsDir, revision)
	if err := f.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return f.client.cacheError(err)
	}
	temporary := name + "." + f.commit + incomplete
	if err := f.root.WriteFile(temporary, []byte(f.commit), 0o644); err != nil {
		return f.client.cacheError(err)
	}
	if err := f.root.Rename(temporary, name); err != nil {
		return f.client.cacheError(err)
	}
	return nil
}

// link makes a file of the snapshot point to its blob.
func (f *fetch) link(name, etag string) error {
	pointer := path.Join(snapshotsDir, f.commit, name)
	if err := f.root.MkdirAll(path.Dir(pointer), 0o755); err != nil {
		return f.client.cacheError(err)
	}
	target := strings.Repeat("../", strings.Count(pointer, "/")) + path.Join(blobsDir, etag)
	if had, err := f.root.Readlink(pointer); err == nil && had == target {
		return nil
	}
	if err := f.root.Remove(pointer); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.client.cacheError(err)
	}
	if err := f.root.Symlink(target, pointer); err != nil {
		return f.client.cacheError(err)
	}
	return nil
}

// lock keeps other processes, huggingface_hub's too, from fetching the same blob.
func (f *fetch) lock(ctx context.Context, etag string) (unlock func(), err error) {
	name := filepath.Join(f.client.cache, locksDir, f.repo.folder(), etag+".lock")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, f.client.cacheError(err)
	}
	l, err := filelock.Lock(ctx, name, filelock.Exclusive)
	if err != nil && ctx.Err() == nil {
		err = f.client.cacheError(err)
	}
	if err != nil {
		return nil, err
	}
	return func() { l.Close() }, nil
}
