package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"distilvit/internal/testenv/modeltest"
)

// document is of openapi.json what a response is held against.
type document struct {
	t        *testing.T
	compiler *jsonschema.Compiler
	paths    map[string]map[string]struct {
		Responses map[string]response
	}
	named map[string]response // components.responses
	seen  map[string]bool     // METHOD PATH STATUS
}

type response struct {
	Ref     string `json:"$ref"`
	Headers map[string]any
	Content map[string]struct{ Schema json.RawMessage }
}

func readDocument(t *testing.T) *document {
	t.Helper()
	d := &document{t: t, compiler: jsonschema.NewCompiler(), seen: map[string]bool{}}
	var read struct {
		Paths map[string]map[string]struct {
			Responses map[string]response
		}
		Components struct{ Responses map[string]response }
	}
	require.NoError(t, json.Unmarshal(OpenAPI, &read))
	d.paths, d.named = read.Paths, read.Components.Responses
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(OpenAPI))
	require.NoError(t, err)
	require.NoError(t, d.compiler.AddResource("openapi.json", whole))
	return d
}

// check holds what the server answered against the document.
func (d *document) check(method, path string, got *http.Response, body []byte) {
	d.t.Helper()
	name := method + " " + path + " " + strconv.Itoa(got.StatusCode)
	d.seen[name] = true
	want, ok := d.paths[path][strings.ToLower(method)].Responses[strconv.Itoa(got.StatusCode)]
	if !ok {
		d.t.Errorf("%s is not described: %s", name, body)
		return
	}
	if ref, ok := strings.CutPrefix(want.Ref, "#/components/responses/"); ok {
		want = d.named[ref]
	}
	for header := range want.Headers {
		if got.Header.Get(header) == "" {
			d.t.Errorf("%s has no %s", name, header)
		}
	}
	kind, _, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	require.NoError(d.t, err, name)
	content, ok := want.Content[kind]
	if !ok {
		d.t.Errorf("%s: %s is not described", name, kind)
		return
	}
	if !strings.HasSuffix(kind, "json") {
		return
	}
	var schema struct {
		Ref string `json:"$ref"`
	}
	require.NoError(d.t, json.Unmarshal(content.Schema, &schema))
	if schema.Ref == "" {
		require.True(d.t, json.Valid(body), name)
		return
	}
	compiled, err := d.compiler.Compile("openapi.json" + schema.Ref)
	require.NoError(d.t, err)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	require.NoError(d.t, err, "%s: %s", name, body)
	require.NoError(d.t, compiled.Validate(value), "%s: %s", name, body)
}

// Everything that openapi.json describes is answered, and nothing else is.
func TestOpenAPIDescribesWhatIsAnswered(t *testing.T) {
	d := readDocument(t)
	good := modeltest.PNG(t, modeltest.Picture(0))
	model := real(t)
	ask := func(s *Server, method, path string, body io.Reader, header ...string) {
		r := httptest.NewRequest(method, "http://localhost"+path, body)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		d.check(method, path, w.Result(), w.Body.Bytes())
	}
	caption := func(s *Server, body io.Reader, header ...string) { ask(s, "POST", "/caption", body, header...) }

	s := New(model, DefaultOptions())
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/openapi.json"} {
		ask(s, "GET", path, nil)
	}
	caption(s, bytes.NewReader(good))                                                           // 200
	caption(s, bytes.NewReader(good), "Accept", "text/event-stream")                            // 200
	caption(s, strings.NewReader(""))                                                           // 400
	caption(s, strings.NewReader("--x\r\n"), "Content-Type", "multipart/form-data; boundary=x") // 400
	caption(s, strings.NewReader(`{"url": "http://a"}`), "Content-Type", "application/json")    // 403
	caption(s, bytes.NewReader(good), "Origin", "https://attacker.example")                     // 403
	caption(s, bytes.NewReader(large(t)))                                                       // 413, by pixels
	caption(s, strings.NewReader("no picture"))                                                 // 415, by bytes
	caption(s, bytes.NewReader(good), "Content-Type", "text/html")                              // 200: the bytes tell
	caption(s, bytes.NewReader(good[:len(good)/2]))                                             // 422
	caption(New(model, DefaultOptions()), iotest.ErrReader(errors.New("reset")))                // 400

	o := DefaultOptions()
	o.MaxBytes = 10
	caption(New(&fake{}, o), bytes.NewReader(good)) // 413, by bytes
	o = DefaultOptions()
	o.Queue, o.Concurrency = 0, 0
	caption(New(&fake{}, o), bytes.NewReader(good))                                       // 429
	caption(New(&fake{err: errors.New("lost")}, DefaultOptions()), bytes.NewReader(good)) // 500
	o = DefaultOptions()
	o.Timeout = 1
	caption(New(&fake{release: make(chan struct{})}, o), bytes.NewReader(good)) // 503

	stopping := New(&fake{}, DefaultOptions())
	stopping.Drain(t.Context())
	caption(stopping, bytes.NewReader(good)) // 503
	ask(stopping, "GET", "/readyz", nil)

	slow := run(t, &fake{}, func(o *Options) { o.Upload = time.Millisecond })
	never, send := io.Pipe()
	defer send.Close()
	r, err := http.NewRequest("POST", slow.url+"/caption", never)
	require.NoError(t, err)
	r.ContentLength = 5
	got, err := http.DefaultTransport.RoundTrip(r) // 408
	require.NoError(t, err)
	body, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	got.Body.Close()
	d.check("POST", "/caption", got, body)

	for path, methods := range d.paths {
		for method, operation := range methods {
			for status := range operation.Responses {
				if name := strings.ToUpper(method) + " " + path + " " + status; !d.seen[name] {
					t.Errorf("%s is described and was never answered", name)
				}
			}
		}
	}
}

// Who opens the interface's address in a browser, where there is a page, too, is told how it is used.
func TestThePageDoesNotHideTheInterface(t *testing.T) {
	o := DefaultOptions()
	o.Page = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.URL.Path)) })
	s := New(&fake{}, o)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/caption", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Equal(t, "POST", w.Header().Get("Allow"))
	require.Contains(t, w.Body.String(), "send a picture by POST")
	w = httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/page.js", nil))
	require.Equal(t, "/page.js", w.Body.String())
}

// What no description has is answered as HTTP has it.
func TestOtherRequestsAreNotAnswered(t *testing.T) {
	s := New(&fake{}, DefaultOptions())
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/caption", http.StatusMethodNotAllowed}, {"PUT", "/caption", http.StatusMethodNotAllowed},
		{"POST", "/healthz", http.StatusMethodNotAllowed}, {"GET", "/none", http.StatusNotFound},
		{"GET", "/", http.StatusNotFound}, {"HEAD", "/healthz", http.StatusOK},
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(c.method, "http://localhost"+c.path, nil))
		require.Equal(t, c.status, w.Code, "%s %s", c.method, c.path)
		if c.status == http.StatusMethodNotAllowed {
			require.True(t, slices.Contains([]string{"POST", "GET, HEAD"}, w.Header().Get("Allow")), w.Header())
		}
	}
}
