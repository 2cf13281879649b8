package storage

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"distilvit/storage/layout"
)

// LongestPresign is for how long a URL can be signed at most: S3's own limit.
const LongestPresign = 7 * 24 * time.Hour

// Link is a URL that anybody may download one object with, without keys, for a while.
type Link struct {
	URL   string
	Until time.Time // when the store refuses it; sooner where the keys it is signed with end sooner
}

// Presign signs a URL to download an object with, and asks for the object's first byte by it: ErrNotFound
// where there is none, ErrCorrupt where it has another size, ErrDenied where the store takes no signed URLs.
func (s *Store) Presign(ctx context.Context, o layout.Object, valid time.Duration) (Link, error) {
	if valid < time.Second || valid > LongestPresign {
		return Link{}, s.fail("sign", o.Key, nil,
			fmt.Sprintf("a URL can be valid for 1s to %s, not %s", LongestPresign, valid))
	}
	link := Link{Until: time.Now().Add(valid)}
	keys, err := s.core.GetCreds()
	if err != nil {
		return Link{}, s.wrap(ctx, "sign", o.Key, err)
	}
	if !keys.Expiration.IsZero() && keys.Expiration.Before(link.Until) {
		link.Until = keys.Expiration
	}
	signed, err := s.core.PresignedGetObject(ctx, s.config.Bucket, o.Key, valid, nil)
	if err != nil {
		return Link{}, s.wrap(ctx, "sign", o.Key, err)
	}
	link.URL = signed.String()
	return link, s.tryLink(ctx, o, link.URL)
}

// tryLink downloads the first byte as somebody without keys does.
func (s *Store) tryLink(ctx context.Context, o layout.Object, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return s.wrap(ctx, "try the URL of", o.Key, err)
	}
	if o.Size > 0 {
		request.Header.Set("Range", "bytes=0-0")
	}
	answer, err := (&http.Client{Transport: s.transport}).Do(request)
	if err != nil {
		return s.wrap(ctx, "try the URL of", o.Key, err)
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return s.compareSize(o, answer)
	case http.StatusRequestedRangeNotSatisfiable: // it has no first byte
		return s.fail("try the URL of", o.Key, ErrCorrupt, fmt.Sprintf("no bytes are stored instead of %d", o.Size))
	case http.StatusNotFound:
		return s.fail("try the URL of", o.Key, ErrNotFound, "")
	}
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	kind, detail := ErrUnavailable, answer.Status+" "+string(said)
	if answer.StatusCode < http.StatusInternalServerError {
		kind, detail = ErrDenied, "the store takes no signed URL: "+detail+" (fetch with keys instead)"
	}
	return s.fail("try the URL of", o.Key, kind, oneLine(fmt.Errorf("%s", detail)))
}

// compareSize refuses an object of another size, which Content-Range tells after its slash.
func (s *Store) compareSize(o layout.Object, answer *http.Response) error {
	size := answer.ContentLength
	if _, whole, ok := strings.Cut(answer.Header.Get("Content-Range"), "/"); ok {
		size, _ = strconv.ParseInt(whole, 10, 64)
	}
	if size != o.Size {
		return s.fail("try the URL of", o.Key, ErrCorrupt, fmt.Sprintf("%d bytes are stored instead of %d", size, o.Size))
	}
	return nil
}
