package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/internal/testenv"
	"distilvit/storage"
)

const part = storage.TestPartBytes

// fileServer serves one file over HTTP as badly as its fields say.
type fileServer struct {
	*httptest.Server

	mu          sync.Mutex
	content     []byte
	etag        string
	ignoreRange bool
	chunked     bool  // does not say the length
	fail        []int // statuses of the next requests
	retryAfter  string
	cuts        []int  // the next bodies end after so many bytes
	atCut       func() // called before a cut, unlocked
	ranges      []string
}

func serveFile(t *testing.T, content []byte) *fileServer {
	f := &fileServer{content: content, etag: `"v1"`}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ranges = append(f.ranges, r.Header.Get("Range"))
	if len(f.fail) > 0 {
		status := f.fail[0]
		f.fail = f.fail[1:]
		w.Header().Set("Retry-After", f.retryAfter)
		http.Error(w, "no", status)
		return
	}
	body, status := f.content, http.StatusOK
	if f.etag != "" {
		w.Header().Set("ETag", f.etag)
	}
	validator := r.Header.Get("If-Range")
	if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && !f.ignoreRange &&
		(validator == "" || validator == f.etag) {
		offset, _ := strconv.Atoi(strings.TrimSuffix(from, "-"))
		if offset >= len(body) {
			http.Error(w, "beyond the end", http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, len(body)-1, len(body)))
		body, status = body[offset:], http.StatusPartialContent
	}
	if !f.chunked {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	if f.chunked {
		w.(http.Flusher).Flush()
	}
	if len(f.cuts) > 0 {
		cut := f.cuts[0]
		f.cuts = f.cuts[1:]
		w.Write(body[:cut])
		w.(http.Flusher).Flush()
		if f.atCut != nil {
			f.mu.Unlock()
			f.atCut()
			f.mu.Lock()
		}
		panic(http.ErrAbortHandler)
	}
	w.Write(body)
}

// noUploads fails the test where a transfer left an upload behind.
func noUploads(t *testing.T, s *storage.Store) {
	t.Helper()
	left, err := s.IncompleteUploads(context.Background())
	if err != nil || left != 0 {
		t.Errorf("%d uploads left, %v", left, err)
	}
}

func TestDownloadStoresTheFile(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		for _, size := range []int{0, 1000, part, 2*part + 99} {
			for _, chunked := range []bool{false, true} {
				f := serveFile(t, noise(30, size))
				f.chunked = chunked
				var done, total int64
				progress := func(d, n int64) {
					if d < done || n != int64(size) && !chunked || n != -1 && chunked {
						t.Errorf("progress %d of %d after %d", d, n, done)
					}
					done, total = d, n
				}
				o, err := s.Download(
					t.Context(), f.URL, "file", storage.DownloadOptions{Progress: progress}.Test(nil),
				)
				if err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
				if done != int64(size) {
					t.Errorf("progress ends at %d of %d", done, total)
				}
				want(t, s, o, f.content)
			}
		}
		noUploads(t, s)
	})
}

func TestDownloadGoesOnAfterCutConnections(t *testing.T) {
	s := open(t, s3test.Start(t))
	f := serveFile(t, noise(31, 3*part))
	f.cuts = []int{1000, part, 1, part / 2}
	f.fail = []int{503, 429}
	f.retryAfter = "7"
	var waits []time.Duration
	o, err := s.Download(t.Context(), f.URL, "file", storage.DownloadOptions{SHA256: hexSum(f.content)}.Test(
		func(d time.Duration) { waits = append(waits, d) },
	))
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, o, f.content)
	if len(waits) != 6 || waits[0] != 7*time.Second || waits[1] != 7*time.Second || waits[2] > time.Second {
		t.Errorf("waited %v", waits)
	}
	if got := fmt.Sprint(f.ranges[3:]); got != fmt.Sprintf("[bytes=1000- bytes=%d- bytes=%d- bytes=%d-]",
		part+1000, part+1001, part+part/2+1001) {
		t.Errorf("asked for %v", f.ranges)
	}
	// It is there now, with the digest that is asked for: no further request.
	before := len(f.ranges)
	if again, err := s.Download(t.Context(), f.URL, "file",
		storage.DownloadOptions{SHA256: o.SHA256}); err != nil || again != o || len(f.ranges) != before {
		t.Errorf("again: %+v, %v, %d requests more", again, err, len(f.ranges)-before)
	}
}

// interrupted downloads until so many parts are stored, and returns the state
// that a process killed then would have left.
func interrupted(t *testing.T, s *storage.Store, f *fileServer, parts int) (state []byte) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	o := storage.DownloadOptions{Save: func(b []byte) {
		if parts--; parts == 0 {
			state = b
			cancel()
		}
	}}
	if _, err := s.Download(ctx, f.URL, "file", o.Test(nil)); !errors.Is(err, context.Canceled) {
		t.Fatalf("not interrupted: %v", err)
	}
	return state
}

func TestDownloadGoesOnInAnotherProcess(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		f := serveFile(t, noise(32, 3*part+5))
		state := interrupted(t, s, f, 2)
		if _, err := s.Stat(t.Context(), "file"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("the incomplete file is visible: %v", err)
		}
		var first int64 = -1
		o, err := s.Download(t.Context(), f.URL, "file",
			storage.DownloadOptions{State: state, Progress: func(done, total int64) {
				if first < 0 {
					first = done
				}
			}}.Test(nil))
		if err != nil {
			t.Fatal(err)
		}
		want(t, s, o, f.content)
		if asked := f.ranges[len(f.ranges)-1]; asked != fmt.Sprintf("bytes=%d-", 2*part) || first < 2*part {
			t.Errorf("asked for %v, first progress %d", f.ranges, first)
		}
		noUploads(t, s)
		// The activity died after the last step, and its state is used again.
		again, err := s.Download(t.Context(), f.URL, "file", storage.DownloadOptions{State: state}.Test(nil))
		if err != nil || again != o {
			t.Errorf("once more: %+v, %v", again, err)
		}
	})
}

func TestAbandonedUploadsAreDroppedByAge(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		interrupted(t, s, serveFile(t, noise(41, 2*part)), 1)
		if n, err := s.DropUploads(t.Context(), time.Hour); n != 0 || err != nil {
			t.Errorf("dropped %d young ones, %v", n, err)
		}
		if n, err := s.DropUploads(t.Context(), -time.Hour); n != 1 || err != nil {
			t.Errorf("dropped %d, %v", n, err)
		}
		noUploads(t, s)
	})
}

func TestDownloadGoesOnAfterTheStoreWasKilled(t *testing.T) {
	server := s3test.Start(t)
	s := open(t, server)
	f := serveFile(t, noise(33, 3*part+5))
	state := interrupted(t, s, f, 2)
	server.KillAndRestart(t)
	o, err := s.Download(t.Context(), f.URL, "file", storage.DownloadOptions{State: state}.Test(nil))
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, o, f.content)
	if asked := f.ranges[len(f.ranges)-1]; asked != fmt.Sprintf("bytes=%d-", 2*part) {
		t.Errorf("asked for %v", f.ranges)
	}
}

func TestDownloadStartsOverWhereItCannotResume(t *testing.T) {
	old := noise(34, 2*part+100)
	for name, spoil := range map[string]func(f *fileServer){
		"server ignores ranges":    func(f *fileServer) { f.ignoreRange = true },
		"file changed":             func(f *fileServer) { f.content, f.etag = noise(35, 2*part+100), `"v2"` },
		"file is shorter":          func(f *fileServer) { f.content, f.etag = noise(36, 10), `"v2"` },
		"shorter, same etag":       func(f *fileServer) { f.content = noise(36, part+1) },
		"server tells no versions": func(f *fileServer) { f.etag = "" },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, s3test.Start(t))
			f := serveFile(t, old)
			state := interrupted(t, s, f, 1)
			spoil(f)
			o, err := s.Download(t.Context(), f.URL, "file", storage.DownloadOptions{State: state}.Test(nil))
			if err != nil {
				t.Fatal(err)
			}
			want(t, s, o, f.content)
			noUploads(t, s)
		})
	}
	t.Run("within one process", func(t *testing.T) {
		s := open(t, s3test.Start(t))
		f := serveFile(t, old)
		f.cuts = []int{part + 100}
		f.atCut = func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.content, f.etag = noise(37, 2*part), `"v2"`
		}
		o, err := s.Download(t.Context(), f.URL, "file", storage.DownloadOptions{}.Test(nil))
		if err != nil {
			t.Fatal(err)
		}
		want(t, s, o, f.content)
		noUploads(t, s)
	})
}

func TestDownloadMixedOfTwoVersionsIsBegunAgain(t *testing.T) {
	s := open(t, s3test.Start(t))
	f := serveFile(t, noise(38, 2*part))
	state := interrupted(t, s, f, 1)
	f.content = noise(39, 2*part) // the ETag lies
	o, err := s.Download(
		t.Context(), f.URL, "file",
		storage.DownloadOptions{State: state, SHA256: hexSum(f.content)}.Test(nil),
	)
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, o, f.content)
}

func TestDownloadRefusesWrongContent(t *testing.T) {
	for _, size := range []int{100, 2 * part} {
		s := open(t, s3test.Start(t))
		f := serveFile(t, noise(40, size))
		var state []byte
		_, err := s.Download(t.Context(), f.URL, "file", storage.DownloadOptions{
			SHA256: hexSum([]byte("other")), Save: func(b []byte) { state = b },
		}.Test(nil))
		oneLiner(t, err, f.URL, hexSum(f.content), hexSum([]byte("other")))
		if !errors.Is(err, storage.ErrCorrupt) || state != nil {
			t.Errorf("kind of %v; state %s", err, state)
		}
		if _, err := s.Stat(t.Context(), "file"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("it is stored: %v", err)
		}
		noUploads(t, s)
	}
}

func TestDownloadTellsHopelessFromPassingFailures(t *testing.T) {
	s := open(t, s3test.Start(t))
	for _, c := range []struct {
		status, requests int
		kind             error
		words            string
	}{
		{401, 1, storage.ErrDenied, "401 Unauthorized"},
		{403, 1, storage.ErrDenied, "403 Forbidden"},
		{404, 1, storage.ErrNotFound, "404 Not Found"},
		{410, 1, storage.ErrNotFound, "410 Gone"},
		{400, 1, nil, "400 Bad Request"},
		{501, 1, nil, "501 Not Implemented"},
		{429, 6, storage.ErrUnavailable, "429 Too Many Requests"},
		{500, 6, storage.ErrUnavailable, "500 Internal Server Error"},
	} {
		f := serveFile(t, nil)
		for range 20 {
			f.fail = append(f.fail, c.status)
		}
		_, err := s.Download(
			t.Context(), f.URL+"/a.zip?token=secret", "file", storage.DownloadOptions{}.Test(nil),
		)
		oneLiner(t, err, f.URL+"/a.zip", c.words)
		if c.kind != nil && !errors.Is(err, c.kind) || strings.Contains(err.Error(), "secret") ||
			len(f.ranges) != c.requests {
			t.Errorf("%d: %v after %d requests", c.status, err, len(f.ranges))
		}
	}
	_, err := s.Download(t.Context(), "http://"+testenv.FreeAddress(t)+"/x?token=secret", "file",
		storage.DownloadOptions{}.Test(nil))
	oneLiner(t, err, "connection refused")
	if !errors.Is(err, storage.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("no server: %v", err)
	}
	for _, url := range []string{"", "file:///etc/passwd", "http://", "://"} {
		if _, err := s.Download(t.Context(), url, "file", storage.DownloadOptions{}); err == nil {
			t.Errorf("%q was accepted", url)
		}
	}
}

func TestDownloadGivesUpOnAFileThatAlwaysChanges(t *testing.T) {
	s := open(t, s3test.Start(t))
	f := serveFile(t, bytes.Repeat([]byte("x"), 2*part))
	for range 100 {
		f.cuts = append(f.cuts, part+1)
	}
	f.atCut = func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.etag = fmt.Sprintf(`"v%d"`, len(f.cuts))
	}
	_, err := s.Download(t.Context(), f.URL, "file", storage.DownloadOptions{}.Test(nil))
	oneLiner(t, err, f.URL, "changed")
	if !errors.Is(err, storage.ErrUnavailable) || len(f.ranges) > 10 {
		t.Errorf("%v after %d requests", err, len(f.ranges))
	}
	noUploads(t, s)
}
