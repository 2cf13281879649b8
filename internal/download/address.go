package download

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// ErrPrivate says that a server elsewhere sends on to a private address.
var ErrPrivate = errors.New("it redirects to a private address; if that is meant, give the URL there")

// errMetadata says that a URL leads to where clouds keep a machine's credentials.
var errMetadata = errors.New("its address is one of this machine's link, where clouds keep credentials")

// Public says whether an address is one of the internet, not of this machine, its networks or their routers.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !within(a, innerRanges)
}

// innerRanges are those that IsPrivate does not know: shared by providers (RFC 6598), this network, benchmarks,
// reserved, and IPv6 that wraps IPv4 (NAT64, 6to4, Teredo).
var innerRanges = prefixes(
	"100.64.0.0/10", "0.0.0.0/8", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4",
	"64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "fec0::/10",
)

// metadataRanges are where clouds answer with a machine's credentials: AWS, Azure, Google and Oracle on the link,
// Alibaba, and AWS on IPv6.
var metadataRanges = prefixes("169.254.0.0/16", "fe80::/10", "100.100.100.200/32", "fd00:ec2::254/128")

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func within(a netip.Addr, ranges []netip.Prefix) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
}

// NewClient is an HTTP client that gives up a server whose answer does not begin within limit. Who runs the program
// may name any address but those where clouds keep a machine's credentials; a server of the internet may send on to
// others of the internet alone. Addresses are looked at when they are dialled, whatever their names say; those that
// a proxy dials are the proxy's matter.
func NewClient(limit time.Duration) *http.Client {
	return &http.Client{Transport: newGuard(limit, Public)}
}

// guard is the transport of NewClient.
type guard struct {
	named, onward *http.Transport // of what was named, and of where a public server sends on to
	public        func(netip.Addr) bool
}

func newGuard(limit time.Duration, public func(netip.Addr) bool) *guard {
	return &guard{
		named: newTransport(limit, func(a netip.Addr) error {
			if within(a, metadataRanges) {
				return errMetadata
			}
			return nil
		}),
		onward: newTransport(limit, func(a netip.Addr) error {
			if !public(a) {
				return ErrPrivate
			}
			return nil
		}),
		public: public,
	}
}

func newTransport(limit time.Duration, refuse func(netip.Addr) error) *http.Transport {
	dialer := &net.Dialer{
		Timeout: 30 * time.Second, KeepAlive: 30 * time.Second, // http.DefaultTransport's
		ControlContext: func(ctx context.Context, _, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || ctx.Value(proxied{}) != nil {
				return err
			}
			return refuse(to.Addr().Unmap())
		},
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout, transport.DialContext = limit, dialer.DialContext
	return transport
}

type (
	proxied struct{} // key: a proxy is dialled
	hop     struct{} // key of a *bool: a public server has answered
)

// RoundTrip takes the transport that a request may use.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	transport, public := g.named, false
	if r.Response != nil && r.Response.Request != nil { // it is redirected
		if was, ok := r.Response.Request.Context().Value(hop{}).(*bool); ok && *was {
			transport, public = g.onward, true
		}
	}
	ctx := context.WithValue(r.Context(), hop{}, &public)
	if proxy, err := g.named.Proxy(r); err != nil {
		return nil, err
	} else if proxy != nil {
		return transport.RoundTrip(r.WithContext(context.WithValue(ctx, proxied{}, true)))
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if to, err := netip.ParseAddrPort(c.Conn.RemoteAddr().String()); err == nil && g.public(to.Addr().Unmap()) {
			public = true
		}
	}})
	return transport.RoundTrip(r.WithContext(ctx))
}

// CloseIdleConnections is http.Client's.
func (g *guard) CloseIdleConnections() {
	g.named.CloseIdleConnections()
	g.onward.CloseIdleConnections()
}
