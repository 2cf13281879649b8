// Package download gets a file over HTTP and goes on where it was after a break: in the same process, or in
// another one that still has the first bytes and knows which version of the file they are of. Where the bytes
// go is a Target's: a part of an upload, a file. Sources of datasets (storage) and files of the Hugging Face
// hub (hub) come this way. Start reading at Transfer.Run.
package download

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"distilvit/internal/retry"
)

// readBytes are read, and handed to the target, at once.
const readBytes = 256 << 10

// ErrTooLong says that more bytes came than the server had announced.
var ErrTooLong = errors.New("more bytes come than")

// Target keeps the bytes of a file in the order in which they come.
type Target interface {
	Have() int64                                // bytes so far
	Append(ctx context.Context, p []byte) error // keeps more bytes; p is used again afterwards
	Restart(ctx context.Context) error          // forgets all bytes
}

// Version tells files apart that were at the same URL at different times.
type Version struct {
	ETag         string `json:"etag"`
	LastModified string `json:"last_modified"`
	Size         int64  `json:"size"` // bytes; -1: not known
}

// validator is what If-Range may carry.
func (v Version) validator() string {
	if v.ETag != "" && !strings.HasPrefix(v.ETag, "W/") {
		return v.ETag
	}
	return v.LastModified
}

// comparable: two versions of the file could be told apart.
func (v Version) comparable() bool { return v.ETag != "" || v.LastModified != "" }

// same: nothing that is known of the version that was begun contradicts the one that goes on.
func (v Version) same(now Version) bool {
	sizes := v.Size == now.Size || v.Size < 0 || now.Size < 0
	tags := v.ETag == "" || strings.TrimPrefix(v.ETag, "W/") == strings.TrimPrefix(now.ETag, "W/")
	dates := v.LastModified == "" || v.LastModified == now.LastModified
	return sizes && tags && dates
}

// Transfer is a file that is on its way to its target.
type Transfer struct {
	To      Target
	Version Version // of the bytes that To has; Size is the file's where it is known beforehand
	Resumed bool    // not all bytes that To has are of one answer

	// Send makes one GET request with these headers. An error that may pass is a *retry.Passing.
	Send func(ctx context.Context, header http.Header) (*http.Response, error)
	// Refuse says what an answer means that holds no bytes of the file, in the same way.
	Refuse func(*http.Response) error
	// Renew, where it is there, is called before each try but the first.
	Renew func(context.Context) error

	Verified bool          // a digest will tell if bytes of two versions were mixed
	Stall    time.Duration // without a byte, after which a connection is given up
	Pause    retry.Pauser  // between tries
}

// Run gets the bytes that are missing, in as many tries as that takes while each brings some; a
// retry.ExhaustedError ends it when none come.
func (t *Transfer) Run(ctx context.Context) error {
	first := true
	return t.Pause.Persist(ctx, func() (bool, error) {
		if !first && t.Renew != nil {
			if err := t.Renew(ctx); err != nil {
				return false, err
			}
		}
		first = false
		before := t.To.Have()
		err := t.attempt(ctx)
		return t.To.Have() > before, err
	})
}

// Restart forgets all bytes.
func (t *Transfer) Restart(ctx context.Context) error {
	t.Resumed = false
	return t.To.Restart(ctx)
}

// attempt is one request and its bytes, from where the target is to the end.
func (t *Transfer) attempt(ctx context.Context) error {
	if t.To.Have() == t.Version.Size {
		return nil
	}
	if t.To.Have() > 0 && !t.Version.comparable() && !t.Verified { // the rest may be of another file
		if err := t.Restart(ctx); err != nil {
			return err
		}
	}
	connection, cancel := context.WithCancel(ctx)
	defer cancel()
	response, err := t.Send(connection, t.header())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := t.accept(ctx, response); err != nil {
		return err
	}
	t.Resumed = t.Resumed || t.To.Have() > 0
	stall := time.AfterFunc(t.Stall, cancel)
	defer stall.Stop()
	return t.copy(ctx, &watchedReader{response.Body, stall, t.Stall})
}

// header asks for the bytes that are missing, of the version that was begun.
func (t *Transfer) header() http.Header {
	h := http.Header{"Accept-Encoding": {"identity"}}
	if have := t.To.Have(); have > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-", have))
		if validator := t.Version.validator(); validator != "" {
			h.Set("If-Range", validator)
		}
	}
	return h
}

// accept judges an answer by its status and headers. The whole file may come though the rest was asked for:
// then the target starts over.
func (t *Transfer) accept(ctx context.Context, response *http.Response) error {
	have := t.To.Have()
	now := Version{
		ETag:         response.Header.Get("ETag"),
		LastModified: response.Header.Get("Last-Modified"),
		Size:         response.ContentLength,
	}
	switch status := response.StatusCode; {
	case status == http.StatusOK:
		if have > 0 {
			if err := t.Restart(ctx); err != nil {
				return err
			}
		}
		if now.Size < 0 && t.Verified {
			now.Size = t.Version.Size
		}
	case status == http.StatusPartialContent && have > 0:
		offset, size, ok := contentRange(response)
		if now.Size = size; now.Size < 0 {
			now.Size = t.Version.Size
		}
		if !ok || offset != have || !t.Version.same(now) {
			return t.changed(ctx, response)
		}
	case status == http.StatusRequestedRangeNotSatisfiable && have > 0:
		return t.changed(ctx, response)
	default:
		return t.Refuse(response)
	}
	t.Version = now
	return nil
}

// changed starts over, since the URL holds another file than the one that was begun, or the server miscounts.
func (t *Transfer) changed(ctx context.Context, response *http.Response) error {
	wrong := fmt.Errorf("the file changed: the server answers %d %s, Content-Range %.60q, "+
		"for the bytes from %d on",
		response.StatusCode, http.StatusText(response.StatusCode), response.Header.Get("Content-Range"),
		t.To.Have())
	if err := t.Restart(ctx); err != nil {
		return err
	}
	return &retry.Passing{Err: wrong}
}

// copy hands an answer's bytes to the target until its end.
func (t *Transfer) copy(ctx context.Context, body io.Reader) error {
	buffer, total := make([]byte, readBytes), t.Version.Size
	for {
		n, err := body.Read(buffer)
		if total >= 0 && t.To.Have()+int64(n) > total {
			return fmt.Errorf("%w the %d announced", ErrTooLong, total)
		}
		if n > 0 {
			if err := t.To.Append(ctx, buffer[:n]); err != nil {
				return err
			}
		}
		have := t.To.Have()
		switch {
		case ctx.Err() != nil: // what is buffered would otherwise still come
			return context.Cause(ctx)
		case err == nil:
		case have == total:
			return nil
		case err == io.EOF && total < 0:
			t.Version.Size = have
			return nil
		case total >= 0 && (err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF)):
			return &retry.Passing{Err: fmt.Errorf("the connection ended after %d of %d bytes", have, total)}
		case errors.Is(err, context.Canceled):
			return &retry.Passing{Err: fmt.Errorf("no byte came for %v", t.Stall)}
		default:
			return &retry.Passing{Err: err}
		}
	}
}

// Failed sorts what an http.Client's Do returned as its error: without the URL, which may hold a secret, and
// whether it may pass, which a bad certificate and an address that is refused do not.
func Failed(err error) (reason error, passes bool) {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return certificate, false
	}
	for _, refused := range []error{ErrPrivate, errMetadata} {
		if errors.Is(err, refused) {
			return refused, false
		}
	}
	return err, true
}

// contentRange parses "bytes 5-9/10"; total is -1 for "*".
func contentRange(response *http.Response) (offset, total int64, ok bool) {
	span, ok := strings.CutPrefix(response.Header.Get("Content-Range"), "bytes ")
	if !ok {
		return 0, -1, false
	}
	span, size, _ := strings.Cut(span, "/")
	first, _, _ := strings.Cut(span, "-")
	offset, err := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
	if err != nil {
		return 0, -1, false
	}
	if total, err = strconv.ParseInt(strings.TrimSpace(size), 10, 64); err != nil {
		total = -1
	}
	return offset, total, true
}

// watchedReader ends a connection that gives no byte for too long.
type watchedReader struct {
	io.Reader
	stall *time.Timer
	limit time.Duration
}

func (w *watchedReader) Read(p []byte) (int, error) {
	w.stall.Reset(w.limit)
	n, err := w.Reader.Read(p)
	w.stall.Stop()
	return n, err
}
