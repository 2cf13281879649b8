package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"distilvit/internal/version"
)

// Picture gets a picture's file of a URL once, of at most maxBytes and within limit. An error has nothing of the
// URL in it, which may hold what is secret.
func Picture(
	ctx context.Context, client *http.Client, from string, maxBytes int64, limit time.Duration,
) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not all of it came within %s", limit))
	defer cancel()
	raw, err := picture(ctx, client, from, maxBytes)
	err, _ = Failed(err)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return raw, err
}

func picture(ctx context.Context, client *http.Client, from string, maxBytes int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "distilvit/"+version.Program())
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	tooLarge := fmt.Errorf("has more than %d bytes; a picture has at most that", maxBytes)
	switch {
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the server answers %s", answer.Status)
	case strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html"):
		return nil, errors.New("the server answers with a web page, not with a picture")
	case answer.ContentLength > maxBytes:
		return nil, tooLarge
	}
	b := bytes.NewBuffer(make([]byte, 0, max(answer.ContentLength, 0)+bytes.MinRead))
	if _, err := b.ReadFrom(io.LimitReader(answer.Body, maxBytes+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > maxBytes {
		return nil, tooLarge
	}
	return b.Bytes(), nil
}
