package storage

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
)

// DownloadOptions of Download.
type DownloadOptions struct {
	SHA256   string                  // expected digest, lower-case hex; "" if not known
	Progress func(done, total int64) // bytes so far; total is -1 where the server does not say
	State    []byte                  // what Save was last given by an earlier attempt, in whatever process
	Save     func([]byte)            // keeps the state; called after each part
	Client   *http.Client            // default: one with time limits for connecting and for the answer

	pause    func(context.Context, time.Duration) error // between tries; tests need not wait
	partSize int64                                      // of the upload; tests take small ones
}

const (
	downloadTries    = 6               // in a row without a new byte
	downloadRestarts = 3               // from the beginning, when the file changes under way
	stallLimit       = 2 * time.Minute // without a byte, after which a connection is given up
	firstPause       = 500 * time.Millisecond
	longestPause     = 30 * time.Second
	longestAskedFor  = 5 * time.Minute // of pauses that a server asks for by Retry-After
	readBytes        = 256 << 10       // read, and reported, at once
)

// Download copies what a URL holds into the store. It goes on where it was
// after broken connections and, given the last State, after the end of the
// process; it starts over when the file changed meanwhile or the server cannot
// serve ranges. What is stored under key appears only when it is complete and
// matches its digest.
func (s *Store) Download(ctx context.Context, url, key string, o DownloadOptions) (Object, error) {
	if o.SHA256 != "" {
		if stored, err := s.Stat(ctx, key); err == nil && stored.SHA256 == o.SHA256 {
			if o.Progress != nil {
				o.Progress(stored.Size, stored.Size)
			}
			return stored, nil
		} else if err != nil && !errors.Is(err, ErrNotFound) {
			return Object{}, err
		}
	}
	d, err := newDownload(s, url, key, o)
	if err != nil {
		return Object{}, err
	}
	if done, err := d.resume(ctx); err != nil || done {
		return d.sum.object(key), err
	}
	for {
		if err := d.transfer(ctx); err != nil {
			return Object{}, d.leave(ctx, err)
		}
		object, err := d.finish(ctx)
		if err == nil {
			return object, nil
		}
		// Bytes of two versions may have been mixed where the server does not tell versions apart.
		if !errors.Is(err, ErrCorrupt) || !d.resumed || d.restarts >= downloadRestarts {
			return Object{}, d.leave(ctx, err)
		}
		if err := d.restart(ctx); err != nil {
			return Object{}, err
		}
	}
}

// download is a transfer under way. The bytes so far are the parts of the
// upload, whole, and after them buffer.
type download struct {
	store    *Store
	source   *httpSource
	key      string
	options  DownloadOptions
	state    downloadState
	sum      *sum                 // of all bytes so far
	parts    []minio.CompletePart // of the upload
	buffer   []byte
	resumed  bool // not all bytes are of one response
	restarts int
}

// downloadState is what an attempt leaves to the next.
type downloadState struct {
	URL      string  `json:"url"`
	Key      string  `json:"key"`
	Upload   string  `json:"upload"`    // id of the multipart upload; "": nothing is stored yet
	PartSize int64   `json:"part_size"` // bytes
	Parts    int     `json:"parts"`     // parts stored
	Offset   int64   `json:"offset"`    // bytes in them
	Sum      []byte  `json:"sum"`       // state of the digest of these bytes
	Version  version `json:"version"`   // of the file they are from
}

func newDownload(s *Store, url, key string, o DownloadOptions) (*download, error) {
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	if o.Save == nil {
		o.Save = func([]byte) {}
	}
	if o.pause == nil {
		o.pause = pause
	}
	if o.partSize == 0 {
		o.partSize = partSizeBytes
	}
	source, err := newHTTPSource(url, o.Client)
	if err != nil {
		return nil, err
	}
	d := &download{store: s, source: source, key: key, options: o}
	d.clear()
	return d, nil
}

func (d *download) clear() {
	d.state = downloadState{URL: d.source.url, Key: d.key, PartSize: d.options.partSize, Version: version{Size: -1}}
	d.sum, d.parts, d.buffer, d.resumed = newSum(), nil, nil, false
}

// have is the number of bytes so far.
func (d *download) have() int64 { return d.sum.size }

// resume takes up the state of an earlier attempt as far as the store still
// has its parts. done: that attempt was cut off just after its end.
func (d *download) resume(ctx context.Context) (done bool, err error) {
	var state downloadState
	if json.Unmarshal(d.options.State, &state) != nil || state.URL != d.source.url || state.Key != d.key || state.Upload == "" {
		return false, nil
	}
	sum := newSum()
	if sum.Hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(state.Sum) != nil {
		return false, nil
	}
	sum.size = state.Offset
	parts, err := d.store.listParts(ctx, d.key, state)
	switch {
	case err == nil && len(parts) == state.Parts:
		d.state, d.sum, d.parts, d.resumed = state, sum, parts, true
		return false, nil
	case err == nil: // parts are missing
		return false, d.store.abort(ctx, d.key, state.Upload)
	case !errors.Is(err, ErrNotFound):
		return false, err
	}
	stored, err := d.store.Stat(ctx, d.key)
	if err != nil || state.Offset != state.Version.Size || stored.Size != state.Offset {
		return false, nil
	}
	object := sum.object(d.key)
	if d.options.SHA256 != "" && object.SHA256 != d.options.SHA256 {
		return false, nil
	}
	d.sum = sum
	return true, d.store.label(ctx, object)
}

// transfer gets all bytes into the upload and the buffer.
func (d *download) transfer(ctx context.Context) error {
	for failures := 0; ; {
		before := d.have()
		err := d.attempt(ctx)
		var again *retryError
		if !errors.As(err, &again) {
			return err
		}
		if d.have() > before {
			failures = 0
		}
		if failures++; failures >= downloadTries {
			return d.source.fail(ErrUnavailable, fmt.Sprintf("%v (%d tries)", again.err, failures))
		}
		wait := min(firstPause<<(failures-1), longestPause)
		if again.after > 0 {
			wait = min(again.after, longestAskedFor)
		}
		if err := d.options.pause(ctx, wait); err != nil {
			return err
		}
	}
}

// attempt is one request and its bytes, from where we are to the end.
func (d *download) attempt(ctx context.Context) error {
	if d.have() > 0 && d.have() == d.state.Version.Size {
		return nil
	}
	if d.have() > 0 && !d.state.Version.comparable() && d.options.SHA256 == "" {
		if err := d.restart(ctx); err != nil { // the rest may be of another file
			return err
		}
	}
	response, err := d.source.get(ctx, d.have(), d.state.Version)
	if errors.Is(err, errChanged) {
		if err := d.restart(ctx); err != nil {
			return err
		}
		return &retryError{err: err}
	}
	if err != nil {
		return err
	}
	defer response.Close()
	if response.offset != d.have() { // the whole file, though the rest was asked for
		if err := d.restart(ctx); err != nil {
			return err
		}
	}
	d.resumed = d.resumed || d.have() > 0
	d.state.Version = response.version
	if total := response.version.Size; d.state.Upload == "" && total > maxParts*d.state.PartSize {
		d.state.PartSize = total/maxParts + 1
	}
	return d.copy(ctx, response)
}

// copy reads a response to its end, storing each part that is full.
func (d *download) copy(ctx context.Context, response *httpResponse) error {
	total := response.version.Size
	for {
		if int64(len(d.buffer)) == d.state.PartSize {
			if err := d.storePart(ctx); err != nil {
				return err
			}
		}
		room := d.state.PartSize - int64(len(d.buffer))
		start := len(d.buffer)
		d.buffer = grow(d.buffer, int(min(readBytes, room)))
		n, err := response.Read(d.buffer[start:])
		d.buffer = d.buffer[:start+n]
		d.sum.Write(d.buffer[start:])
		d.options.Progress(d.have(), total)
		switch {
		case total >= 0 && d.have() > total:
			return d.source.fail(ErrCorrupt, fmt.Sprintf("more bytes came than the %d announced", total))
		case err == io.EOF && total >= 0 && d.have() < total:
			return &retryError{err: fmt.Errorf("the connection ended after %d of %d bytes", d.have(), total)}
		case err == io.EOF:
			d.state.Version.Size = d.have()
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, context.Canceled):
			return &retryError{err: fmt.Errorf("no byte came for %v", stallLimit)}
		case err != nil:
			return &retryError{err: err}
		}
	}
}

// grow lengthens b by n bytes to read into.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		larger := make([]byte, len(b), max(2*cap(b), len(b)+n))
		copy(larger, b)
		b = larger
	}
	return b[:len(b)+n]
}

// storePart uploads the buffer as the next part and saves where we are.
func (d *download) storePart(ctx context.Context) error {
	if d.state.Upload == "" {
		options := minio.PutObjectOptions{ContentType: "application/octet-stream"}
		if d.options.SHA256 != "" {
			options.UserMetadata = map[string]string{metaSHA256: d.options.SHA256}
		}
		id, err := d.store.core.NewMultipartUpload(ctx, d.store.config.Bucket, d.key, options)
		if err != nil {
			return d.store.wrap(ctx, "store", d.key, err)
		}
		d.state.Upload = id
	}
	number := len(d.parts) + 1
	if number > maxParts {
		return d.source.fail(nil, fmt.Sprintf("a file of unknown size grew beyond %d bytes, the most an upload can hold", d.state.Offset))
	}
	part, err := d.store.core.PutObjectPart(ctx, d.store.config.Bucket, d.key, d.state.Upload, number,
		bytes.NewReader(d.buffer), int64(len(d.buffer)),
		minio.PutObjectPartOptions{
			Sha256Hex:            hexDigest(d.buffer), // the server verifies it
			DisableContentSha256: true,                // else it would be a signed stream instead
		})
	if err != nil {
		return d.store.wrap(ctx, "store", d.key, err)
	}
	d.parts = append(d.parts, minio.CompletePart{PartNumber: number, ETag: part.ETag})
	d.buffer = d.buffer[:0]
	d.state.Parts, d.state.Offset = number, d.have()
	return d.save()
}

func (d *download) save() error {
	var err error
	if d.state.Sum, err = d.sum.Hash.(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
		return err
	}
	state, err := json.Marshal(d.state)
	if err != nil {
		return err
	}
	d.options.Save(state)
	return nil
}

// finish verifies the digest and makes the object appear.
func (d *download) finish(ctx context.Context) (Object, error) {
	object := d.sum.object(d.key)
	if d.options.SHA256 != "" && object.SHA256 != d.options.SHA256 {
		return Object{}, d.source.fail(ErrCorrupt, fmt.Sprintf("sha256 is %s, expected %s (%d bytes)", object.SHA256, d.options.SHA256, object.Size))
	}
	if d.state.Upload == "" {
		return d.store.PutBytes(ctx, d.key, d.buffer)
	}
	if len(d.buffer) > 0 {
		if err := d.storePart(ctx); err != nil {
			return Object{}, err
		}
	}
	_, err := d.store.core.CompleteMultipartUpload(ctx, d.store.config.Bucket, d.key, d.state.Upload, d.parts, minio.PutObjectOptions{})
	if err != nil {
		return Object{}, d.store.wrap(ctx, "store", d.key, err)
	}
	if d.options.SHA256 != "" {
		return object, nil
	}
	return object, d.store.label(ctx, object)
}

// restart forgets all bytes.
func (d *download) restart(ctx context.Context) error {
	upload := d.state.Upload
	d.clear()
	if upload != "" {
		d.options.Save(nil)
		if err := d.store.abort(ctx, d.key, upload); err != nil {
			return err
		}
	}
	if d.restarts++; d.restarts > downloadRestarts {
		return d.source.fail(ErrUnavailable, fmt.Sprintf("the file changed, or could not be resumed, %d times", d.restarts))
	}
	return nil
}

// leave drops the upload where a later attempt could not go on with it.
func (d *download) leave(ctx context.Context, err error) error {
	if d.state.Upload == "" || !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrDenied) && !errors.Is(err, ErrNotFound) {
		return err
	}
	upload := d.state.Upload
	d.state.Upload = ""
	d.options.Save(nil)
	return errors.Join(err, d.store.abort(ctx, d.key, upload))
}

// listParts returns the first state.Parts parts of an upload, fewer where some
// are not there in full length.
func (s *Store) listParts(ctx context.Context, key string, state downloadState) ([]minio.CompletePart, error) {
	var parts []minio.CompletePart
	for marker := 0; len(parts) < state.Parts; {
		page, err := s.core.ListObjectParts(ctx, s.config.Bucket, key, state.Upload, marker, 1000)
		if err != nil {
			return nil, s.wrap(ctx, "resume", key, err)
		}
		for _, part := range page.ObjectParts {
			whole := part.Size == state.PartSize || part.PartNumber == state.Parts
			if part.PartNumber != len(parts)+1 || !whole || len(parts) == state.Parts {
				return parts, nil
			}
			parts = append(parts, minio.CompletePart{PartNumber: part.PartNumber, ETag: part.ETag})
		}
		if !page.IsTruncated {
			break
		}
		marker = page.NextPartNumberMarker
	}
	return parts, nil
}

// abort drops an upload; one that is gone already is no error.
func (s *Store) abort(ctx context.Context, key, upload string) error {
	err := s.wrap(ctx, "abort upload of", key, s.core.AbortMultipartUpload(ctx, s.config.Bucket, key, upload))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
