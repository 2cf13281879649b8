package storage

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
)

// httpSource is a file at a URL.
type httpSource struct {
	url    string
	name   string // the URL without what may be secret, for messages
	client *http.Client
}

// version tells files apart that were at the same URL at different times.
type version struct {
	ETag         string `json:"etag"`
	LastModified string `json:"last_modified"`
	Size         int64  `json:"size"` // bytes; -1: not known
}

// retryError is a failure that may pass.
type retryError struct {
	err   error
	after time.Duration // the server asks to wait that long; 0: it does not
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// errChanged: the URL holds another file than the one that was begun.
var errChanged = errors.New("the file changed")

func newHTTPSource(rawURL string, client *http.Client) (*httpSource, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("download %s: not an http or https URL", rawURL)
	}
	shown := *u
	if shown.RawQuery != "" {
		shown.RawQuery = "…"
	}
	if client == nil {
		client = newHTTPClient()
	}
	return &httpSource{url: rawURL, name: shown.Redacted(), client: client}, nil
}

func newHTTPClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	return &http.Client{Transport: transport}
}

func (h *httpSource) fail(kind error, detail string) error {
	return &Error{Op: "download", Where: h.name, Kind: kind, Detail: detail}
}

// httpResponse is the file from offset on.
type httpResponse struct {
	io.Reader
	offset  int64
	version version
	close   func()
}

func (r *httpResponse) Close() { r.close() }

// get asks for the file from offset on, of the version that was begun. The
// response may begin at 0 nevertheless.
func (h *httpSource) get(ctx context.Context, offset int64, begun version) (*httpResponse, error) {
	connection, cancel := context.WithCancel(ctx)
	request, err := http.NewRequestWithContext(connection, http.MethodGet, h.url, nil)
	if err != nil {
		cancel()
		return nil, h.fail(nil, err.Error())
	}
	request.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		if validator := begun.validator(); validator != "" {
			request.Header.Set("If-Range", validator)
		}
	}
	response, err := h.client.Do(request)
	if err != nil {
		cancel()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, h.requestError(err)
	}
	close := func() {
		response.Body.Close()
		cancel()
	}
	result, err := h.accept(response, offset, begun)
	if err != nil {
		close()
		return nil, err
	}
	stall := time.AfterFunc(stallLimit, cancel)
	result.Reader = &watchedReader{response.Body, stall}
	result.close = func() {
		stall.Stop()
		close()
	}
	return result, nil
}

// accept judges a response by its status and headers.
func (h *httpSource) accept(response *http.Response, offset int64, begun version) (*httpResponse, error) {
	result := &httpResponse{version: version{
		ETag:         response.Header.Get("ETag"),
		LastModified: response.Header.Get("Last-Modified"),
		Size:         response.ContentLength,
	}}
	switch status := response.StatusCode; {
	case status == http.StatusOK:
		return result, nil
	case status == http.StatusPartialContent && offset > 0:
		var ok bool
		if result.offset, result.version.Size, ok = contentRange(response); !ok || result.offset != offset {
			return nil, errChanged // or a server that miscounts
		}
		if result.version.Size < 0 {
			result.version.Size = begun.Size
		}
		if !result.version.same(begun) {
			return nil, errChanged
		}
		return result, nil
	case status == http.StatusRequestedRangeNotSatisfiable && offset > 0:
		return nil, errChanged
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return nil, h.fail(ErrDenied, "the server answers "+response.Status+"; is a login needed?")
	case status == http.StatusNotFound, status == http.StatusGone:
		return nil, h.fail(ErrNotFound, "the server answers "+response.Status+"; check the URL")
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests,
		status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported:
		return nil, &retryError{err: errors.New("the server answers " + response.Status), after: retryAfter(response)}
	}
	return nil, h.fail(nil, "the server answers "+response.Status)
}

// requestError sorts out the failures that no retry can heal.
func (h *httpSource) requestError(err error) error {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return h.fail(ErrDenied, certificate.Error())
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL, which may hold a secret
	}
	return &retryError{err: err}
}

// validator is what If-Range may carry.
func (v version) validator() string {
	if v.ETag != "" && !strings.HasPrefix(v.ETag, "W/") {
		return v.ETag
	}
	return v.LastModified
}

// comparable: two versions of the file could be told apart.
func (v version) comparable() bool { return v.ETag != "" || v.LastModified != "" }

func (v version) same(w version) bool {
	sizes := v.Size == w.Size || v.Size < 0 || w.Size < 0
	return sizes && strings.TrimPrefix(v.ETag, "W/") == strings.TrimPrefix(w.ETag, "W/") && v.LastModified == w.LastModified
}

// contentRange parses "bytes 5-9/10"; total is -1 for "*".
func contentRange(response *http.Response) (offset, total int64, ok bool) {
	span, ok := strings.CutPrefix(response.Header.Get("Content-Range"), "bytes ")
	if !ok {
		return 0, 0, false
	}
	span, size, _ := strings.Cut(span, "/")
	first, _, _ := strings.Cut(span, "-")
	offset, err := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
	if err != nil {
		return 0, 0, false
	}
	if total, err = strconv.ParseInt(strings.TrimSpace(size), 10, 64); err != nil {
		total = -1
	}
	return offset, total, true
}

// retryAfter is how long the server asks to wait, as seconds or as a date.
func retryAfter(response *http.Response) time.Duration {
	value := response.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(date))
	}
	return 0
}

// watchedReader ends a connection that gives no byte for too long.
type watchedReader struct {
	io.Reader
	stall *time.Timer
}

func (w *watchedReader) Read(p []byte) (int, error) {
	w.stall.Reset(stallLimit)
	n, err := w.Reader.Read(p)
	w.stall.Stop()
	return n, err
}
