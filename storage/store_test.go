package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"distilvit/internal/devstack/s3d/s3test"
	"distilvit/internal/testenv"
	"distilvit/storage"
	"distilvit/storage/layout"
)

func TestBytesComeBackAsTheyWereStored(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		dir := t.TempDir()
		for _, size := range []int{0, 1, 100_000, 16 << 20, 33<<20 + 7} {
			content := noise(1, size)
			path := filepath.Join(dir, "file")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			stream := func() io.Reader { return struct{ io.Reader }{bytes.NewReader(content)} }
			puts := map[string]func(key string) (layout.Object, error){
				"file": func(key string) (layout.Object, error) {
					return s.PutFile(t.Context(), key, path)
				},
				"bytes": func(key string) (layout.Object, error) {
					return s.PutBytes(t.Context(), key, content)
				},
				"stream": func(key string) (layout.Object, error) {
					return s.PutReader(t.Context(), key, stream(), -1)
				},
				"sized": func(key string) (layout.Object, error) {
					return s.PutReader(t.Context(), key, stream(), int64(size))
				},
			}
			if size > 16<<20 { // the largest only as it arises: files and streams
				delete(puts, "bytes")
				delete(puts, "sized")
			}
			for name, put := range puts {
				o, err := put(fmt.Sprintf("put/%s/%d", name, size))
				if err != nil {
					t.Fatalf("%s, %d bytes: %v", name, size, err)
				}
				want(t, s, o, content)
				fetched := filepath.Join(dir, "fetched")
				if err := s.Fetch(t.Context(), o, fetched); err != nil {
					t.Fatal(err)
				}
				if got, _ := os.ReadFile(fetched); !bytes.Equal(got, content) {
					t.Errorf("%s, %d bytes: fetched other bytes", name, size)
				}
				if st, err := os.Stat(fetched); err != nil || st.Mode() != 0o644 {
					t.Errorf("%s, %d bytes: fetched with mode %v, %v", name, size, st.Mode(), err)
				}
			}
		}
	})
}

func TestReaderIsStoredFromWhereItStands(t *testing.T) {
	s := open(t, s3test.Start(t))
	content := noise(2, 17<<20)
	r := bytes.NewReader(content)
	r.Seek(100, io.SeekStart)
	o, err := s.PutReader(t.Context(), "rest", r, -1)
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, o, content[100:])
}

func TestReaderOfAnotherLengthThanAnnouncedIsRefused(t *testing.T) {
	s := open(t, s3test.Start(t))
	for _, r := range []io.Reader{strings.NewReader("four"), struct{ io.Reader }{strings.NewReader("four")}} {
		_, err := s.PutReader(t.Context(), "short", r, 5)
		oneLiner(t, err, "short", "4 bytes", "5")
		if _, err := s.Stat(t.Context(), "short"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("something is stored: %v", err)
		}
	}
	broken := iotest.ErrReader(errors.New("cut off"))
	if _, err := s.PutReader(t.Context(), "broken", io.MultiReader(bytes.NewReader(noise(1, 17<<20)), broken),
		-1); err == nil {
		t.Error("a broken source was stored")
	}
	if _, err := s.Stat(t.Context(), "broken"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("something is stored: %v", err)
	}
}

func TestBlobIsStoredOnceUnderItsDigest(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		content := noise(3, 1000)
		path := filepath.Join(t.TempDir(), "blob")
		os.WriteFile(path, content, 0o600)
		first, err := s.PutBlob(t.Context(), "runs/a/blobs", ".bin", path)
		if err != nil {
			t.Fatal(err)
		}
		if first.Key != "runs/a/blobs/"+hexSum(content)+".bin" {
			t.Errorf("key %s", first.Key)
		}
		want(t, s, first, content)
		second, err := s.PutBlob(t.Context(), "runs/a/blobs", ".bin", path)
		if err != nil || second != first {
			t.Errorf("again: %+v, %v", second, err)
		}
	})
}

func TestPublishHasExactlyOneWinner(t *testing.T) {
	type manifest struct {
		B string         `json:"b"`
		A map[string]any `json:"a"`
	}
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		same := manifest{B: "x<y", A: map[string]any{"z": 1, "a": 0.1}}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if err := s.Publish(t.Context(), "same/manifest.json", same); err != nil {
					t.Error(err)
				}
			})
		}
		var winners, losers atomic.Int32
		for i := range 8 {
			group.Go(func() {
				err := s.Publish(t.Context(), "other/manifest.json", manifest{B: fmt.Sprint(i)})
				switch {
				case err == nil:
					winners.Add(1)
				case errors.Is(err, storage.ErrConflict):
					losers.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		group.Wait()
		if winners.Load() != 1 || losers.Load() != 7 {
			t.Errorf("%d winners, %d losers", winners.Load(), losers.Load())
		}
		body, object, err := s.Get(t.Context(), "same/manifest.json")
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		stored, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		if string(stored) != `{"a":{"a":0.1,"z":1},"b":"x<y"}`+"\n" || object.SHA256 != hexSum(stored) {
			t.Errorf("stored %q, %+v", stored, object)
		}
		err = s.Publish(t.Context(), "same/manifest.json", manifest{B: "x<z"})
		if !errors.Is(err, storage.ErrConflict) {
			t.Fatal(err)
		}
		oneLiner(t, err, "same/manifest.json", s.Config().Endpoint, s.Config().Bucket)
	})
}

// Of those who change what they have read, none undoes what another has changed meanwhile.
func TestSwapLosesNoChange(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		const key, writers, each = "counter", 4, 5
		var group sync.WaitGroup
		for range writers {
			group.Go(func() {
				for done := 0; done < each; {
					var n int
					tag, err := s.GetTagged(t.Context(), key, &n)
					if err != nil && !errors.Is(err, storage.ErrNotFound) {
						t.Error(err)
						return
					}
					err = s.Swap(t.Context(), key, tag, n+1)
					switch {
					case err == nil:
						done++
					case !errors.Is(err, storage.ErrConflict):
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		var n int
		tag, err := s.GetTagged(t.Context(), key, &n)
		if err != nil || n != writers*each {
			t.Errorf("%d after %d changes, %v", n, writers*each, err)
		}
		if err := s.Remove(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if err := s.Swap(t.Context(), key, tag, 1); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("what was removed meanwhile is written: %v", err)
		}
	})
}

func TestJSONIsOverwritten(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		for _, v := range []int{1, 2} {
			if _, err := s.PutJSON(t.Context(), "pointer.json", map[string]int{"v": v}); err != nil {
				t.Fatal(err)
			}
			var got struct{ V int }
			if err := s.GetJSON(t.Context(), "pointer.json", &got); err != nil || got.V != v {
				t.Errorf("got %d, %v; want %d", got.V, err, v)
			}
		}
		if err := s.GetJSON(t.Context(), "none.json", new(any)); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("no object: %v", err)
		}
	})
}

func TestListAndRemove(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		keys := []string{"a/1", "a/2", "a/b/3", "ä b+c%/4", "b/5"}
		for _, key := range keys {
			if _, err := s.PutBytes(t.Context(), key, []byte(key)); err != nil {
				t.Fatal(err)
			}
		}
		list := func(prefix string) string {
			var found []string
			for o, err := range s.List(t.Context(), prefix) {
				if err != nil {
					t.Fatal(err)
				}
				if o.Size != int64(len(o.Key)) {
					t.Errorf("%+v", o)
				}
				found = append(found, o.Key)
			}
			return strings.Join(found, " ")
		}
		if got := list("a/"); got != "a/1 a/2 a/b/3" {
			t.Errorf("listed %q", got)
		}
		if err := s.Remove(t.Context(), "a/1", "a/b/3", "never/was"); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(t.Context(), "b/5"); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(t.Context(), "b/5"); err != nil {
			t.Errorf("again: %v", err)
		}
		if got := list(""); got != "a/2 ä b+c%/4" {
			t.Errorf("left %q", got)
		}
	})
}

func TestCheckPassesAndLeavesNothing(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		for o := range s.List(t.Context(), "") {
			t.Errorf("left %s", o.Key)
		}
	})
}

func TestCancelledContextEndsWithItsReason(t *testing.T) {
	s := open(t, s3test.Start(t))
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("stopped by hand")
	cancel(reason)
	if _, err := s.PutBytes(ctx, "key", nil); !errors.Is(err, reason) {
		t.Errorf("put: %v", err)
	}
	for _, err := range s.List(ctx, "") {
		if !errors.Is(err, reason) {
			t.Errorf("list: %v", err)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *s3test.Server{
		"embedded": s3test.Start, "minio": s3test.MinIO,
	} {
		t.Run(name, func(t *testing.T) {
			c := configOf(start(t))
			wrong := c
			wrong.SecretKey = "not the secret"
			_, err := storage.Open(t.Context(), wrong)
			oneLiner(t, err, "http://"+c.Endpoint, c.Bucket, "wrong secret key", c.AccessKey)
			if !errors.Is(err, storage.ErrDenied) {
				t.Errorf("kind of %v", err)
			}
			wrong = c
			wrong.AccessKey = "nobody"
			_, err = storage.Open(t.Context(), wrong)
			oneLiner(t, err, "http://"+c.Endpoint, c.Bucket, "nobody")
			if !errors.Is(err, storage.ErrDenied) {
				t.Errorf("kind of %v", err)
			}
			wrong = c
			wrong.Bucket = "No_Bucket"
			_, err = storage.Open(t.Context(), wrong)
			oneLiner(t, err, "No_Bucket")
		})
	}
	t.Run("no server", func(t *testing.T) {
		address := testenv.FreeAddress(t)
		_, err := storage.Open(
			t.Context(), storage.Config{Endpoint: address, AccessKey: "a", SecretKey: "s", Bucket: "bucket"},
		)
		oneLiner(t, err, "http://"+address, "bucket", "connection refused")
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("kind of %v", err)
		}
	})
	t.Run("incomplete", func(t *testing.T) {
		for _, c := range []storage.Config{
			{}, {Endpoint: "x"}, {Endpoint: "x", Bucket: "b", AccessKey: "a"},
		} {
			if _, err := storage.Open(t.Context(), c); err == nil {
				t.Errorf("%+v was accepted", c)
			}
		}
	})
}

// answer is a server that gives one answer to everything but listing.
func answer(t *testing.T, status int, body string) (*storage.Store, error) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("list-type") && status != http.StatusOK {
			fmt.Fprint(
				w, `<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>`,
			)
			return
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return storage.Open(
		t.Context(), storage.Config{Endpoint: server.URL, AccessKey: "a", SecretKey: "s", Bucket: "bucket"},
	)
}

func TestServersAnswersAreClassified(t *testing.T) {
	xml := func(code string) string {
		return "<Error><Code>" + code + "</Code><Message>what the server says</Message></Error>"
	}
	for _, c := range []struct {
		status int
		body   string
		kind   error
	}{
		{507, xml("XMinioStorageFull"), storage.ErrFull},
		{507, xml("InsufficientStorage"), storage.ErrFull},
		{403, xml("QuotaExceeded"), storage.ErrFull},
		{403, xml("AccessDenied"), storage.ErrDenied},
		{403, "", storage.ErrDenied},
		{400, xml("BadDigest"), storage.ErrCorrupt},
		{404, xml("NoSuchKey"), storage.ErrNotFound},
		{412, xml("PreconditionFailed"), storage.ErrConflict},
		{501, xml("NotImplemented"), storage.ErrUnavailable},
	} {
		s, err := answer(t, c.status, c.body)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.PutBytes(t.Context(), "some/key", []byte("x"))
		oneLiner(t, err, "some/key", s.Config().Endpoint, "bucket")
		if !errors.Is(err, c.kind) {
			t.Errorf("%d %s: %v", c.status, c.body, err)
		}
	}
	_, err := answer(t, http.StatusOK, "<html>\n<body>Welcome</p></html>")
	oneLiner(t, err, "not an S3 server")
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("kind of %v", err)
	}
}

func TestKnownBlobThatLostBytesIsRefused(t *testing.T) {
	s := open(t, s3test.Start(t))
	content := noise(7, 5000)
	known := layout.Object{Size: int64(len(content)), SHA256: hexSum(content)}
	path := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(path, content[:4999], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutKnownBlob(t.Context(), "blobs", "", path, known); !errors.Is(err, storage.ErrDamaged) ||
		!strings.Contains(err.Error(), path) {
		t.Errorf("cut short: %v", err)
	}
	for o, err := range s.List(t.Context(), "blobs/") {
		t.Errorf("stored all the same: %v, %v", o, err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	o, err := s.PutKnownBlob(t.Context(), "blobs", "", path, known)
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, o, content)
}

// Addresses are mixed up: the store's is Temporal's, whose protocol is HTTP/2 alone, or begins with https for nothing.
func TestWhatAnswersInTheStoresPlaceIsTold(t *testing.T) {
	open := func(endpoint string) error {
		_, err := storage.Open(
			t.Context(), storage.Config{Endpoint: endpoint, AccessKey: "a", SecretKey: "s", Bucket: "bucket"},
		)
		return err
	}
	for range 3 { // which of the client's two words it has is chance
		oneLiner(t, open("http://"+speaksHTTP2(t, false)), "does not speak HTTP", "Temporal")
	}
	oneLiner(t, open("http://"+speaksHTTP2(t, true)), "does not speak HTTP", "Temporal")
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	oneLiner(t, open(strings.Replace(plain.URL, "http:", "https:", 1)), "answers http, not https")
}

// speaksHTTP2 answers every connection with HTTP/2's settings, once it has been asked or before, and ends it.
func speaksHTTP2(t *testing.T, asked bool) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if asked {
				_, _ = c.Read(make([]byte, 1))
			}
			_, _ = c.Write([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00@\x00"))
			c.Close()
		}
	}()
	return l.Addr().String()
}
