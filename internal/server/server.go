// Package server answers HTTP requests for captions, within bounds of memory and time whatever is sent. It does not
// listen, and knows neither models nor pictures: package caption does. Its interface is openapi.json. Start reading
// at New and, for a request's way, at caption in caption.go.
package server

import (
	"context"
	_ "embed" // openapi.json
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"distilvit/caption"
	"distilvit/internal/hostcheck"
)

// Captioner makes captions: a *caption.Captioner.
type Captioner interface {
	Decode(file []byte) (caption.Picture, error)
	Stream(ctx context.Context, p caption.Picture, said func(text string) error) (caption.Caption, error)
}

// Options of New. Each limit has to be set; DefaultOptions has good ones.
type Options struct {
	MaxBytes    int64         // of a picture's file
	AllBytes    int64         // of all files that have come or are coming, at least MaxBytes
	Concurrency int           // requests that decode and caption at the same time
	Queue       int           // further requests that wait or send; one more is answered 429
	Upload      time.Duration // from a request's head to the end of its body
	Timeout     time.Duration // from a request's head to its caption

	// Fetch gets a picture of a URL, of at most so many bytes. Nil: URLs are refused.
	Fetch func(ctx context.Context, url string, maxBytes int64) ([]byte, error)

	Hosts hostcheck.Rules // which requests are meant for this server; Origins are those of CORS
	Page  http.Handler    // answers all that is not the interface; nil: 404
	Log   *slog.Logger    // gets a line for each request; nil: none
}

// DefaultOptions are those of a small machine.
func DefaultOptions() Options {
	return Options{
		MaxBytes: 20 << 20, AllBytes: 64 << 20, Concurrency: 1, Queue: 32,
		Upload: 30 * time.Second, Timeout: time.Minute,
	}
}

// Server is an http.Handler. Its memory is bounded: AllBytes, and for each of Concurrency what decoding takes.
type Server struct {
	options   Options
	captioner Captioner
	handler   http.Handler
	metrics   *metrics

	places chan struct{} // of requests for captions, taken and given back under mu
	turns  chan struct{} // of those that decode and caption
	bytes  *semaphore.Weighted

	stop     context.CancelCauseFunc // ends all requests
	stopped  context.Context
	mu       sync.Mutex
	draining bool
	empty    chan struct{} // closed when draining and none is open
}

// New makes a server.
func New(c Captioner, o Options) *Server {
	s := &Server{
		options: o, captioner: c,
		places: make(chan struct{}, o.Concurrency+o.Queue), turns: make(chan struct{}, o.Concurrency),
		bytes: semaphore.NewWeighted(o.AllBytes), empty: make(chan struct{}),
	}
	s.metrics = newMetrics(s)
	s.stopped, s.stop = context.WithCancelCause(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("POST /caption", s.caption)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.metrics.handler())
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(OpenAPI)
	})
	if o.Page != nil {
		mux.Handle("GET /", beside(o.Page))
	}
	s.handler = mux
	return s
}

// beside is the page, which does not answer for what the interface has by another method.
func beside(page http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/caption" {
			page.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, &refusal{http.StatusMethodNotAllowed, "send a picture by POST, as curl --data-binary @FILE does", 0})
	})
}

// OpenAPI is the document that describes the interface, of OpenAPI 3.1.
//
//go:embed openapi.json
var OpenAPI []byte

// ServeHTTP refuses what is not meant for this server and answers the rest.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.logged(w, r, s.answer) }

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	if err := s.options.Hosts.Check(r); err != nil {
		refuse(w, &refusal{http.StatusForbidden, err.Error(), 0})
		return
	}
	if s.options.Hosts.Share(w, r, "GET, POST", "Accept, Content-Type") {
		return
	}
	w.Header().Set("Access-Control-Expose-Headers", "Retry-After")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.handler.ServeHTTP(w, r)
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		plain(w, http.StatusServiceUnavailable, "stopping")
		return
	}
	plain(w, http.StatusOK, "ok")
}

// Drain refuses further requests for captions with 503 and waits for those that are open; when the context ends,
// it ends them. Call it before http.Server.Shutdown, so that who comes meanwhile gets an answer.
func (s *Server) Drain(ctx context.Context) {
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		if len(s.places) == 0 {
			close(s.empty)
		}
	}
	s.mu.Unlock()
	select {
	case <-s.empty:
	case <-ctx.Done():
		s.stop(errStopping)
		<-s.empty // every step of a request looks at that
	}
	s.stop(errStopping)
}

// enter takes a place for a request, or says why there is none.
func (s *Server) enter() *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return errStopping
	}
	select {
	case s.places <- struct{}{}:
		return nil
	default:
		return &refusal{http.StatusTooManyRequests,
			fmt.Sprintf("%d requests are waiting already", s.options.Queue), s.metrics.wait(len(s.places))}
	}
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	<-s.places
	if s.draining && len(s.places) == 0 {
		close(s.empty)
	}
}

// refusal is an error with the status it is answered with.
type refusal struct {
	status int
	detail string
	after  time.Duration // when to try again; 0: that is of no use
}

func (r *refusal) Error() string { return r.detail }

var errStopping = &refusal{http.StatusServiceUnavailable, "the server is stopping", time.Second}

// refuse answers with a problem of RFC 9457.
func refuse(w http.ResponseWriter, r *refusal) {
	if r.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((r.after+time.Second-1)/time.Second)))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(r.status)
	writeJSON(w, problem{http.StatusText(r.status), r.status, r.detail})
}

// problem is an error's body.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// writeJSON writes one line. Who has gone away does not hear of it.
func writeJSON(w http.ResponseWriter, v any) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}
