package track

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The example of the Standard Webhooks specification's own libraries.
func TestSignatureIsThatOfTheSpecification(t *testing.T) {
	h, err := NewWebhook("https://example.org/hook", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	check(t, err)
	got := signature(h.key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
	if _, err := NewWebhook("https://example.org", "whsec_not base64"); err == nil || strings.Contains(err.Error(), "not base64 at") {
		t.Errorf("%v", err)
	}
}

func TestWebhookIsTriedAgainWithTheSameID(t *testing.T) {
	var seen atomic.Int32
	var ids, bodies, signatures []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		ids, bodies = append(ids, r.Header.Get("webhook-id")), append(bodies, r.URL.String()+" "+string(raw))
		signatures = append(signatures, r.Header.Get("webhook-signature"))
		switch seen.Add(1) {
		case 1:
			w.WriteHeader(http.StatusBadGateway)
		case 2:
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	defer s.Close()
	h, err := NewWebhook(s.URL+"/a/?sig=b/", "key")
	check(t, err)
	h.pause = func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }
	body := []byte(`{"type":"run.failed"}`)
	check(t, h.Send(t.Context(), "r-run.failed", at(0), body))
	if len(ids) != 3 || ids[0] != "r-run.failed" || ids[2] != ids[0] || bodies[2] != `/a/?sig=b/ {"type":"run.failed"}` {
		t.Errorf("%q %q", ids, bodies)
	}
	if want := "v1," + signature([]byte("key"), "r-run.failed", "1700000000", body); signatures[2] != want {
		t.Errorf("signed %q, want %q", signatures[2], want)
	}
}

func TestWebhookThatRefusesIsToldWithoutItsPath(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("webhook-signature") != "" {
			t.Error("signed without a secret")
		}
		http.Error(w, `{"message":"channel_is_archived"}`, http.StatusGone)
	}))
	defer s.Close()
	h, err := NewWebhook(s.URL+"/services/T0/secret", "")
	check(t, err)
	err = h.Send(t.Context(), "i", at(0), []byte("{}"))
	if err == nil || !strings.Contains(err.Error(), "410 Gone (channel_is_archived)") || strings.Contains(err.Error(), "T0") ||
		errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
}
