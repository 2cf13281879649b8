package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ErrUnavailable: the hub, or where it sent us, does not answer or is
// overloaded; later it may go. Any other failure needs somebody to act: a
// full disk is syscall.ENOSPC, the rest a wrong name, missing rights or bytes
// that are not what the hub says they are.
var ErrUnavailable = errors.New("unavailable")

// errChanged: what the hub says of a file differs from what it said before.
var errChanged = errors.New("the file changed on the hub while it was fetched")

// retryError is a failure that may pass.
type retryError struct {
	err   error
	after time.Duration // the server asks to wait that long; 0: it does not
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// errStalled is the cause of a connection's end that gave nothing for too long.
var errStalled = &retryError{err: errors.New("no byte came for too long")}

const (
	tries         = 6 // in a row without a new byte
	firstPause    = 500 * time.Millisecond
	longestPause  = 30 * time.Second
	longestAsked  = 5 * time.Minute // of pauses a server asks for by Retry-After
	stallLimit    = time.Minute
	headerTimeout = 30 * time.Second // for the answer's header
)

// persist calls try until it succeeds, fails for good, or has failed too often
// without progress.
func (c *Client) persist(ctx context.Context, try func() (progress bool, err error)) error {
	for failures := 0; ; {
		progress, err := try()
		var again *retryError
		if err == nil || !errors.As(err, &again) {
			return err
		}
		if progress {
			failures = 0
		}
		if failures++; failures >= tries {
			return fmt.Errorf("%w: %w (%d tries)", ErrUnavailable, again.err, failures)
		}
		wait := min(firstPause<<(failures-1), longestPause)
		if again.after > 0 {
			wait = min(again.after, longestAsked)
		}
		if err := c.pause(ctx, wait); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// refusal is what an answer that is no success means.
func (c *Client) refusal(r Repo, response *http.Response) error {
	what, page := r.Kind+" "+r.ID, c.page(r)
	said := remark(response)
	switch code := response.Header.Get("X-Error-Code"); {
	case code == "RevisionNotFound":
		return fmt.Errorf("it has no revision %s: check the branch, tag or commit", r.Revision)
	case code == "EntryNotFound":
		return fmt.Errorf("the revision has no such file%s", said)
	case code == "GatedRepo" && c.token == "":
		return fmt.Errorf("it is gated: accept its licence on %s and set HF_TOKEN to a token of that account", page)
	case code == "GatedRepo":
		return fmt.Errorf("it is gated and the account of HF_TOKEN has no access: accept its licence on %s", page)
	case response.StatusCode == http.StatusUnauthorized && code != "RepoNotFound" && c.token != "":
		return fmt.Errorf("%s does not accept the token%s: check HF_TOKEN, or log in again", c.endpoint.Host, said)
	case response.StatusCode == http.StatusForbidden:
		return fmt.Errorf("the token in HF_TOKEN may not read it%s: give it read access, and accept the licence on %s if there is one", said, page)
	case response.StatusCode == http.StatusUnauthorized, response.StatusCode == http.StatusNotFound:
		hint := "for a private one set HF_TOKEN"
		if c.token != "" {
			hint = "for a private one the account of HF_TOKEN needs access"
		}
		return fmt.Errorf("%s has no %s, or it is private: check the name; %s", c.endpoint.Host, what, hint)
	}
	return fmt.Errorf("%s answers %s%s", response.Request.URL.Host, status(response), said)
}

// passing are answers that may be another one later; nil for all others.
func passing(response *http.Response) error {
	switch s := response.StatusCode; {
	case s == http.StatusTooManyRequests:
		return &retryError{after: retryAfter(response), err: fmt.Errorf(
			"%s limits how much is asked of it (%s): wait some minutes, or set HF_TOKEN, which has higher limits", response.Request.URL.Host, status(response))}
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s >= 500 && s != http.StatusNotImplemented && s != http.StatusHTTPVersionNotSupported:
		return &retryError{after: retryAfter(response), err: fmt.Errorf("%s answers %s", response.Request.URL.Host, status(response))}
	}
	return nil
}

// status is the code with its standard text: the server's own is not trusted.
func status(response *http.Response) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", response.StatusCode, http.StatusText(response.StatusCode)))
}

// remark is what the hub says of an error, in brackets.
func remark(response *http.Response) string {
	const limit = 200
	said := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, response.Header.Get("X-Error-Message"))
	if said = strings.TrimSuffix(strings.TrimSpace(strings.ToValidUTF8(said, "")), "."); said == "" {
		return ""
	}
	if len(said) > limit {
		said = strings.ToValidUTF8(said[:limit], "") + "…"
	}
	return " (" + said + ")"
}

// retryAfter is how long the server asks to wait, as seconds or as a date.
func retryAfter(response *http.Response) time.Duration {
	value := response.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, int(longestAsked/time.Second))) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(date))
	}
	return 0
}
