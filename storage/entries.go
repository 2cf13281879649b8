package storage

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// Entry is an object with its age, or, where a listing stops at them, a folder.
type Entry struct {
	Key      string // of a folder with a slash at its end
	Size     int64  // bytes; 0 of a folder
	Modified time.Time
}

// Folder tells an entry that stands for all objects below its key.
func (e Entry) Folder() bool { return strings.HasSuffix(e.Key, "/") }

// Entries yields every object below prefix in the order of their keys, with
// the time it was stored.
func (s *Store) Entries(ctx context.Context, prefix string) iter.Seq2[Entry, error] {
	return s.entries(ctx, minio.ListObjectsOptions{Prefix: prefix, Recursive: true})
}

// Folders yields the folders that stand directly below prefix, which ends with
// a slash, and come after the folder `after`; "" is the beginning.
func (s *Store) Folders(ctx context.Context, prefix, after string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range s.entries(ctx, minio.ListObjectsOptions{Prefix: prefix, StartAfter: after}) {
			// servers differ in whether they repeat `after`
			if err == nil && (!e.Folder() || e.Key <= after) {
				continue
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (s *Store) entries(ctx context.Context, options minio.ListObjectsOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for info := range s.core.ListObjectsIter(ctx, s.config.Bucket, options) {
			if info.Err != nil {
				yield(Entry{}, s.wrap(ctx, "list", options.Prefix, info.Err))
				return
			}
			if !yield(Entry{Key: info.Key, Size: info.Size, Modified: info.LastModified}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(Entry{}, s.wrap(ctx, "list", options.Prefix, err))
		}
	}
}

// Upload is a multipart upload that is neither completed nor aborted.
type Upload struct {
	Key   string
	Begun time.Time
	id    string
}

// Uploads yields those of the whole bucket: MinIO does not look for them below a prefix.
func (s *Store) Uploads(ctx context.Context) iter.Seq2[Upload, error] {
	return func(yield func(Upload, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for u := range s.core.ListIncompleteUploads(ctx, s.config.Bucket, "", true) {
			if u.Err != nil {
				yield(Upload{}, s.wrap(ctx, "list uploads", "", u.Err))
				return
			}
			if !yield(Upload{Key: u.Key, Begun: u.Initiated, id: u.UploadID}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(Upload{}, s.wrap(ctx, "list uploads", "", err))
		}
	}
}

// DropUpload frees what an upload occupies.
func (s *Store) DropUpload(ctx context.Context, u Upload) error {
	return s.abort(ctx, u.Key, u.id)
}
