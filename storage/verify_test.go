package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// onEachDisk is onEachServer for tests that change what the server has stored.
func onEachDisk(t *testing.T, test func(t *testing.T, s *storage.Store, flip func(key string))) {
	for name, start := range map[string]func(testing.TB) *s3test.Server{
		"embedded": s3test.Start, "minio": s3test.MinIO,
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			s := open(t, server)
			test(t, s, func(key string) { server.FlipBit(t, s.Config().Bucket, key) })
		})
	}
}

func TestFlippedBitIsCorruptHoweverItIsRead(t *testing.T) {
	onEachDisk(t, func(t *testing.T, s *storage.Store, flip func(string)) {
		for _, size := range []int{300, 200_000, 3 << 20} { // MinIO stores them in three ways
			o, err := s.PutBytes(t.Context(), fmt.Sprint("size/", size), noise(60, size))
			if err != nil {
				t.Fatal(err)
			}
			flip(o.Key)
			_, err = s.GetBytes(t.Context(), o)
			wantCorrupt(t, err, o.Key)
			wantCorrupt(t, s.Fetch(t.Context(), o, filepath.Join(t.TempDir(), "file")), o.Key)
			wantCorrupt(t, s.Verify(t.Context(), layout.Object{Key: o.Key}), o.Key)
			_, err = s.VerifiedReaderAt(t.Context(), o)
			wantCorrupt(t, err, o.Key)
			if err := s.Remove(t.Context(), o.Key); err != nil {
				t.Error(err)
			}
			again, err := s.PutBytes(t.Context(), o.Key, noise(60, size))
			if err != nil {
				t.Fatal(err)
			}
			want(t, s, again, noise(60, size))
			r, err := s.VerifiedReaderAt(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
		}
	})
}

func wantCorrupt(t *testing.T, err error, key string) {
	t.Helper()
	if !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("%s: %v", key, err)
	}
	oneLiner(t, err, key)
}

func TestBrokenCopyInTheCacheIsFetchedAgain(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		content := noise(61, 100_000)
		o, err := s.PutBytes(t.Context(), "shard", content)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		path, err := storage.NewCache(dir, 1<<30).Path(t.Context(), s, o)
		if err != nil {
			t.Fatal(err)
		}
		broken := bytes.Clone(content)
		broken[50_000] ^= 1
		if err := os.WriteFile(path, broken, 0o644); err != nil {
			t.Fatal(err)
		}
		c := storage.NewCache(dir, 1<<30) // another process
		for range 2 {
			path, err := c.Path(t.Context(), s, o)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("the copy is still broken, %v", err)
			}
			c.Release(o)
		}
	})
}

// An object that a folder has replaced is missing, and can be stored again, and so is one whose folder a file has
// replaced; what stood there is kept, unless it was nothing. Nobody else may read objects.
func TestObjectReplacedByAFolderIsStoredAgain(t *testing.T) {
	server := s3test.Start(t)
	s := open(t, server)
	content := []byte("content")
	bucket := s.Config().Bucket
	for key, replace := range map[string]func(key string){
		"a/b": func(key string) {
			if mode := server.ReplaceByFolder(t, bucket, key); mode.Perm()&0o077 != 0 {
				t.Errorf("the object's file has mode %v", mode)
			}
		},
		"c/d":       func(key string) { server.ReplaceByFolder(t, bucket, key, "notes.txt", "more.txt") },
		"e/f/g/h.i": func(string) { server.ReplaceByFile(t, bucket, "e/f") },
	} {
		object, err := s.PutBytes(t.Context(), key, content)
		if err != nil {
			t.Fatal(err)
		}
		replace(key)
		if _, err := s.GetBytes(t.Context(), object); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("read %s: %v", key, err)
		}
		again, err := s.PutBytes(t.Context(), object.Key, content)
		if err != nil {
			t.Errorf("store %s again: %v", key, err)
			continue
		}
		want(t, s, again, content)
	}
	aside := server.Aside(t)
	slices.Sort(aside)
	if !slices.Equal(aside, []string{"f", "more.txt", "notes.txt"}) {
		t.Errorf("laid aside: %q", aside)
	}

	// Objects are never laid aside, and what is refused for them is said.
	within, err := s.PutBytes(t.Context(), "c/e/object", content)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutBytes(t.Context(), "c/e", content); err == nil || !strings.Contains(err.Error(), "c/e") {
		t.Errorf("an object in a folder's place: %v", err)
	}
	if _, err := s.PutBytes(t.Context(), "c/e/object/under", content); err == nil {
		t.Error("an object under an object")
	}
	want(t, s, within, content)
}
