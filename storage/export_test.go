package storage

import (
	"context"
	"time"
)

// TestPartBytes is the smallest part S3 allows.
const TestPartBytes = 5 << 20

// Test makes a download quick: small parts, and waits that only are noted.
func (o DownloadOptions) Test(waited func(time.Duration)) DownloadOptions {
	o.partSize = TestPartBytes
	o.pause = func(ctx context.Context, d time.Duration) error {
		if waited != nil {
			waited(d)
		}
		return ctx.Err()
	}
	return o
}

// IncompleteUploads counts the multipart uploads that were neither completed nor dropped.
func (s *Store) IncompleteUploads(ctx context.Context) (n int, err error) {
	for _, err := range s.Uploads(ctx) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// DropUploads drops those that are older, and says how many.
func (s *Store) DropUploads(ctx context.Context, olderThan time.Duration) (n int, err error) {
	for u, err := range s.Uploads(ctx) {
		if err != nil {
			return n, err
		}
		if time.Since(u.Begun) < olderThan {
			continue
		}
		if err := s.DropUpload(ctx, u); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
