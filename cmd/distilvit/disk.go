package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// freeBytes is the free space where path is or will be.
func freeBytes(path string) (int64, error) {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			break
		}
		path = filepath.Dir(path)
	}
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
	return fmt.Sprintf("no space left for %s: free some, then the same command goes on from the newest checkpoint", e.data)
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
