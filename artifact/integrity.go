package artifact

import (
	"context"
	"errors"
	"slices"

	"distilvit/storage"
	"distilvit/storage/layout"
)

// BrokenKeys are the stored objects that an error says are broken or missing.
func BrokenKeys(err error) []string {
	var keys []string
	var look func(error)
	look = func(err error) {
		if e, ok := err.(*storage.Error); ok && e.Key != "" && Unreadable(e) {
			keys = append(keys, e.Key)
			return
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			look(e.Unwrap())
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				look(err)
			}
		}
	}
	look(err)
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Verify reads an object and compares it with the digest in its key or in its
// metadata; a document has to be JSON, too. storage.ErrCorrupt where it is not so.
func Verify(ctx context.Context, s *storage.Store, key string) error {
	o := layout.Object{Key: key}
	if digest, ok := layout.DigestOf(key); ok {
		there, err := s.Stat(ctx, key)
		if err != nil {
			return err
		}
		o.Size, o.SHA256 = there.Size, digest
	}
	if o.SHA256 == "" && layout.IsDocument(key) {
		var document any
		return s.GetJSON(ctx, key, &document)
	}
	return s.Verify(ctx, o)
}

// DropBroken reads an object once more and removes it if it is broken: what is there
// would be reused. The answer is nil where it is sound, and else what it is:
// storage.ErrCorrupt, removed, or storage.ErrNotFound.
func DropBroken(ctx context.Context, s *storage.Store, key string) error {
	err := Verify(ctx, s, key)
	if errors.Is(err, storage.ErrCorrupt) {
		if gone := s.Remove(ctx, key); gone != nil {
			return gone
		}
	}
	return err
}
