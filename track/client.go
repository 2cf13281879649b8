package track

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"distilvit/internal/download"
	"distilvit/internal/retry"
)

const (
	requestTimeout = 30 * time.Second
	maxAnswer      = 16 << 20 // bytes
)

// ErrUnavailable says that a server does not answer or is overloaded; later it may go. Any other failure needs
// somebody to act.
var ErrUnavailable = errors.New("unavailable")

// client makes requests of JSON that are tried again while they may pass.
type client struct {
	base  *url.URL // with the account, which no error shows
	http  *http.Client
	pause retry.Pauser
}

func newClient(base string) (*client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("it is no http or https URL") // which is not shown: it may hold a secret
	}
	c := *download.NewClient(requestTimeout)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{base: u, http: &c, pause: retry.Pause}, nil
}

// send sends a body to a path below the base and answers the status and what came back.
func (c *client) send(
	ctx context.Context, method, path string, header http.Header, body []byte,
) (status int, answer []byte, err error) {
	target := *c.base
	account := target.User
	target.User = nil
	if at, query, ok := strings.Cut(path, "?"); ok {
		path, target.RawQuery = at, query
	}
	target.Path += path
	failed := c.pause.Persist(ctx, func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
		if err != nil {
			return false, fmt.Errorf("%s: not a request", c.base.Host)
		}
		for name, values := range header {
			request.Header[name] = values
		}
		request.Header.Set("User-Agent", "distilvit")
		request.Header.Set("Content-Type", "application/json")
		if account != nil {
			password, _ := account.Password()
			request.SetBasicAuth(account.Username(), password)
		}
		response, err := c.http.Do(request)
		if err != nil {
			return false, c.failed(ctx, err)
		}
		defer response.Body.Close()
		if status = response.StatusCode; retry.Passes(status) {
			return false, &retry.Passing{Err: c.said(status, nil), After: retry.After(response)}
		}
		if answer, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer)); err != nil {
			return false, c.failed(ctx, err)
		}
		return false, nil
	})
	if exhausted := new(retry.ExhaustedError); errors.As(failed, &exhausted) {
		failed = fmt.Errorf("%w: %w", ErrUnavailable, exhausted)
	}
	return status, answer, failed
}

// failed is a connection's failure without the URL.
func (c *client) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	reason, passes := download.Failed(err)
	if err = fmt.Errorf("%s: %w", c.base.Host, reason); !passes {
		return err
	}
	return &retry.Passing{Err: err}
}

// said is an answer that is no success.
func (c *client) said(status int, answer []byte) error {
	var told struct {
		Message string `json:"message"`
	}
	text := fmt.Sprintf("%s answers %d %s", c.base.Host, status, http.StatusText(status))
	if json.Unmarshal(answer, &told) == nil && told.Message != "" {
		const limit = 200
		line := strings.Join(strings.Fields(told.Message), " ")
		text += " (" + strings.ToValidUTF8(line[:min(limit, len(line))], "") + ")"
	}
	return errors.New(text)
}
