package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nearest is path, or the nearest directory above it that is there.
func nearest(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// writable says why this user cannot make files in a directory, or the directory itself; it changes nothing.
func writable(dir string) error {
	at := nearest(dir)
	if info, err := os.Stat(at); err == nil && !info.IsDir() {
		return fmt.Errorf("%s is not a directory", at)
	}
	if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s cannot be written to: %w", at, err)
	}
	return nil
}

// freeBytes is the free space where path is or will be.
func freeBytes(path string) (int64, error) {
	path = nearest(path)
	var stat syscall.Statfs_t
	if err := syscall.Statfs(path, &stat); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}

const (
	// fullBytes is the free space below which the embedded stack cannot go on:
	// Temporal's database needs it for every step of a run.
	fullBytes    = 1 << 20
	diskInterval = time.Second
	diskLooks    = 5 // in a row: a file may be on its way out
)

// noSpaceError ends a run whose stack's disk is full.
type noSpaceError struct{ data string }

func (e *noSpaceError) Error() string {
	return fmt.Sprintf(
		"no space left for %s: free some, then the same command goes on from the newest checkpoint", e.data,
	)
}

// watch returns what keeps the embedded stack of this process from going on: its
// disk is full, or its S3 server cannot be kept running. It returns nil when ctx ends.
func (s *site) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	full := make(chan error, 1)
	go func() { full <- watchDisk(ctx, s.data) }()
	select {
	case err := <-full:
		return err
	case err := <-s.hosted.Failed():
		return err
	}
}

// watchDisk returns when the data directory's disk is full, or ctx ends.
func watchDisk(ctx context.Context, data string) error {
	tick := time.NewTicker(diskInterval)
	defer tick.Stop()
	for looks := 0; looks < diskLooks; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if free, err := freeBytes(data); err == nil && free < fullBytes {
			looks++
		} else {
			looks = 0
		}
	}
	return &noSpaceError{data}
}
