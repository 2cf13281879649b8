package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"

	"distilvit/internal/atomicfile"
	"distilvit/internal/digest"
	"distilvit/internal/retry"
	"distilvit/storage/layout"
)

// Get reads a stored object from its beginning. A connection that breaks is
// taken up where it broke; reading to the end verifies size and digest, and a
// difference is ErrCorrupt in place of io.EOF.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, layout.Object, error) {
	body, err := s.open(ctx, layout.Object{Key: key})
	if err != nil {
		return nil, layout.Object{}, err
	}
	return body, body.object, nil
}

// GetBytes reads a whole object into memory and verifies it.
func (s *Store) GetBytes(ctx context.Context, o layout.Object) ([]byte, error) {
	return s.readAll(ctx, o)
}

// Fetch writes an object to a local file, which appears only when it is complete, verified and on
// the disk. Its mode is 0644: a web server may hand out a model as it was fetched.
func (s *Store) Fetch(ctx context.Context, o layout.Object, path string) error {
	body, err := s.open(ctx, o)
	if err != nil {
		return err
	}
	defer body.Close()
	err = atomicfile.Write(path, 0o644, func(w io.Writer) error {
		_, err := io.Copy(w, body)
		return err
	})
	if err != nil {
		return localError("fetch", o.Key, err)
	}
	return nil
}

// localError tells a full local disk, which is ErrFull too; errors of the store pass.
func localError(op, key string, err error) error {
	var known *Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s %s: %w: %w", op, key, ErrFull, err)
	}
	return fmt.Errorf("%s %s: %w", op, key, err)
}

// body is an open object that verifies itself and reconnects.
type body struct {
	ctx    context.Context
	store  *Store
	object layout.Object // what it must be; without a digest only the size is verified
	etag   string
	size   int64
	stream io.ReadCloser
	sum    *digest.Sum
	broken int // connections that broke since the last byte
}

const reconnects = 4

// open starts reading an object. What o leaves open (size 0 without a digest,
// no digest) is taken from what the server says.
func (s *Store) open(ctx context.Context, o layout.Object) (*body, error) {
	stream, info, _, err := s.core.GetObject(ctx, s.config.Bucket, o.Key, minio.GetObjectOptions{})
	if err != nil {
		return nil, s.blame(ctx, o.Key, s.wrap(ctx, "read", o.Key, err))
	}
	if err := s.compare(&o, info); err != nil {
		stream.Close()
		return nil, err
	}
	return &body{
		ctx: ctx, store: s, object: o, etag: info.ETag, size: info.Size, stream: stream, sum: digest.New(),
	}, nil
}

// compare completes o by what the server says and refuses what contradicts it.
func (s *Store) compare(o *layout.Object, info minio.ObjectInfo) error {
	stored := describe(o.Key, info)
	if o.SHA256 == "" {
		o.SHA256 = stored.SHA256
		if o.Size == 0 {
			o.Size = stored.Size
		}
	}
	if o.Size != stored.Size {
		return s.fail(
			"read", o.Key, ErrCorrupt, fmt.Sprintf("%d bytes are stored instead of %d", stored.Size, o.Size),
		)
	}
	if stored.SHA256 != "" && stored.SHA256 != o.SHA256 {
		return s.fail("read", o.Key, ErrCorrupt, fmt.Sprintf("sha256 %s is stored instead of %s",
			stored.SHA256, o.SHA256))
	}
	return nil
}

func (b *body) Read(p []byte) (int, error) {
	for {
		if b.sum.Size >= b.size {
			return 0, b.verify()
		}
		if b.stream == nil {
			if err := b.reconnect(); err != nil {
				return 0, err
			}
		}
		n, err := b.stream.Read(p)
		b.sum.Write(p[:n])
		if err != nil && b.sum.Size < b.size {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			if err := b.interrupted(err); err != nil {
				return n, err
			}
		}
		if n > 0 {
			b.broken = 0
			return n, nil
		}
	}
}

// verify ends the stream: io.EOF, or what is wrong with the bytes.
func (b *body) verify() error {
	if b.sum.Size > b.size {
		return b.store.fail("read", b.object.Key, ErrCorrupt, "more bytes came than are stored")
	}
	if got := b.sum.Hex(); b.object.SHA256 != "" && got != b.object.SHA256 {
		return b.store.fail(
			"read", b.object.Key, ErrCorrupt, fmt.Sprintf("sha256 is %s, expected %s", got, b.object.SHA256),
		)
	}
	return io.EOF
}

// interrupted drops a broken connection, and gives up when that happens too often.
func (b *body) interrupted(err error) error {
	b.stream.Close()
	b.stream = nil
	b.broken++
	if b.ctx.Err() != nil || b.broken > reconnects {
		return b.store.blame(b.ctx, b.object.Key, b.store.wrap(b.ctx, "read", b.object.Key, err))
	}
	return nil
}

func (b *body) reconnect() error {
	if err := retry.Pause(b.ctx, time.Duration(b.broken)*100*time.Millisecond); err != nil {
		return b.store.wrap(b.ctx, "read", b.object.Key, err)
	}
	stream, _, err := b.store.getRange(b.ctx, b.object.Key, b.etag, b.sum.Size, b.size-b.sum.Size)
	b.stream = stream
	return b.store.blame(b.ctx, b.object.Key, err)
}

func (b *body) Close() error {
	if b.stream == nil {
		return nil
	}
	return b.stream.Close()
}

// getRange opens n > 0 bytes at off of exactly the object that has the etag.
func (s *Store) getRange(
	ctx context.Context, key, etag string, off, n int64,
) (io.ReadCloser, minio.ObjectInfo, error) {
	var options minio.GetObjectOptions
	if err := options.SetRange(off, off+n-1); err != nil {
		return nil, minio.ObjectInfo{}, fmt.Errorf("read %s: %w", key, err)
	}
	if err := options.SetMatchETag(etag); err != nil {
		return nil, minio.ObjectInfo{}, fmt.Errorf("read %s: %w", key, err)
	}
	stream, info, _, err := s.core.GetObject(ctx, s.config.Bucket, key, options)
	if minio.ToErrorResponse(err).Code == minio.PreconditionFailed {
		return nil, info, s.fail("read", key, ErrConflict, "the object was replaced while it was being read")
	}
	return stream, info, s.wrap(ctx, "read", key, err)
}
