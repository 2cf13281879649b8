package artifact

import (
	"context"
	"os"
	"path/filepath"

	"distilvit/artifact/record"
	"distilvit/internal/digest"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// PutModelDir stores every file of a local model directory, and with them objects
// that are stored already, as one model directory named by what is in it. adopt is
// called with the group's name before anything is written to it.
func PutModelDir(
	ctx context.Context, s *storage.Store, dir string, stored map[string]layout.Object,
	adopt func(group string) error,
) (record.ModelRef, error) {
	ref := record.ModelRef{Files: map[string]layout.Object{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ref, err
	}
	digests := map[string]string{}
	for name, o := range stored {
		ref.Files[name], digests[name] = o, o.SHA256
	}
	for _, e := range entries {
		if digests[e.Name()], _, err = digest.File(filepath.Join(dir, e.Name())); err != nil {
			return ref, err
		}
	}
	if ref.Digest, err = Digest(digests); err != nil {
		return ref, err
	}
	group := layout.ModelDir(ref.Digest)
	if err := adopt(group); err != nil {
		return ref, err
	}
	for _, e := range entries {
		o, err := s.PutFile(ctx, layout.File(group, e.Name()), filepath.Join(dir, e.Name()))
		if err != nil {
			return ref, err
		}
		ref.Files[e.Name()] = o
	}
	return ref, nil
}
