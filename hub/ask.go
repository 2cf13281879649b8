package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"distilvit/internal/retry"
)

// answerTimeout is how long the hub may think about what was sent: a commit, or the parts of a large file.
const answerTimeout = 5 * time.Minute

const maxAnswerBytes = 64 << 20

// refused is an answer that another try would not change.
type refused struct {
	status int
	err    error
}

func (e *refused) Error() string { return e.err.Error() }
func (e *refused) Unwrap() error { return e.err }

// postJSON sends a value as JSON of this content type and reads the answer into out, unless that is nil.
func (c *Client) postJSON(ctx context.Context, r Repo, target, contentType string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.ask(ctx, r, http.MethodPost, target, contentType, body, out)
}

// ask makes a request of an API and reads the JSON of its answer into out, unless that is nil. What may pass is
// tried again; a *refused is for good.
func (c *Client) ask(
	ctx context.Context, r Repo, method, target, contentType string, body []byte, out any,
) error {
	return c.persist(ctx, func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errStalled)
		defer cancel()
		header := http.Header{}
		if contentType != "" {
			header.Set("Content-Type", contentType)
		}
		if contentType == lfsType {
			header.Set("Accept", lfsType)
		}
		var reader io.Reader
		if body != nil {
			reader = bytes.NewReader(body)
		}
		response, err := c.once(ctx, nil, method, target, header, reader, int64(len(body)))
		if nobody := retry.NobodyThere(err); nobody != nil { // no connection is said at once
			return fmt.Errorf("%w: %s: %w", ErrUnavailable, c.endpoint.Host, nobody)
		}
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode < 200 || response.StatusCode > 299 {
			if err := passing(response); err != nil {
				return err
			}
			return c.pushRefusal(r, response)
		}
		raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
		if err != nil {
			return requestError(ctx, c.endpoint.Host, err)
		}
		if out != nil && json.Unmarshal(raw, out) != nil {
			return fmt.Errorf("what answers at %s is not the Hugging Face hub: check HF_ENDPOINT and the network's proxy",
				c.endpoint)
		}
		return nil
	})
}

// pushRefusal is what an answer to a push means that is no success.
func (c *Client) pushRefusal(r Repo, response *http.Response) error {
	said, status := complaint(response), response.StatusCode
	var err error
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		err = fmt.Errorf("%s says that %s has moved: push to its new name", c.endpoint.Host, r.ID)
	case http.StatusUnauthorized:
		err = fmt.Errorf("%s does not accept the token%s: check HF_TOKEN, or log in again", c.endpoint.Host, said)
	case http.StatusForbidden, http.StatusPaymentRequired:
		err = fmt.Errorf("the account of HF_TOKEN may not write there%s: give the token write access to %s", said, r.ID)
	case http.StatusNotFound:
		err = fmt.Errorf("%s has no %s %s that this token may write to%s", c.endpoint.Host, r.Kind, r.ID, said)
	case http.StatusRequestEntityTooLarge:
		err = fmt.Errorf("%s takes no more: too large for it, or the account's space is full%s",
			response.Request.URL.Host, said)
	default:
		err = fmt.Errorf("%s answers %s%s", response.Request.URL.Host, statusText(response), said)
	}
	return &refused{status, err}
}

// complaint is what the hub says of an error, in brackets: in a header, or in its answer's JSON.
func complaint(response *http.Response) string {
	if said := remark(response); said != "" {
		return said
	}
	const most = 64 << 10
	raw, err := io.ReadAll(io.LimitReader(response.Body, most))
	var answer struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}
	if err != nil || json.Unmarshal(raw, &answer) != nil {
		return ""
	}
	return brackets(answer.Error + answer.Message)
}
