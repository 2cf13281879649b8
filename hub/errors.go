package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"distilvit/internal/retry"
)

// ErrUnavailable says that the hub, or where it sent us, does not answer or is
// overloaded; later it may go. Any other failure needs somebody to act: a
// full disk is syscall.ENOSPC, the rest a wrong name, missing rights or bytes
// that are not what the hub says they are.
var ErrUnavailable = errors.New("unavailable")

// errChanged: what the hub says of a file differs from what it said before.
var errChanged = errors.New("the file changed on the hub while it was fetched")

// errStalled is the cause of a connection's end that gave nothing for too long.
var errStalled = &retry.Passing{Err: errors.New("no byte came for too long")}

const (
	stallLimit    = time.Minute
	headerTimeout = 30 * time.Second // for the answer's header
)

// persist calls try until it succeeds, fails for good, or has failed too often.
func (c *Client) persist(ctx context.Context, try func() error) error {
	return exhausted(c.pause.Persist(ctx, func() (bool, error) { return false, try() }))
}

// exhausted makes ErrUnavailable of a failure that did not pass.
func exhausted(err error) error {
	if failed := new(retry.ExhaustedError); errors.As(err, &failed) {
		return fmt.Errorf("%w: %w", ErrUnavailable, failed)
	}
	return err
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
		return fmt.Errorf(
			"it is gated: accept its licence on %s and set HF_TOKEN to a token of that account", page,
		)
	case code == "GatedRepo":
		return fmt.Errorf(
			"it is gated and the account of HF_TOKEN has no access: accept its licence on %s", page,
		)
	case response.StatusCode == http.StatusUnauthorized && code != "RepoNotFound" && c.token != "":
		return fmt.Errorf("%s does not accept the token%s: check HF_TOKEN, or log in again",
			c.endpoint.Host, said)
	case response.StatusCode == http.StatusForbidden:
		return fmt.Errorf("the token in HF_TOKEN may not read it%s: give it read access, and accept the "+
			"licence on %s if there is one", said, page)
	case response.StatusCode == http.StatusUnauthorized, response.StatusCode == http.StatusNotFound:
		hint := "for a private one set HF_TOKEN"
		if c.token != "" {
			hint = "for a private one the account of HF_TOKEN needs access"
		}
		return fmt.Errorf("%s has no %s, or it is private: check the name; %s", c.endpoint.Host, what, hint)
	}
	return fmt.Errorf("%s answers %s%s", response.Request.URL.Host, statusText(response), said)
}

// passing are answers that may be another one later; nil for all others.
func passing(response *http.Response) error {
	s, host := response.StatusCode, response.Request.URL.Host
	if !retry.Passes(s) {
		return nil
	}
	err := fmt.Errorf("%s answers %s", host, statusText(response))
	if s == http.StatusTooManyRequests {
		err = fmt.Errorf("%s limits how much is asked of it (%s): wait some minutes, or set HF_TOKEN, "+
			"which has higher limits",
			host, statusText(response))
	}
	return &retry.Passing{Err: err, After: retry.After(response)}
}

// statusText is the code with its standard text: the server's own is not trusted.
func statusText(response *http.Response) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", response.StatusCode, http.StatusText(response.StatusCode)))
}

// remark is what the hub says of an error, in brackets.
func remark(response *http.Response) string { return brackets(response.Header.Get("X-Error-Message")) }

func brackets(said string) string {
	if said = strings.TrimSuffix(oneLine(said), "."); said == "" {
		return ""
	}
	return " (" + said + ")"
}

// oneLine is a server's text for a message.
func oneLine(text string) string {
	const limit = 200
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if text = strings.TrimSpace(text); len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}
