// Package retry does again what failed for a reason that may pass, with growing pauses, until it succeeds or
// has failed too often in a row. Temporal retries activities; this is for what an activity, or a command
// without Temporal, does over a network many times.
package retry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Tries is how often in a row something may fail without progress, and FirstPause how long the first pause
// is.
const (
	Tries      = 6
	FirstPause = 500 * time.Millisecond

	longestPause = 30 * time.Second
	longestAsked = 5 * time.Minute // of the pauses that a server asks for
)

// Passing is a failure that may pass.
type Passing struct {
	Err   error
	After time.Duration // the server asks to wait that long; 0: it does not
}

func (e *Passing) Error() string { return e.Err.Error() }
func (e *Passing) Unwrap() error { return e.Err }

// ExhaustedError is a failure that did not pass. Err is the last one's, without what marked it as passing.
type ExhaustedError struct {
	Err   error
	Tries int
}

func (e *ExhaustedError) Error() string { return fmt.Sprintf("%v (%d tries)", e.Err, e.Tries) }
func (e *ExhaustedError) Unwrap() error { return e.Err }

// Pauser waits for a time, or until ctx ends, whose cause it returns then.
type Pauser func(ctx context.Context, d time.Duration) error

// Persist calls try until it succeeds, fails with an error that is no Passing one, or has failed Tries times
// since it last reported progress: then the error is an ExhaustedError.
func (pause Pauser) Persist(ctx context.Context, try func() (progress bool, err error)) error {
	for failures := 0; ; {
		progress, err := try()
		var again *Passing
		if err == nil || !errors.As(err, &again) {
			return err
		}
		if progress {
			failures = 0
		}
		if failures++; failures >= Tries {
			return &ExhaustedError{Err: again.Err, Tries: failures}
		}
		wait := min(FirstPause<<(failures-1), longestPause)
		if again.After > 0 {
			wait = min(again.After, longestAsked)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// NobodyThere is the part of an error that says that an address has no server: no such name, or nobody who
// listens. Another attempt seldom changes that. nil: there is none.
func NobodyThere(err error) error {
	var dial *net.OpError
	var name *net.DNSError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return name
	case errors.As(err, &dial) && dial.Op == "dial" && !dial.Timeout():
		return dial
	}
	return nil
}

// Pause is the Pauser that waits.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Passes says of an HTTP status whether the same request may get another one later.
func Passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return status >= 500
}

// After is how long an answer asks to wait, in seconds or until a date; 0: it does not ask.
func After(response *http.Response) time.Duration {
	value := response.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, int(longestAsked/time.Second))) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(date))
	}
	return 0
}
