package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/caption"
	"distilvit/internal/hostcheck"
	"distilvit/internal/testenv/modeltest"
)

// fake is a captioner whose pictures are their file's bytes and whose captions end when they are told to.
type fake struct {
	begun   chan struct{} // gets one for each caption that begins; nil: nobody asks
	release chan struct{} // ends captions; nil: they end at once
	err     error         // of every caption
}

func (f *fake) Decode(file []byte) (caption.Picture, error) { return caption.Picture{}, nil }

func (f *fake) Stream(
	ctx context.Context, _ caption.Picture, said func(text string) error,
) (caption.Caption, error) {
	if f.begun != nil {
		f.begun <- struct{}{}
	}
	if err := said("a"); err != nil {
		return caption.Caption{}, err
	}
	if f.release != nil {
		select {
		case <-f.release:
		case <-ctx.Done():
			return caption.Caption{}, context.Cause(ctx)
		}
	}
	if err := said("a red star"); err != nil {
		return caption.Caption{}, err
	}
	return caption.Caption{Text: "a red star", TokenIDs: []int32{4, 2}}, f.err
}

// running is a server on a real listener.
type running struct {
	*Server
	url  string
	stop context.CancelFunc
	done chan error
}

// run starts a server with limits of DefaultOptions that change may change.
func run(t *testing.T, c Captioner, change func(*Options)) *running {
	t.Helper()
	o := DefaultOptions()
	if change != nil {
		change(&o)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	s := &running{New(c, o), "http://" + listener.Addr().String(), cancel, make(chan error, 1)}
	go func() { s.done <- s.Serve(ctx, listener, time.Minute) }()
	t.Cleanup(func() {
		cancel()
		if err, open := <-s.done; open && err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// real is the captioner of a small model.
func real(t *testing.T) *caption.Captioner {
	t.Helper()
	c, err := caption.Open(modeltest.Dir(t), caption.Options{BatchSize: 1, MaxPixels: 100_000})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// post sends a body. header are names and values.
func post(t *testing.T, url string, body io.Reader, header ...string) (status int, got *http.Response, text string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url+"/caption", body)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	got, err = http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer got.Body.Close()
	b, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	return got.StatusCode, got, string(b)
}

func form(t *testing.T, file []byte) (body io.Reader, kind string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	require.NoError(t, w.WriteField("note", "no file"))
	if file != nil {
		part, err := w.CreateFormFile("image", "a.png")
		require.NoError(t, err)
		part.Write(file)
	}
	require.NoError(t, w.Close())
	return &b, w.FormDataContentType()
}

func TestAPictureIsCaptionedHoweverItComes(t *testing.T) {
	c := real(t)
	picture := modeltest.PNG(t, modeltest.Picture(3))
	ready, err := c.Decode(picture)
	require.NoError(t, err)
	want, err := c.Caption(t.Context(), ready)
	require.NoError(t, err)

	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(picture) }))
	defer elsewhere.Close()
	s := run(t, c, func(o *Options) { o.Fetch = newFetch(time.Minute, func(netip.Addr) bool { return true }) })
	body, kind := form(t, picture)
	for _, r := range []struct {
		kind string
		body io.Reader
	}{
		{"image/png", bytes.NewReader(picture)},
		{"image/jpeg", bytes.NewReader(picture)},                                    // the bytes say what it is
		{"application/octet-stream", struct{ io.Reader }{bytes.NewReader(picture)}}, // in chunks
		{"", bytes.NewReader(picture)},
		{"application/x-www-form-urlencoded", bytes.NewReader(picture)}, // of curl --data-binary
		{"text/plain; charset=utf-8", bytes.NewReader(picture)},
		{kind, body},
		{"application/json", strings.NewReader(`{"url": "` + elsewhere.URL + `/a.png"}`)},
	} {
		status, got, text := post(t, s.url, r.body, "Content-Type", r.kind)
		require.Equal(t, http.StatusOK, status, text)
		require.Equal(t, "application/json", got.Header.Get("Content-Type"))
		var said answer
		require.NoError(t, json.Unmarshal([]byte(text), &said))
		require.Equal(t, want[0], said.Caption)
	}
}

// curl -d takes the line ends out of a file; the answer says so.
func TestAFileThatCurlChangedIsToldHowToSend(t *testing.T) {
	s := run(t, real(t), nil)
	changed := bytes.NewReader(bytes.ReplaceAll(modeltest.PNG(t, modeltest.Picture(3)), []byte("\r\n"), nil))
	status, _, text := post(t, s.url, changed, "Content-Type", "application/x-www-form-urlencoded")
	require.Equal(t, http.StatusUnsupportedMediaType, status)
	require.Contains(t, text, "--data-binary @FILE")
}

// lines is a log of JSON that a test waits on.
type lines chan map[string]any

func (l lines) Write(p []byte) (int, error) {
	var line map[string]any
	if err := json.Unmarshal(p, &line); err != nil {
		return 0, err
	}
	l <- line
	return len(p), nil
}

// A request is a line of the log: what it cost and how it ended, and nothing of what was sent or said.
func TestEachRequestIsALineOfTheLog(t *testing.T) {
	f := &fake{begun: make(chan struct{}, 2), release: make(chan struct{})}
	log := make(lines, 9)
	s := run(t, f, func(o *Options) { o.Log = slog.New(slog.NewJSONHandler(log, nil)) })
	for range 2 { // the second waits for the first one's turn
		go func() {
			got, err := http.Post(s.url+"/caption?key=secret", "image/png", strings.NewReader("secret"))
			if err == nil {
				got.Body.Close()
			}
		}()
	}
	<-f.begun
	require.Eventually(t, func() bool { return len(s.places) == 2 }, time.Minute, time.Millisecond)
	close(f.release)
	for range 2 {
		line := <-log
		require.Equal(t, "INFO", line["level"])
		require.Equal(t, []any{"POST", "/caption", 200., 6.}, []any{line["method"], line["path"], line["status"], line["bytes_in"]})
		require.Greater(t, line["bytes_out"], 20.)
		require.GreaterOrEqual(t, line["seconds"], line["queue_seconds"])
		require.NotContains(t, fmt.Sprint(line), "secret")
		require.NotContains(t, fmt.Sprint(line), "star")
	}
	for path, status := range map[string]float64{"/healthz": 0, "/none": http.StatusNotFound, "/caption": http.StatusMethodNotAllowed} {
		got, err := http.Get(s.url + path)
		require.NoError(t, err)
		got.Body.Close()
		if status != 0 { // who asks how the server is gets no line
			line := <-log
			require.Equal(t, []any{"GET", path, status}, []any{line["method"], line["path"], line["status"]})
		}
	}
	f.err = errors.New("the device is lost")
	status, _, _ := post(t, s.url, strings.NewReader("x"), "Accept", "text/event-stream")
	require.Equal(t, http.StatusOK, status)
	line := <-log
	require.Equal(t, []any{"ERROR", 500., "the device is lost"}, []any{line["level"], line["status"], line["error"]})
	status, _, _ = post(t, s.url, strings.NewReader("x"), "Host", "attacker.example")
	require.Equal(t, http.StatusForbidden, status)
	require.Equal(t, 403., (<-log)["status"])
}

func TestACaptionStreamsAsItGrows(t *testing.T) {
	f := &fake{begun: make(chan struct{}, 1), release: make(chan struct{})}
	s := run(t, f, nil)
	r, err := http.NewRequest(http.MethodPost, s.url+"/caption", strings.NewReader("x"))
	require.NoError(t, err)
	r.Header.Set("Accept", "application/json;q=0.5, text/event-stream")
	got, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer got.Body.Close()
	require.Equal(t, "text/event-stream", got.Header.Get("Content-Type"))
	first := make([]byte, len("event: text\ndata: {\"text\":\"a\"}\n\n"))
	_, err = io.ReadFull(got.Body, first) // before the caption has ended
	require.NoError(t, err)
	require.Equal(t, "event: text\ndata: {\"text\":\"a\"}\n\n", string(first))
	close(f.release)
	rest, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.Regexp(t, `^event: text\ndata: {"text":"a red star"}\n\nevent: caption\n`+
		`data: {"caption":"a red star","token_ids":\[4,2\],"milliseconds":\d+}\n\n$`, string(rest))
}

// What fails while it streams is an event; before that it is a status.
func TestAStreamThatFailsSaysSo(t *testing.T) {
	s := run(t, &fake{err: errors.New("the device is lost")}, nil)
	status, _, text := post(t, s.url, strings.NewReader("x"), "Accept", "text/event-stream")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, "event: error\ndata: {\"title\":\"Internal Server Error\",\"status\":500,"+
		"\"detail\":\"the device is lost\"}\n\n")
	status, _, text = post(t, s.url, strings.NewReader(""), "Accept", "text/event-stream")
	require.Equal(t, http.StatusBadRequest, status, text)
}

// One more than may wait is refused at once and told when to come again.
func TestAFullQueueRefusesAtOnce(t *testing.T) {
	f := &fake{begun: make(chan struct{}, 9), release: make(chan struct{})}
	s := run(t, f, func(o *Options) { o.Concurrency, o.Queue = 2, 1 })
	statuses := make(chan int, 3)
	for range 3 {
		go func() {
			got, err := http.Post(s.url+"/caption", "image/png", strings.NewReader("x"))
			if err != nil {
				statuses <- 0
				return
			}
			got.Body.Close()
			statuses <- got.StatusCode
		}()
	}
	<-f.begun
	<-f.begun
	require.Eventually(t, func() bool { return len(s.places) == 3 }, time.Minute, time.Millisecond)
	status, got, text := post(t, s.url, strings.NewReader("x"))
	require.Equal(t, http.StatusTooManyRequests, status, text)
	require.Equal(t, "1", got.Header.Get("Retry-After"))
	require.Empty(t, f.begun, "two at the same time")
	close(f.release)
	for range 3 {
		require.Equal(t, http.StatusOK, <-statuses)
	}
	status, _, _ = post(t, s.url, strings.NewReader("x"))
	require.Equal(t, http.StatusOK, status)
}

// The bytes of all pictures that come are bounded before they are read.
func TestBytesOfAllRequestsAreBounded(t *testing.T) {
	s := run(t, &fake{}, func(o *Options) { o.MaxBytes, o.AllBytes = 1000, 1500 })
	slow, send := io.Pipe()
	first := make(chan int, 1)
	go func() {
		r, _ := http.NewRequest(http.MethodPost, s.url+"/caption", slow)
		r.ContentLength = 1000
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			first <- 0
			return
		}
		got.Body.Close()
		first <- got.StatusCode
	}()
	_, err := send.Write(make([]byte, 999))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(s.places) == 1 }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool {
		if s.bytes.TryAcquire(600) {
			s.bytes.Release(600)
			return false
		}
		return true
	}, time.Minute, time.Millisecond)
	status, got, text := post(t, s.url, bytes.NewReader(make([]byte, 600)))
	require.Equal(t, http.StatusTooManyRequests, status, text)
	require.NotEmpty(t, got.Header.Get("Retry-After"))
	status, _, _ = post(t, s.url, bytes.NewReader(make([]byte, 400)))
	require.Equal(t, http.StatusOK, status)
	send.Write([]byte{0})
	send.Close()
	require.Equal(t, http.StatusOK, <-first)
	status, _, _ = post(t, s.url, bytes.NewReader(make([]byte, 600)))
	require.Equal(t, http.StatusOK, status)
	require.True(t, s.bytes.TryAcquire(1500), "all is given back")
}

// While a server stops, what is open is finished and all else refused with 503.
func TestAStoppingServerFinishesWhatIsOpen(t *testing.T) {
	f := &fake{begun: make(chan struct{}, 1), release: make(chan struct{})}
	s := run(t, f, nil)
	open := make(chan string, 1)
	go func() {
		got, err := http.Post(s.url+"/caption", "image/png", strings.NewReader("x"))
		if err != nil {
			open <- err.Error()
			return
		}
		defer got.Body.Close()
		b, _ := io.ReadAll(got.Body)
		open <- fmt.Sprint(got.StatusCode, " ", string(b))
	}()
	<-f.begun
	ready := func() int {
		got, err := http.Get(s.url + "/readyz")
		require.NoError(t, err)
		got.Body.Close()
		return got.StatusCode
	}
	require.Equal(t, http.StatusOK, ready())
	s.stop()
	require.Eventually(t, func() bool { return ready() == http.StatusServiceUnavailable }, time.Minute, time.Millisecond)
	status, got, _ := post(t, s.url, strings.NewReader("x"))
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NotEmpty(t, got.Header.Get("Retry-After"))
	close(f.release)
	require.Contains(t, <-open, "200 {\"caption\":\"a red star\"")
	require.NoError(t, <-s.done)
	close(s.done)
	_, err := http.Get(s.url + "/healthz")
	require.Error(t, err, "nobody listens")
}

// What is still open when the patience is over ends with 503.
func TestDrainEndsWhatTakesTooLong(t *testing.T) {
	f := &fake{begun: make(chan struct{}, 1), release: make(chan struct{})}
	s := New(f, DefaultOptions())
	w, done := httptest.NewRecorder(), make(chan struct{})
	r := httptest.NewRequest(http.MethodPost, "http://localhost/caption", strings.NewReader("x"))
	go func() {
		defer close(done)
		s.ServeHTTP(w, r)
	}()
	<-f.begun
	over, cancel := context.WithCancel(context.Background())
	cancel()
	s.Drain(over)
	<-done
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), "the server is stopping")
}

// Who goes away does not keep the model.
func TestAClientThatGoesAwayEndsItsCaption(t *testing.T) {
	f := &fake{begun: make(chan struct{}, 1), release: make(chan struct{})}
	s := run(t, f, nil)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		r, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/caption", strings.NewReader("x"))
		_, err := http.DefaultClient.Do(r)
		gone <- err
	}()
	<-f.begun
	cancel()
	require.Error(t, <-gone)
	require.Eventually(t, func() bool { return len(s.places) == 0 }, time.Minute, time.Millisecond)
	got, err := http.Get(s.url + "/metrics")
	require.NoError(t, err)
	defer got.Body.Close()
	b, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.Contains(t, string(b), `distilvit_caption_requests_total{code="499"} 1`)
}

func TestRequestsOfOtherHostsAndSitesAreRefused(t *testing.T) {
	const site = "https://site.example"
	s := run(t, &fake{}, func(o *Options) {
		o.Hosts = hostcheck.Rules{Hosts: []string{"captions.example"}, Origins: []string{site}}
	})
	for _, c := range []struct {
		host, origin string
		status       int
		allowed      string
	}{
		{"captions.example", "", http.StatusOK, ""},
		{"attacker.example", "", http.StatusForbidden, ""},
		{"localhost", "https://attacker.example", http.StatusForbidden, ""},
		{"localhost", site, http.StatusOK, site},
		{"localhost", "http://localhost", http.StatusOK, ""},
	} {
		header := []string{"Host", c.host}
		if c.origin != "" {
			header = append(header, "Origin", c.origin)
		}
		status, got, text := post(t, s.url, strings.NewReader("x"), header...)
		require.Equal(t, c.status, status, "%+v: %s", c, text)
		require.Equal(t, c.allowed, got.Header.Get("Access-Control-Allow-Origin"))
	}
	r, err := http.NewRequest(http.MethodOptions, s.url+"/caption", nil)
	require.NoError(t, err)
	r.Header.Set("Origin", site)
	got, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	got.Body.Close()
	require.Equal(t, http.StatusNoContent, got.StatusCode)
	require.Contains(t, got.Header.Get("Access-Control-Allow-Methods"), "POST")
}

// A picture's URL may lead to the internet only, whatever its name or a redirection says.
func TestPrivateAddressesAreNotFetched(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/picture", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "GIF89a") })
	mux.Handle("/away", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	mux.HandleFunc("/html", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>sign in") })
	private := httptest.NewServer(mux)
	defer private.Close()
	guarded, open := NewFetch(time.Minute), newFetch(time.Minute, func(netip.Addr) bool { return true })
	_, err := guarded(t.Context(), private.URL+"/picture?token=secret", 100)
	require.ErrorContains(t, err, "its address is private")
	require.NotContains(t, err.Error(), "secret")
	raw, err := open(t.Context(), private.URL+"/picture", 100)
	require.NoError(t, err)
	require.Equal(t, "GIF89a", string(raw))
	for want, url := range map[string]string{
		"a picture has at most": private.URL + "/picture", "3 redirections": private.URL + "/round",
		"has to begin with http": private.URL + "/away", "with a web page": private.URL + "/html",
		"404": private.URL + "/none",
	} {
		_, err := open(t.Context(), url, 5)
		require.ErrorContains(t, err, want)
	}
	for _, url := range []string{"file:///etc/passwd", "gopher://x", "picture.png", "http://", "http://%zz"} {
		_, err := open(t.Context(), url, 5)
		require.ErrorIs(t, err, errScheme)
	}
}

// large is a small file of many pixels.
func large(t *testing.T) []byte { return modeltest.PNG(t, image.NewGray(image.Rect(0, 0, 1000, 1000))) }
