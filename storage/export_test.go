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
	for upload := range s.core.ListIncompleteUploads(ctx, s.config.Bucket, "", true) {
		if upload.Err != nil {
			return n, upload.Err
		}
		n++
	}
	return n, nil
}
