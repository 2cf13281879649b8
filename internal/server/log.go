package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// entry is the line that the log gets of a request. It has nothing of what was sent or said: no query, no header, no
// address, and no text but the server's own errors.
type entry struct {
	http.ResponseWriter
	status   int
	sent     int64 // bytes of the answer's body
	received int64 // bytes that were read of the request's
	queued   time.Duration
	fault    error // of the server's own
}

type entryKey struct{}

// entryOf is a request's entry.
func entryOf(r *http.Request) *entry { return r.Context().Value(entryKey{}).(*entry) }

// logged answers a request with next and writes its line.
func (s *Server) logged(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter, *http.Request)) {
	begun := time.Now()
	e := &entry{ResponseWriter: w, status: http.StatusOK}
	r = r.WithContext(context.WithValue(r.Context(), entryKey{}, e))
	r.Body = &counted{r.Body, &e.received}
	if s.options.Log != nil {
		defer func() { e.write(s.options.Log, r, time.Since(begun)) }()
	}
	next(e, r)
}

// write writes the line; those of who only asks how the server is are for debugging.
func (e *entry) write(log *slog.Logger, r *http.Request, took time.Duration) {
	level, attrs := slog.LevelInfo, []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", e.status),
		slog.Int64("bytes_in", e.received), slog.Int64("bytes_out", e.sent),
		slog.Float64("seconds", seconds(took)), slog.Float64("queue_seconds", seconds(e.queued)),
	}
	switch r.URL.Path {
	case "/healthz", "/readyz", "/metrics":
		level = slog.LevelDebug
	}
	if e.fault != nil {
		level, attrs = slog.LevelError, append(attrs, slog.String("error", e.fault.Error()))
	}
	log.LogAttrs(context.WithoutCancel(r.Context()), level, "request", attrs...)
}

// seconds are a duration's, to the millisecond.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

func (e *entry) WriteHeader(status int) {
	e.status = status
	e.ResponseWriter.WriteHeader(status)
}

func (e *entry) Write(p []byte) (int, error) {
	n, err := e.ResponseWriter.Write(p)
	e.sent += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (e *entry) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// counted counts what is read of a request's body.
type counted struct {
	io.ReadCloser
	n *int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	*c.n += int64(n)
	return n, err
}
