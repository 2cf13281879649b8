package storage_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// proxy stands between a store and its server, counts reads, and may cut them
// short or change what they give.
type proxy struct {
	gets atomic.Int32
	cut  atomic.Int32 // so many GETs end within their body
	flip atomic.Bool  // change a byte of each GET
}

// behind opens the server's bucket once more through a proxy.
func behind(t *testing.T, s *storage.Store) (*storage.Store, *proxy) {
	t.Helper()
	c := s.Config()
	p := &proxy{}
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: c.Endpoint})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && !r.URL.Query().Has("list-type") {
			p.gets.Add(1)
			w = &spoiler{ResponseWriter: w, flip: p.flip.Load(), cut: p.cut.Add(-1) >= 0}
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c.Endpoint = server.URL
	through, err := storage.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return through, p
}

type spoiler struct {
	http.ResponseWriter
	flip, cut bool
}

func (w *spoiler) Write(p []byte) (int, error) {
	if w.flip && len(p) > 0 {
		p = bytes.Clone(p)
		p[0] ^= 1
	}
	if w.cut {
		w.ResponseWriter.Write(p[:len(p)/2])
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return w.ResponseWriter.Write(p)
}

func TestReadsGoOnAfterBrokenConnections(t *testing.T) {
	s := open(t, s3test.Start(t))
	content := noise(4, 3<<20)
	o, err := s.PutBytes(t.Context(), "big", content)
	if err != nil {
		t.Fatal(err)
	}
	through, p := behind(t, s)
	p.cut.Store(3)
	got, err := through.GetBytes(t.Context(), o)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d of %d bytes, %v", len(got), len(content), err)
	}
	if p.gets.Load() != 4 {
		t.Errorf("%d requests", p.gets.Load())
	}
	p.cut.Store(2)
	r, err := through.ReaderAt(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got = make([]byte, len(content)-10)
	if _, err := r.ReadAt(got, 10); err != nil || !bytes.Equal(got, content[10:]) {
		t.Errorf("reader: %v", err)
	}
}

func TestReadGivesUpOnAServerThatAlwaysCuts(t *testing.T) {
	s := open(t, s3test.Start(t))
	o, err := s.PutBytes(t.Context(), "small", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	through, p := behind(t, s)
	p.cut.Store(1000)
	_, err = through.GetBytes(t.Context(), o)
	oneLiner(t, err, "small", "http://")
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("kind of %v", err)
	}
}

func TestChangedBytesAreNeverHandedOn(t *testing.T) {
	s := open(t, s3test.Start(t))
	o, err := s.PutBytes(t.Context(), "key", noise(5, 1000))
	if err != nil {
		t.Fatal(err)
	}
	through, p := behind(t, s)
	p.flip.Store(true)
	if _, err := through.GetBytes(t.Context(), o); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("bytes: %v", err)
	}
	body, _, err := through.Get(t.Context(), "key")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadAll(body); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("stream: %v", err)
	}
	dir := t.TempDir()
	if err := through.Fetch(t.Context(), o, filepath.Join(dir, "file")); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("file: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestObjectOtherThanAskedForIsCorrupt(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		o, err := s.PutBytes(t.Context(), "key", noise(6, 1000))
		if err != nil {
			t.Fatal(err)
		}
		other := o
		other.SHA256 = hexSum(nil)
		longer := o
		longer.Size++
		for _, wrong := range []layout.Object{other, longer} {
			_, err := s.GetBytes(t.Context(), wrong)
			oneLiner(t, err, "key", s.Config().Bucket)
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("kind of %v", err)
			}
			if _, err := s.ReaderAt(t.Context(), wrong); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("reader: %v", err)
			}
		}
		none := layout.Object{Key: "none", Size: 5, SHA256: hexSum(nil)}
		if _, err := s.GetBytes(t.Context(), none); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("no object: %v", err)
		}
		if _, err := s.ReaderAt(t.Context(), none); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("reader of no object: %v", err)
		}
	})
}

func TestReaderServesZipArchives(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		var archive bytes.Buffer
		w := zip.NewWriter(&archive)
		for i := range 50 {
			f, _ := w.CreateHeader(&zip.FileHeader{Name: string(rune('A'+i)) + ".png", Method: zip.Store})
			f.Write(noise(uint64(i), 100_000))
		}
		w.Close()
		o, err := s.PutBytes(t.Context(), "pictures.zip", archive.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		through, p := behind(t, s)
		r, err := through.ReaderAt(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		opened, err := zip.NewReader(r, r.Size())
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range opened.File {
			body, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, noise(uint64(i), 100_000)) {
				t.Errorf("%s: %v", f.Name, err)
			}
		}
		if gets := p.gets.Load(); gets > 6 { // 5 MB: the directory, then blocks with readahead
			t.Errorf("%d requests for %d bytes", gets, archive.Len())
		}
	})
}

func TestReaderReadsAnyRangeConcurrently(t *testing.T) {
	s := open(t, s3test.Start(t))
	content := noise(7, 9<<20+123)
	o, err := s.PutBytes(t.Context(), "any", content)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.ReaderAt(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 1))
			for range 60 {
				off := random.IntN(len(content))
				p := make([]byte, random.IntN(6<<20))
				n, err := r.ReadAt(p, int64(off))
				whole := off+len(p) <= len(content)
				if whole && (err != nil || n != len(p)) ||
					!whole && (err != io.EOF || n != len(content)-off) {
					t.Errorf("%d bytes at %d: %d, %v", len(p), off, n, err)
				}
				if !bytes.Equal(p[:n], content[off:off+n]) {
					t.Errorf("%d bytes at %d differ", len(p), off)
				}
			}
		})
	}
	group.Wait()
	if err := iotest.TestReader(io.NewSectionReader(r, 1<<20-50, 100),
		content[1<<20-50:1<<20+50]); err != nil {
		t.Error(err)
	}
	r.Close()
	if _, err := r.ReadAt(make([]byte, 5<<20), 0); err == nil || strings.Contains(err.Error(), "panic") {
		t.Errorf("after Close: %v", err)
	}
}

func TestReaderNoticesThatItsObjectWasReplaced(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		o, err := s.PutBytes(t.Context(), "key", noise(8, 3<<20))
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.ReaderAt(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := r.ReadAt(make([]byte, 10), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := s.PutBytes(t.Context(), "key", noise(9, 3<<20)); err != nil {
			t.Fatal(err)
		}
		_, err = r.ReadAt(make([]byte, 10), 2<<20+5)
		oneLiner(t, err, "key", "replaced")
		if !errors.Is(err, storage.ErrConflict) {
			t.Errorf("kind of %v", err)
		}
	})
}
