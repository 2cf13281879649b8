package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"distilvit/internal/download"
)

// NewFetch makes Options.Fetch: http and https URLs of the internet, at most three redirections, within limit. What
// is private is refused when its address is known, whatever its name says, and no proxy is asked.
func NewFetch(limit time.Duration) func(ctx context.Context, from string, maxBytes int64) ([]byte, error) {
	return newFetch(limit, download.Public)
}

func newFetch(limit time.Duration, allowed func(netip.Addr) bool) func(context.Context, string, int64) ([]byte, error) {
	dialer := &net.Dialer{Timeout: limit, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !allowed(to.Addr().Unmap()) {
			return errPrivate
		}
		return nil
	}}
	client := &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ResponseHeaderTimeout: limit, MaxResponseHeaderBytes: maxHeaderBytes,
			TLSHandshakeTimeout: limit, DisableKeepAlives: true, DisableCompression: true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("more than 3 redirections")
			}
			return checkURL(r.URL)
		},
	}
	return func(ctx context.Context, from string, maxBytes int64) ([]byte, error) {
		if u, err := url.Parse(from); err != nil || checkURL(u) != nil {
			return nil, errScheme
		}
		raw, err := download.Picture(ctx, client, from, maxBytes, limit)
		if err != nil {
			return nil, fmt.Errorf("the picture's URL: %w", err)
		}
		return raw, nil
	}
}

var errPrivate = errors.New("its address is private")

var errScheme = errors.New("the picture's URL has to begin with http:// or https://")

func checkURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errScheme
	}
	return nil
}
