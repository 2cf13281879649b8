package storage

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7"

	"distilvit/internal/digest"
	"distilvit/internal/download"
	"distilvit/internal/retry"
	"distilvit/storage/layout"
)

// DownloadOptions of Download.
type DownloadOptions struct {
	SHA256   string                  // expected digest, lower-case hex; "" if not known
	Progress func(done, total int64) // bytes so far; total is -1 where the server does not say
	State    []byte                  // what Save was last given by an earlier attempt, in whatever process
	Save     func([]byte)            // keeps the state; called after each part
	Client   *http.Client            // default: one with time limits for connecting and for the answer

	pause    retry.Pauser // between tries; tests need not wait
	partSize int64        // of the upload; tests take small ones
}

const (
	downloadRestarts = 3               // from the beginning, when the file changes under way
	stallLimit       = 2 * time.Minute // without a byte, after which a connection is given up
	answerLimit      = time.Minute     // for the answer's header
)

// Download copies what a URL holds into the store. It goes on where it was
// after broken connections and, given the last State, after the end of the
// process; it starts over when the file changed meanwhile or the server cannot
// serve ranges. What is stored under key appears only when it is complete and
// matches its digest.
func (s *Store) Download(ctx context.Context, url, key string, o DownloadOptions) (layout.Object, error) {
	if o.SHA256 != "" {
		if stored, err := s.Stat(ctx, key); err == nil && stored.SHA256 == o.SHA256 {
			if o.Progress != nil {
				o.Progress(stored.Size, stored.Size)
			}
			return stored, nil
		} else if err != nil && !errors.Is(err, ErrNotFound) {
			return layout.Object{}, err
		}
	}
	d, err := newDownloading(s, url, key, o)
	if err != nil {
		return layout.Object{}, err
	}
	if done, err := d.resume(ctx); err != nil || done {
		return objectOf(d.sum, key), err
	}
	for {
		if err := d.run(ctx); err != nil {
			return layout.Object{}, d.leave(ctx, err)
		}
		object, err := d.finish(ctx)
		if err == nil {
			return object, nil
		}
		// Bytes of two versions may have been mixed where the server does not tell versions apart.
		if !errors.Is(err, ErrCorrupt) || !d.transfer.Resumed || d.restarts >= downloadRestarts {
			return layout.Object{}, d.leave(ctx, err)
		}
		if err := d.transfer.Restart(ctx); err != nil {
			return layout.Object{}, err
		}
	}
}

// downloading is a download under way, and the download.Target of its transfer. The bytes so far are the
// parts of the upload, whole, and after them buffer.
type downloading struct {
	store    *Store
	url      string
	name     string // the URL without what may be secret, for messages
	key      string
	options  DownloadOptions
	transfer download.Transfer
	state    downloadState
	sum      *digest.Sum          // of all bytes so far
	parts    []minio.CompletePart // of the upload
	buffer   []byte
	restarts int
}

// downloadState is what an attempt leaves to the next.
type downloadState struct {
	URL      string           `json:"url"`
	Key      string           `json:"key"`
	Upload   string           `json:"upload"`    // id of the multipart upload; "": nothing is stored yet
	PartSize int64            `json:"part_size"` // bytes
	Parts    int              `json:"parts"`     // parts stored
	Offset   int64            `json:"offset"`    // bytes in them
	Sum      []byte           `json:"sum"`       // state of the digest of these bytes
	Version  download.Version `json:"version"`   // of the file they are from
}

func newDownloading(s *Store, rawURL, key string, o DownloadOptions) (*downloading, error) {
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	if o.Save == nil {
		o.Save = func([]byte) {}
	}
	if o.pause == nil {
		o.pause = retry.Pause
	}
	if o.partSize == 0 {
		o.partSize = partSizeBytes
	}
	if o.Client == nil {
		o.Client = download.NewClient(answerLimit)
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("download %s: not an http or https URL", rawURL)
	}
	shown := *u
	if shown.RawQuery != "" {
		shown.RawQuery = "…"
	}
	d := &downloading{store: s, url: rawURL, name: shown.Redacted(), key: key, options: o}
	d.transfer = download.Transfer{
		To: d, Send: d.send, Refuse: d.refuse, Verified: o.SHA256 != "", Stall: stallLimit, Pause: o.pause,
	}
	d.clear()
	return d, nil
}

func (d *downloading) clear() {
	d.state = downloadState{URL: d.name, Key: d.key, PartSize: d.options.partSize}
	d.transfer.Version = download.Version{Size: -1}
	d.sum, d.parts, d.buffer = digest.New(), nil, nil
}

func (d *downloading) fail(kind error, detail string) error {
	return &Error{Op: "download", Where: d.name, Kind: kind, Detail: detail}
}

// resume takes up the state of an earlier attempt as far as the store still
// has its parts. done: that attempt was cut off just after its end.
func (d *downloading) resume(ctx context.Context) (done bool, err error) {
	var state downloadState
	if json.Unmarshal(d.options.State, &state) != nil || state.URL != d.name || state.Key != d.key ||
		state.Upload == "" {
		return false, nil
	}
	sum := digest.New()
	if sum.Hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(state.Sum) != nil {
		return false, nil
	}
	sum.Size = state.Offset
	parts, err := d.store.listParts(ctx, d.key, state)
	switch {
	case err == nil && len(parts) == state.Parts:
		d.state, d.sum, d.parts = state, sum, parts
		d.transfer.Version, d.transfer.Resumed = state.Version, true
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
	object := objectOf(sum, d.key)
	if d.options.SHA256 != "" && object.SHA256 != d.options.SHA256 {
		return false, nil
	}
	d.sum = sum
	return true, d.store.label(ctx, object)
}

// run gets all bytes into the upload and the buffer.
func (d *downloading) run(ctx context.Context) error {
	err := d.transfer.Run(ctx)
	var exhausted *retry.ExhaustedError
	switch {
	case errors.As(err, &exhausted):
		return d.fail(ErrUnavailable, exhausted.Error())
	case errors.Is(err, download.ErrTooLong):
		return d.fail(ErrCorrupt, err.Error())
	}
	return err
}

// send implements download.Transfer.
func (d *downloading) send(ctx context.Context, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return nil, d.fail(nil, err.Error())
	}
	request.Header = header
	response, err := d.options.Client.Do(request)
	if err == nil {
		return response, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	reason, passes := download.Failed(err)
	if !passes {
		return nil, d.fail(ErrDenied, reason.Error())
	}
	return nil, &retry.Passing{Err: reason}
}

// refuse implements download.Transfer.
func (d *downloading) refuse(response *http.Response) error {
	said := "the server answers " + response.Status
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return d.fail(ErrDenied, said+"; is a login needed?")
	case status == http.StatusNotFound, status == http.StatusGone:
		return d.fail(ErrNotFound, said+"; check the URL")
	case retry.Passes(status):
		return &retry.Passing{Err: errors.New(said), After: retry.After(response)}
	}
	return d.fail(nil, said)
}

// Have implements download.Target.
func (d *downloading) Have() int64 { return d.sum.Size }

// Append implements download.Target: it stores each part that is full.
func (d *downloading) Append(ctx context.Context, p []byte) error {
	total := d.transfer.Version.Size
	if d.state.Upload == "" && total > maxParts*d.state.PartSize {
		d.state.PartSize = total/maxParts + 1
	}
	for len(p) > 0 {
		if int64(len(d.buffer)) == d.state.PartSize {
			if err := d.storePart(ctx); err != nil {
				return err
			}
		}
		n := min(len(p), int(d.state.PartSize)-len(d.buffer))
		d.buffer = append(d.buffer, p[:n]...)
		d.sum.Write(p[:n])
		p = p[n:]
	}
	d.options.Progress(d.Have(), total)
	return nil
}

// storePart uploads the buffer as the next part and saves where we are.
func (d *downloading) storePart(ctx context.Context) error {
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
		return d.fail(nil, fmt.Sprintf(
			"a file of unknown size grew beyond %d bytes, the most an upload can hold", d.state.Offset,
		))
	}
	part, err := d.store.core.PutObjectPart(ctx, d.store.config.Bucket, d.key, d.state.Upload, number,
		bytes.NewReader(d.buffer), int64(len(d.buffer)),
		minio.PutObjectPartOptions{
			Sha256Hex:            digest.Bytes(d.buffer), // the server verifies it
			DisableContentSha256: true,                   // else it would be a signed stream instead
		})
	if err != nil {
		return d.store.wrap(ctx, "store", d.key, err)
	}
	d.parts = append(d.parts, minio.CompletePart{PartNumber: number, ETag: part.ETag})
	d.buffer = d.buffer[:0]
	d.state.Parts, d.state.Offset = number, d.Have()
	return d.save()
}

func (d *downloading) save() error {
	var err error
	d.state.Version = d.transfer.Version
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
func (d *downloading) finish(ctx context.Context) (layout.Object, error) {
	object := objectOf(d.sum, d.key)
	if d.options.SHA256 != "" && object.SHA256 != d.options.SHA256 {
		return layout.Object{}, d.fail(ErrCorrupt, fmt.Sprintf("sha256 is %s, expected %s (%d bytes)",
			object.SHA256, d.options.SHA256, object.Size))
	}
	if d.state.Upload == "" {
		return d.store.PutBytes(ctx, d.key, d.buffer)
	}
	if len(d.buffer) > 0 {
		if err := d.storePart(ctx); err != nil {
			return layout.Object{}, err
		}
	}
	_, err := d.store.core.CompleteMultipartUpload(ctx, d.store.config.Bucket, d.key, d.state.Upload, d.parts,
		minio.PutObjectOptions{})
	if err != nil {
		return layout.Object{}, d.store.wrap(ctx, "store", d.key, err)
	}
	if d.options.SHA256 != "" {
		return object, nil
	}
	return object, d.store.label(ctx, object)
}

// Restart implements download.Target. A file that changes again and again ends the download.
func (d *downloading) Restart(ctx context.Context) error {
	upload := d.state.Upload
	d.clear()
	if upload != "" {
		d.options.Save(nil)
		if err := d.store.abort(ctx, d.key, upload); err != nil {
			return err
		}
	}
	if d.restarts++; d.restarts > downloadRestarts {
		return d.fail(
			ErrUnavailable, fmt.Sprintf("the file changed, or could not be resumed, %d times", d.restarts),
		)
	}
	return nil
}

// leave drops the upload where a later attempt could not go on with it.
func (d *downloading) leave(ctx context.Context, err error) error {
	if d.state.Upload == "" || !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrDenied) &&
		!errors.Is(err, ErrNotFound) {
		return err
	}
	upload := d.state.Upload
	d.state.Upload = ""
	d.options.Save(nil)
	return errors.Join(err, d.store.abort(ctx, d.key, upload))
}

// listParts returns the first state.Parts parts of an upload, fewer where some
// are not there in full length.
func (s *Store) listParts(
	ctx context.Context, key string, state downloadState,
) ([]minio.CompletePart, error) {
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
