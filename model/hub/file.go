package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

const (
	readBytes = 256 << 10 // read, and reported, at once
	changes   = 3         // of a file while it is fetched, after which we give up
)

// file brings one file into the snapshot.
func (f *fetch) file(ctx context.Context, name string) error {
	if size, ok := f.here(name); ok {
		f.counted(size)
		return nil
	}
	for range changes {
		size, err := f.bring(ctx, name)
		if errors.Is(err, errChanged) {
			continue
		}
		if err == nil {
			f.counted(size)
		}
		return err
	}
	return errChanged
}

// here says whether the snapshot has the file. Only whole and verified files
// are ever linked there; a length that differs is a disk's or a person's doing.
func (f *fetch) here(name string) (size int64, ok bool) {
	info, err := f.root.Stat(path.Join(snapshotsDir, f.commit, name))
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	want := f.sizes[name]
	return info.Size(), want < 0 || want == info.Size()
}

// bring fetches a file's blob, unless it is there, and links it.
func (f *fetch) bring(ctx context.Context, name string) (int64, error) {
	var a *about
	err := f.client.persist(ctx, func() (_ bool, err error) {
		a, err = f.client.head(ctx, f.repo, f.commit, name)
		return false, err
	})
	if err != nil {
		return 0, err
	}
	if want := f.sizes[name]; want >= 0 && want != a.size {
		return 0, fmt.Errorf("the hub says that it has %d bytes and that it has %d", want, a.size)
	}
	unlock, err := f.lock(ctx, a.etag)
	if err != nil {
		return 0, err
	}
	defer unlock()
	blob := path.Join(blobsDir, a.etag)
	if info, err := f.root.Stat(blob); err != nil || !info.Mode().IsRegular() || info.Size() != a.size {
		if err := f.blob(ctx, name, blob, a); err != nil {
			return 0, err
		}
	}
	f.progress(name, a.size)
	return a.size, f.link(name, a.etag)
}

// blob fetches bytes to blob.incomplete and makes them blob once they are
// whole and verified.
func (f *fetch) blob(ctx context.Context, name, blob string, a *about) error {
	if err := f.root.MkdirAll(blobsDir, 0o755); err != nil {
		return f.client.cacheError(err)
	}
	file, err := f.root.OpenFile(blob+incomplete, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return f.client.cacheError(err)
	}
	defer file.Close()
	d := &download{fetch: f, name: name, about: a, file: file}
	if err := d.all(ctx); err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return f.client.cacheError(err)
	}
	if err := f.root.Rename(blob+incomplete, blob); err != nil {
		return f.client.cacheError(err)
	}
	return nil
}

// download is a blob's transfer under way.
type download struct {
	*fetch
	name string
	*about
	file    *os.File
	have    int64 // bytes in file
	resumed bool  // not all of them are of one response
}

// all gets every byte and verifies them.
func (d *download) all(ctx context.Context) error {
	if err := d.begin(); err != nil {
		return err
	}
	for {
		if err := d.transfer(ctx); err != nil {
			return err
		}
		err := d.verify(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		again := d.resumed
		if err := d.restart(); err != nil {
			return err
		}
		if !again {
			return err
		}
		// What an earlier attempt left was not the beginning of this file.
	}
}

// begin takes up what an earlier attempt left, and makes sure that there is
// room for the rest.
func (d *download) begin() error {
	size, err := d.file.Seek(0, io.SeekEnd)
	if err != nil {
		return d.client.cacheError(err)
	}
	if d.have = size; d.have > d.size {
		if err := d.restart(); err != nil {
			return err
		}
	}
	d.resumed = d.have > 0
	var disk syscall.Statfs_t
	if err := syscall.Statfs(d.root.Name(), &disk); err != nil {
		return nil // the write will tell
	}
	if free, need := int64(disk.Bavail)*disk.Bsize, d.size-d.have; free < need {
		return fmt.Errorf("cache directory %s: %w: %d MB more are needed and %d MB free; free some or set HF_HUB_CACHE",
			d.client.cache, syscall.ENOSPC, need/1e6+1, free/1e6)
	}
	return nil
}

// restart forgets all bytes.
func (d *download) restart() error {
	d.have, d.resumed = 0, false
	if err := d.file.Truncate(0); err != nil {
		return d.client.cacheError(err)
	}
	return nil
}

// transfer gets the bytes that are missing. Each try after the first asks anew
// where they are: the addresses of large files expire.
func (d *download) transfer(ctx context.Context) error {
	first := true
	return d.client.persist(ctx, func() (bool, error) {
		if !first {
			if err := d.renew(ctx); err != nil {
				return false, err
			}
		}
		first = false
		before := d.have
		err := d.attempt(ctx)
		return d.have > before, err
	})
}

// renew asks again what the file is and where.
func (d *download) renew(ctx context.Context) error {
	now, err := d.client.head(ctx, d.repo, d.commit, d.name)
	if err != nil {
		return err
	}
	if now.etag != d.etag || now.size != d.size {
		return errChanged
	}
	if now.validator == "" {
		now.validator = d.validator
	}
	d.about = now
	return nil
}

// attempt is one request and its bytes, from where we are to the end.
func (d *download) attempt(ctx context.Context) error {
	if d.have == d.size {
		return nil
	}
	connection, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	response, err := d.client.send(connection, http.MethodGet, d.location, d.header(), false)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := d.accept(response); err != nil {
		return err
	}
	d.resumed = d.resumed || d.have > 0
	if tag := response.Header.Get("ETag"); !strings.HasPrefix(tag, "W/") {
		d.validator = tag
	}
	stall := time.AfterFunc(d.client.stall, func() { cancel(errStalled) })
	defer stall.Stop()
	return d.copy(connection, response.Body, func() { stall.Reset(d.client.stall) })
}

// header asks for the bytes that are missing, of the file that was begun.
func (d *download) header() http.Header {
	h := http.Header{"Accept-Encoding": {"identity"}}
	if d.have > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-", d.have))
		if d.validator != "" {
			h.Set("If-Range", d.validator)
		}
	}
	return h
}

// accept judges a response by its status and headers; the whole file may come
// though the rest was asked for.
func (d *download) accept(response *http.Response) error {
	if coding := response.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return fmt.Errorf("%s sends it as %.20q though that was not asked for", response.Request.URL.Host, coding)
	}
	switch s := response.StatusCode; {
	case s == http.StatusOK:
		if n := response.ContentLength; n >= 0 && n != d.size {
			return fmt.Errorf("%s announces %d bytes instead of %d", response.Request.URL.Host, n, d.size)
		}
		return d.restart()
	case s == http.StatusPartialContent && d.have > 0 && response.Header.Get("Content-Range") == fmt.Sprintf("bytes %d-%d/%d", d.have, d.size-1, d.size):
		return nil
	case s == http.StatusPartialContent, s == http.StatusRequestedRangeNotSatisfiable:
		wrong := fmt.Errorf("%s answers %s, Content-Range %.60q, for the bytes from %d of %d on",
			response.Request.URL.Host, status(response), response.Header.Get("Content-Range"), d.have, d.size)
		if err := d.restart(); err != nil {
			return err
		}
		return &retryError{err: wrong}
	}
	if err := passing(response); err != nil {
		return err
	}
	if u := response.Request.URL; u.Host != d.client.endpoint.Host {
		// An address that expired, most likely: the next try gets a new one.
		return &retryError{err: fmt.Errorf("%s answers %s", u.Host, status(response))}
	}
	return d.client.refusal(d.repo, response)
}

// copy reads a response to its end.
func (d *download) copy(ctx context.Context, body io.Reader, alive func()) error {
	buffer := make([]byte, readBytes)
	for {
		n, err := body.Read(buffer)
		alive()
		if d.have+int64(n) > d.size {
			if err := d.restart(); err != nil {
				return err
			}
			return fmt.Errorf("more bytes come than the %d announced", d.size)
		}
		if _, err := d.file.WriteAt(buffer[:n], d.have); err != nil {
			return d.client.cacheError(err)
		}
		d.have += int64(n)
		d.progress(d.name, d.have)
		switch {
		case ctx.Err() != nil: // what is buffered would otherwise still come
			return context.Cause(ctx)
		case err == nil:
		case d.have < d.size:
			return &retryError{err: fmt.Errorf("the connection ended after %d of %d bytes", d.have, d.size)}
		default:
			return nil
		}
	}
}

// verify compares the bytes with the digest that is the blob's name: SHA-256
// of large files, git's name of a blob for others.
func (d *download) verify(ctx context.Context) error {
	var sum hash.Hash
	if len(d.etag) == hex.EncodedLen(sha256.Size) {
		sum = sha256.New()
	} else {
		sum = sha1.New()
		fmt.Fprintf(sum, "blob %d\x00", d.size)
	}
	if _, err := io.Copy(sum, io.NewSectionReader(&readerAt{ctx, d.file}, 0, d.size)); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return d.client.cacheError(err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != d.etag {
		return fmt.Errorf("what came has digest %s instead of %s: damaged on the way, or not what the hub holds", got, d.etag)
	}
	return nil
}

// readerAt ends with its context.
type readerAt struct {
	ctx context.Context
	io.ReaderAt
}

func (r *readerAt) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.ReaderAt.ReadAt(p, off)
}
