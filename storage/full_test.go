package storage_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/storage"
)

// smallDisk is a file system of 24 MiB; only root may make one.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestFullDisksAreToldFromOtherFailures(t *testing.T) {
	disk := smallDisk(t)
	s := open(t, s3test.StartIn(t, filepath.Join(disk, "s3")))
	kept, err := s.PutBytes(t.Context(), "kept", noise(50, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"single": 16 << 20, "multipart": 40 << 20} {
		for range 2 { // the first may fit
			_, err = s.PutBytes(t.Context(), name, noise(51, size))
			if err == nil {
				_, err = s.PutBytes(t.Context(), name+"2", noise(51, size))
			}
		}
		oneLiner(t, err, name, s.Config().Endpoint, "no space left")
		if !errors.Is(err, storage.ErrFull) {
			t.Errorf("kind of %v", err)
		}
	}
	want(t, s, kept, noise(50, 1<<20))
	// Parts that were under way when their upload was dropped may be left.
	if _, err := s.DropUploads(t.Context(), -time.Hour); err != nil {
		t.Error(err)
	}
	noUploads(t, s)

	// The local disk is full, the store is not.
	other := open(t, s3test.Start(t))
	big, err := other.PutBytes(t.Context(), "big", bytes.Repeat([]byte("x"), 30<<20))
	if err != nil {
		t.Fatal(err)
	}
	err = other.Fetch(t.Context(), big, filepath.Join(disk, "file"))
	oneLiner(t, err, "big", "no space left", disk)
	if !errors.Is(err, storage.ErrFull) {
		t.Errorf("kind of %v", err)
	}
	if _, err := storage.NewCache(filepath.Join(disk, "cache"), 1<<30).Path(t.Context(), other,
		big); !errors.Is(err, storage.ErrFull) {
		t.Errorf("cache: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(disk, "*", "*.part*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if _, err := os.Stat(filepath.Join(disk, "file")); err == nil {
		t.Error("an incomplete file is there")
	}
}
