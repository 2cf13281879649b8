package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"distilvit/caption"
)

// answer is what is said of a picture.
type answer struct {
	caption.Caption
	Milliseconds int64 `json:"milliseconds"` // from the request's head to its caption
}

// caption answers POST /caption: a place in the queue, the picture's file, a turn, a caption.
func (s *Server) caption(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	out := &responder{ResponseWriter: w, control: http.NewResponseController(w), status: http.StatusOK}
	defer func() {
		s.metrics.answered(out.status, time.Since(begun))
		e := entryOf(r)
		e.status, e.fault = out.status, out.fault // of a stream the status may be another than its head's
	}()
	if refused := s.enter(); refused != nil {
		out.refuse(refused)
		return
	}
	defer s.leave()
	ctx, cancel := s.context(r)
	defer cancel()
	out.stream = accepts(r, "text/event-stream")
	said, err := s.describe(ctx, r, out)
	if err != nil {
		out.fail(ctx, err)
		return
	}
	out.done(answer{said, time.Since(begun).Milliseconds()})
}

// context is a request's, which also ends with its time and with the server.
func (s *Server) context(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), s.options.Timeout, &refusal{http.StatusServiceUnavailable,
		fmt.Sprintf("no caption within %s", s.options.Timeout), time.Second})
	ctx, end := context.WithCancelCause(ctx)
	forget := context.AfterFunc(s.stopped, func() { end(context.Cause(s.stopped)) })
	return ctx, func() { forget(); end(nil); cancel() }
}

// describe reads the picture and captions it when it is its turn.
func (s *Server) describe(ctx context.Context, r *http.Request, out *responder) (caption.Caption, error) {
	file, release, err := s.file(ctx, r, out.control)
	if err != nil {
		return caption.Caption{}, err
	}
	defer release()
	waits := time.Now()
	select {
	case s.turns <- struct{}{}:
	case <-ctx.Done():
		entryOf(r).queued = time.Since(waits)
		return caption.Caption{}, context.Cause(ctx)
	}
	defer func() { <-s.turns }()
	defer s.metrics.worked(time.Now())
	entryOf(r).queued = time.Since(waits)
	picture, err := s.captioner.Decode(file)
	switch {
	case errors.Is(err, caption.ErrTooLarge):
		return caption.Caption{}, &refusal{http.StatusRequestEntityTooLarge, err.Error(), 0}
	case errors.Is(err, caption.ErrFormat):
		return caption.Caption{}, &refusal{http.StatusUnsupportedMediaType, err.Error() + hint(r), 0}
	case err != nil:
		return caption.Caption{}, &refusal{http.StatusUnprocessableEntity, err.Error() + hint(r), 0}
	}
	return s.captioner.Stream(ctx, picture, out.grow)
}

// hint says what may have become of a file on its way here.
func hint(r *http.Request) string {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		return ""
	}
	return "; curl's -d takes the line ends out of a file: send it by --data-binary @FILE or -F image=@FILE"
}

// responder writes an answer: JSON, or server-sent events.
type responder struct {
	http.ResponseWriter
	control *http.ResponseController
	stream  bool
	begun   bool // an event is out: the status cannot change any more
	status  int
	fault   error // of the server's own
}

// slowest is how long a client may take to read a part of an answer.
const slowest = 10 * time.Second

// grow sends what there is of a caption where it is streamed.
func (out *responder) grow(text string) error {
	if !out.stream {
		return nil
	}
	return out.event("text", struct {
		Text string `json:"text"`
	}{text})
}

func (out *responder) done(a answer) {
	if out.stream {
		_ = out.event("caption", a) // who has gone away does not hear of it
		return
	}
	_ = out.control.SetWriteDeadline(time.Now().Add(slowest))
	out.Header().Set("Content-Type", "application/json")
	writeJSON(out, a)
}

// fail answers with an error: a refusal as it is, all else as the server's own fault.
func (out *responder) fail(ctx context.Context, err error) {
	var refused *refusal
	if ended := context.Cause(ctx); ended != nil && !errors.As(err, &refused) {
		err = ended
	}
	switch {
	case errors.As(err, &refused):
	case errors.Is(err, context.Canceled): // the client has gone away
		refused = &refusal{statusClientGone, "the client has gone away", 0}
	case errors.Is(err, caption.ErrClosed):
		refused = errStopping
	default:
		refused = &refusal{http.StatusInternalServerError, err.Error(), 0}
		out.fault = err
	}
	if out.begun {
		out.status = refused.status
		_ = out.event("error", problem{http.StatusText(refused.status), refused.status, refused.detail})
		return
	}
	out.refuse(refused)
}

// statusClientGone is what nginx logs where nobody is there to be answered.
const statusClientGone = 499

// lingering is how long what an already answered client still sends is waited for, so that it can read its answer.
const lingering = time.Second

func (out *responder) refuse(r *refusal) {
	out.status = r.status
	_ = out.control.SetReadDeadline(time.Now().Add(lingering))
	_ = out.control.SetWriteDeadline(time.Now().Add(slowest))
	refuse(out.ResponseWriter, r)
}

// event sends a server-sent event.
func (out *responder) event(name string, data any) error {
	if !out.begun {
		out.begun = true
		out.Header().Set("Content-Type", "text/event-stream")
		out.Header().Set("Cache-Control", "no-store")
		out.Header().Set("X-Accel-Buffering", "no") // nginx would wait for more
	}
	line, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_ = out.control.SetWriteDeadline(time.Now().Add(slowest))
	if _, err := fmt.Fprintf(out, "event: %s\ndata: %s\n\n", name, line); err != nil {
		return gone{err}
	}
	if err := out.control.Flush(); err != nil {
		return gone{err}
	}
	return nil
}

// gone is an error of writing to a client that has gone away or does not read.
type gone struct{ error }

// Is makes it the same as a request's context that has ended.
func (gone) Is(target error) bool { return target == context.Canceled }

// accepts says whether a request names a type of answer.
func accepts(r *http.Request, kind string) bool {
	for _, value := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(name), kind) {
				return true
			}
		}
	}
	return false
}
