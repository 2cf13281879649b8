package storage_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"distilvit/storage"
	"distilvit/storage/layout"
)

// download is what somebody without keys gets.
func download(t *testing.T, url string) (status int, content string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(raw)
}

func TestSignedURLDownloadsOneObjectWithoutKeys(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *storage.Store) {
		for key, content := range map[string]string{
			"models/a/b/onnx/model.onnx": string(noise(4, 70_000)), "models/a/b/ä b+c%.txt": "text", "empty": "",
		} {
			o, err := s.PutBytes(t.Context(), key, []byte(content))
			if err != nil {
				t.Fatal(err)
			}
			link, err := s.Presign(t.Context(), o, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(link.Until); left <= 0 || left > time.Hour {
				t.Errorf("%s: valid for another %s", key, left)
			}
			if status, got := download(t, link.URL); status != http.StatusOK || got != content {
				t.Errorf("%s: status %d, %d bytes of %d", key, status, len(got), len(content))
			}
			bare, _, _ := strings.Cut(link.URL, "?")
			if status, _ := download(t, bare); status != http.StatusForbidden {
				t.Errorf("%s: status %d without the signature", key, status)
			}
			if status, _ := download(t, strings.Replace(link.URL, bare, bare+"x", 1)); status != http.StatusForbidden {
				t.Errorf("%s: status %d for another object", key, status)
			}
			o.Size++
			if _, err := s.Presign(t.Context(), o, time.Hour); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("%s: of another size: %v", key, err)
			}
		}
		if _, err := s.Presign(t.Context(), layout.Object{Key: "none"}, time.Hour); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("no object: %v", err)
		}
		for _, valid := range []time.Duration{0, -time.Hour, storage.LongestPresign + time.Second} {
			_, err := s.Presign(t.Context(), layout.Object{Key: "none"}, valid)
			oneLiner(t, err, "none", "168h", valid.String())
		}
	})
}

// Some gateways look for keys in the header alone.
func TestStoreThatTakesNoSignedURLIsNamed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, "<Error><Code>AccessDenied</Code>\n<Message>sign in the header</Message></Error>")
			return
		}
		io.WriteString(w, `<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>`)
	}))
	t.Cleanup(server.Close)
	s, err := storage.Open(t.Context(), storage.Config{
		Endpoint: server.URL, AccessKey: "a", SecretKey: "s", Bucket: "bucket",
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Presign(t.Context(), layout.Object{Key: "some/key", Size: 4}, time.Hour)
	oneLiner(t, err, "some/key", server.URL, "takes no signed URL", "sign in the header")
	if !errors.Is(err, storage.ErrDenied) {
		t.Errorf("kind of %v", err)
	}
}
