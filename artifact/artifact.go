// Package artifact reads, writes and verifies what lies in the bucket: prepared
// datasets and their tokens, a run's checkpoints, progress and exports, model
// directories and published models. The types of their documents are in record,
// the keys in storage/layout. It knows neither Temporal nor the config: whoever
// calls it says what is to be stored, and gets errors to tell apart with errors.Is.
// Start reading at Complete, then checkpoints.go.
package artifact

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"distilvit/internal/digest"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// What is wrong with stored documents beside the storage's own errors.
var (
	// ErrUnfit: documents contradict each other, such as tokens of another dataset.
	ErrUnfit = errors.New("do not fit")
	// ErrOther: what is published already has other bytes than what was made now.
	ErrOther = errors.New("is published already with another")
	// ErrFileName: a document names a file outside of the directory that it describes.
	ErrFileName = errors.New("is no file name below a directory")
	// ErrNotPublished: there is no published model of this name or run.
	ErrNotPublished = errors.New("is not published")
)

// NotFound tells whether an object is not there.
func NotFound(err error) bool { return errors.Is(err, storage.ErrNotFound) }

// Unreadable tells whether an object is broken or not there, so that another one,
// such as an older checkpoint, may still be good.
func Unreadable(err error) bool { return errors.Is(err, storage.ErrCorrupt) || NotFound(err) }

// Digest is the SHA-256 of a value's canonical JSON: the key of what the value
// determines.
func Digest(v any) (string, error) {
	b, err := storage.Canonical(v)
	if err != nil {
		return "", err
	}
	return digest.Bytes(b), nil
}

// Complete tells whether every one of the files is in the store in full length.
func Complete(ctx context.Context, s *storage.Store, files map[string]layout.Object) (bool, error) {
	for _, o := range files {
		found, err := s.Stat(ctx, o.Key)
		if NotFound(err) || err == nil && found.Size != o.Size {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// Missing are the keys of those of the objects that are not below the group in full
// length. One listing finds them all.
func Missing(
	ctx context.Context, s *storage.Store, group string, objects []layout.Object,
) (map[string]bool, error) {
	sizes := map[string]int64{}
	for o, err := range s.List(ctx, group+"/") {
		if err != nil {
			return nil, err
		}
		sizes[o.Key] = o.Size
	}
	missing := map[string]bool{}
	for _, o := range objects {
		if size, ok := sizes[o.Key]; !ok || size != o.Size {
			missing[o.Key] = true
		}
	}
	return missing, nil
}

// Fetch brings files, by their slash-separated names, below a local directory. One
// that is there with the same bytes is not fetched again.
func Fetch(ctx context.Context, s *storage.Store, files map[string]layout.Object, dir string) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		o := files[name]
		local := filepath.FromSlash(name)
		if !filepath.IsLocal(local) {
			return fmt.Errorf("object %s: %q %w", o.Key, name, ErrFileName)
		}
		path := filepath.Join(dir, local)
		sound, err := storage.Holds(path, o)
		if sound || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := s.Fetch(ctx, o, path); err != nil {
			return err
		}
	}
	return nil
}

// PutBlob stores bytes below a group, named by their digest, unless they are there.
func PutBlob(ctx context.Context, s *storage.Store, below, ext string, b []byte) (layout.Object, error) {
	o := layout.Object{Size: int64(len(b)), SHA256: digest.Bytes(b)}
	o.Key = layout.Blob(below, o.SHA256, ext)
	if there, err := s.Stat(ctx, o.Key); err == nil && there.Size == o.Size {
		return o, nil
	}
	return s.PutBytes(ctx, o.Key, b)
}
