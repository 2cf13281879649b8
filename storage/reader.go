package storage

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"distilvit/internal/retry"
	"distilvit/storage/layout"
)

const (
	blockBytes     = 256 << 10 // unit of the cache and of a small read: about a photograph
	readaheadMax   = 8         // blocks a sequential reader gets at once
	cachedBlocks   = 16        // per Reader
	directBytes    = 4 << 20   // reads from this size on are one request of their own, past the cache
	readAttempts   = 4
	firstReadPause = 100 * time.Millisecond
)

// Reader reads a stored object at any offset, as archive/zip and Parquet do.
// It fetches blocks of 256 KiB, up to 2 MiB at once for a sequential reader, and
// keeps the last 4 MiB. Every read is of the same version of the object, but no
// digest is verified: for that use Get or Fetch. Safe for concurrent use.
type Reader struct {
	ctx    context.Context
	cancel context.CancelFunc
	store  *Store
	object layout.Object
	etag   string

	mu     sync.Mutex
	blocks map[int64]*block
	order  *list.List // of block numbers, the most recently used first
	last   int64      // block number that the last fetch ended with
	ahead  int64      // blocks of the last fetch
}

type block struct {
	ready   chan struct{} // closed when data and err are valid
	data    []byte
	err     error
	element *list.Element
}

// ReaderAt opens a stored object for reading at any offset. Its reads end with
// ctx or with Close.
func (s *Store) ReaderAt(ctx context.Context, o layout.Object) (*Reader, error) {
	info, err := s.core.StatObject(ctx, s.config.Bucket, o.Key, minio.StatObjectOptions{})
	if err != nil {
		return nil, s.wrap(ctx, "read", o.Key, err)
	}
	if err := s.compare(&o, info); err != nil {
		return nil, err
	}
	r := &Reader{
		store: s, object: o, etag: info.ETag, blocks: map[int64]*block{}, order: list.New(), last: -2,
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r, nil
}

// Size of the object in bytes.
func (r *Reader) Size() int64 { return r.object.Size }

// Object that is read.
func (r *Reader) Object() layout.Object { return r.object }

// Close ends reads that are under way and makes later ones fail.
func (r *Reader) Close() error {
	r.cancel()
	return nil
}

// ReadAt reads len(p) bytes at off.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset %d", r.object.Key, off)
	}
	if off >= r.object.Size {
		return 0, io.EOF
	}
	var end error
	if rest := r.object.Size - off; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	if len(p) >= directBytes {
		if err := r.fetch(p, off); err != nil {
			return 0, err
		}
		return len(p), end
	}
	for n := 0; n < len(p); {
		number, at := (off+int64(n))/blockBytes, (off+int64(n))%blockBytes
		lastNeeded := (off + int64(len(p)) - 1) / blockBytes
		data, err := r.block(number, lastNeeded)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[at:])
	}
	return len(p), end
}

// block returns one block, from the cache, from a fetch that is under way, or
// by fetching it together with the missing ones up to lastNeeded and, for a
// sequential reader, some beyond.
func (r *Reader) block(number, lastNeeded int64) ([]byte, error) {
	r.mu.Lock()
	if b, ok := r.blocks[number]; ok {
		r.order.MoveToFront(b.element)
		r.mu.Unlock()
		select {
		case <-b.ready:
			return b.data, b.err
		case <-r.ctx.Done():
			return nil, r.store.wrap(r.ctx, "read", r.object.Key, r.ctx.Err())
		}
	}
	count := r.plan(number, lastNeeded)
	run := make([]*block, count)
	for i := range run {
		b := &block{ready: make(chan struct{})}
		b.element = r.order.PushFront(number + int64(i))
		r.blocks[number+int64(i)] = b
		run[i] = b
	}
	r.trim()
	r.mu.Unlock()

	start := number * blockBytes
	data := make([]byte, min(count*blockBytes, r.object.Size-start))
	err := r.fetch(data, start)
	r.mu.Lock()
	for i, b := range run {
		b.err = err
		if err == nil {
			from := i * blockBytes
			b.data = data[from:min(from+blockBytes, len(data))]
		} else {
			r.forget(number+int64(i), b)
		}
		close(b.ready)
	}
	r.mu.Unlock()
	return run[0].data, run[0].err
}

// plan decides how many blocks to fetch from number on. Readahead grows as
// long as fetches follow one another.
func (r *Reader) plan(number, lastNeeded int64) int64 {
	if number == r.last+1 {
		r.ahead = min(4*r.ahead, readaheadMax)
	} else {
		r.ahead = 1
	}
	want := max(lastNeeded-number+1, r.ahead)
	blocks := (r.object.Size + blockBytes - 1) / blockBytes
	count := int64(1)
	for count < want && number+count < blocks && r.blocks[number+count] == nil {
		count++
	}
	r.last, r.ahead = number+count-1, max(r.ahead, min(count, readaheadMax))
	return count
}

// trim drops the least recently used blocks; one that is being fetched stays
// usable for those who wait for it.
func (r *Reader) trim() {
	for r.order.Len() > cachedBlocks {
		number := r.order.Back().Value.(int64)
		r.forget(number, r.blocks[number])
	}
}

func (r *Reader) forget(number int64, b *block) {
	if r.blocks[number] == b {
		delete(r.blocks, number)
		r.order.Remove(b.element)
	}
}

// fetch fills p from off on, taking up what breaks.
func (r *Reader) fetch(p []byte, off int64) error {
	var err error
	for attempt := range readAttempts {
		if attempt > 0 {
			if err := retry.Pause(r.ctx, firstReadPause<<attempt); err != nil {
				return r.store.wrap(r.ctx, "read", r.object.Key, err)
			}
		}
		stream, _, openErr := r.store.getRange(r.ctx, r.object.Key, r.etag, off, int64(len(p)))
		if openErr != nil {
			return openErr // the client library has retried what can be retried
		}
		var n int
		n, err = io.ReadFull(stream, p)
		stream.Close()
		if err == nil {
			return nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		p, off = p[n:], off+int64(n)
	}
	return r.store.wrap(r.ctx, "read", r.object.Key, err)
}
