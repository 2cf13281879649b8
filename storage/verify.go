package storage

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"distilvit/storage/layout"
)

// blame finds out whether an object that cannot be read is the server's failure
// or its own: MinIO finds flipped bits itself, and then answers that it is busy
// or breaks the connection, for ever. Where the server takes and gives back
// another object meanwhile, this one is ErrCorrupt.
func (s *Store) blame(ctx context.Context, key string, err error) error {
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, syscall.ECONNREFUSED) ||
		strings.HasPrefix(key, layout.CheckPrefix) {
		return err
	}
	if s.Check(ctx) != nil {
		return err
	}
	var known *Error
	detail := err.Error()
	if errors.As(err, &known) {
		detail = known.Detail
	}
	return s.fail("read", key, ErrCorrupt, "the server reads others but not this one: "+detail)
}

// Verify reads a stored object to its end: ErrCorrupt where its bytes are not
// what o, or else its metadata, says.
func (s *Store) Verify(ctx context.Context, o layout.Object) error {
	body, err := s.open(ctx, o)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, body, make([]byte, 1<<20))
	return err
}

// verified are the versions of objects that were read to their end by this
// process and found sound.
type verified struct {
	mu       sync.Mutex
	versions map[string]*verification
}

type verification struct {
	mu    sync.Mutex // held while it is read
	sound bool
}

func (v *verified) of(version string) *verification {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.versions == nil {
		v.versions = map[string]*verification{}
	}
	if v.versions[version] == nil {
		v.versions[version] = &verification{}
	}
	return v.versions[version]
}

// VerifiedReaderAt is ReaderAt of an object that this process reads to its end
// first, once for each version of it.
func (s *Store) VerifiedReaderAt(ctx context.Context, o layout.Object) (*Reader, error) {
	r, err := s.ReaderAt(ctx, o)
	if err != nil {
		return nil, err
	}
	v := s.verified.of(o.Key + " " + r.etag + " " + r.object.SHA256)
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.sound {
		if err := s.Verify(ctx, r.object); err != nil {
			r.Close()
			return nil, err
		}
		v.sound = true
	}
	return r, nil
}

// Holds tells whether a local file has exactly the object's bytes.
func Holds(path string, o layout.Object) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() != o.Size {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	found, err := read(f)
	return err == nil && found.SHA256 == o.SHA256, err
}
