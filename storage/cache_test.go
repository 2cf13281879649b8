package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/storage"
	"distilvit/storage/layout"
)

func TestCacheFetchesOnceForAll(t *testing.T) {
	s := open(t, s3test.Start(t))
	content := noise(10, 1<<20)
	o, err := s.PutBytes(t.Context(), "key", content)
	if err != nil {
		t.Fatal(err)
	}
	through, p := behind(t, s)
	dir := filepath.Join(t.TempDir(), "cache")
	// as two processes have them
	caches := []*storage.Cache{storage.NewCache(dir, 1<<30), storage.NewCache(dir, 1<<30)}
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			path, err := caches[i%2].Path(t.Context(), through, o)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s: %v", path, err)
			}
		})
	}
	group.Wait()
	if p.gets.Load() != 1 {
		t.Errorf("fetched %d times", p.gets.Load())
	}
	path, _ := caches[0].Path(t.Context(), through, o)
	caches[0] = storage.NewCache(dir, 1<<30)
	if again, err := caches[0].Path(t.Context(), through, o); err != nil || again != path ||
		p.gets.Load() != 1 {
		t.Errorf("a later process: %s, %v, fetched %d times", again, err, p.gets.Load())
	}
}

func TestCacheTrimsWhatIsUnusedLongest(t *testing.T) {
	s := open(t, s3test.Start(t))
	dir := t.TempDir()
	var objects []layout.Object
	for i := range 5 {
		o, err := s.PutBytes(t.Context(), fmt.Sprint(i), noise(uint64(20+i), 1000))
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	ours, other := storage.NewCache(dir, 3000), storage.NewCache(dir, 3000)
	path := func(c *storage.Cache, i int) {
		t.Helper()
		if _, err := c.Path(t.Context(), s, objects[i]); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(time.Duration(i-100) * time.Minute)
		if err := os.Chtimes(filepath.Join(dir, objects[i].SHA256), old, old); err != nil {
			t.Fatal(err)
		}
	}
	has := func(wanted ...int) {
		t.Helper()
		entries, _ := os.ReadDir(dir)
		present := 0
		for _, entry := range entries {
			if filepath.Ext(entry.Name()) == "" {
				present++
			}
		}
		for _, i := range wanted {
			if _, err := os.Stat(filepath.Join(dir, objects[i].SHA256)); err != nil {
				t.Errorf("%d is gone", i)
			}
		}
		if present != len(wanted) {
			t.Errorf("%d files, want %v", present, wanted)
		}
	}
	stale := filepath.Join(dir, objects[4].SHA256+".part123") // of a process that was killed
	os.WriteFile(stale, nil, 0o600)
	path(ours, 0)
	path(other, 1)
	path(ours, 2)
	ours.Release(objects[2])
	has(0, 1, 2)
	path(ours, 3) // 0 and 1 are older than 2, but in use
	has(0, 1, 3)
	ours.Release(objects[0], objects[3])
	path(other, 4)
	has(1, 3, 4)
	if _, err := os.Stat(stale); err == nil {
		t.Error("the stale part is still there")
	}
	if _, err := ours.Path(t.Context(), s, layout.Object{Key: "x", SHA256: "../../etc"}); err == nil {
		t.Error("a digest that is none was accepted")
	}
}

func TestCacheNeverKeepsCorruptBytes(t *testing.T) {
	s := open(t, s3test.Start(t))
	content := noise(11, 1000)
	o, err := s.PutBytes(t.Context(), "key", content)
	if err != nil {
		t.Fatal(err)
	}
	through, p := behind(t, s)
	dir := t.TempDir()
	c := storage.NewCache(dir, 1<<20)
	p.flip.Store(true)
	if _, err := c.Path(t.Context(), through, o); !errors.Is(err, storage.ErrCorrupt) {
		t.Fatal(err)
	}
	p.flip.Store(false)
	// A file of another size, as a power cut may leave it, is fetched again.
	os.WriteFile(filepath.Join(dir, o.SHA256), content[:500], 0o600)
	path, err := c.Path(t.Context(), through, o)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, content) {
		t.Error("other bytes in the cache")
	}
}
