package track

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Webhook is an address that is told of events, as the Standard Webhooks specification has it: the headers
// webhook-id, webhook-timestamp and, with a secret, webhook-signature, which is v1 and the base64 of the
// HMAC-SHA256 of ID.TIMESTAMP.BODY.
type Webhook struct {
	*client
	key []byte // nil: nothing is signed
}

// secretPrefix begins a secret that is base64; any other is its own bytes.
const secretPrefix = "whsec_"

// NewWebhook is the address at a URL, with what its receiver knows the sender by, or "".
func NewWebhook(target, secret string) (*Webhook, error) {
	c, err := newClient(target)
	if err != nil {
		return nil, err
	}
	h := &Webhook{client: c}
	if encoded, ok := strings.CutPrefix(secret, secretPrefix); ok {
		if h.key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, fmt.Errorf("the secret begins with %s, and what follows is no base64", secretPrefix)
		}
	} else if secret != "" {
		h.key = []byte(secret)
	}
	return h, nil
}

// Send tells an event, a JSON body. id is the same whenever the event is told again, so that a receiver can
// leave the second one out.
func (h *Webhook) Send(ctx context.Context, id string, at time.Time, body []byte) error {
	header := http.Header{}
	stamp := strconv.FormatInt(at.Unix(), 10)
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", stamp)
	if h.key != nil {
		header.Set("webhook-signature", "v1,"+signature(h.key, id, stamp, body))
	}
	status, answer, err := h.send(ctx, http.MethodPost, "", header, body)
	if err != nil {
		return err
	}
	if status < 200 || status > 299 {
		return h.said(status, answer)
	}
	return nil
}

func signature(key []byte, id, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
