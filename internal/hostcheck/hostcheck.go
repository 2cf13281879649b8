// Package hostcheck keeps web pages away from servers that listen on this machine
// only and ask nobody who they are. A page of a foreign site can make its own name
// mean 127.0.0.1 (DNS rebinding); the browser then takes our server for that site and
// lets the page read and send whatever it likes. What such a page cannot change are
// the headers Host and Origin, which name its site.
package hostcheck

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Rules say which requests pass beside those that were meant for this machine: whose Host is localhost or a
// loopback address (any port, since people forward ports), and whose Origin, where there is one, is the same site.
type Rules struct {
	Hosts     []string // names that mean this server, without port; "*" is every name
	Addresses bool     // a Host that is an address passes: a page cannot make its own name one
	Origins   []string // other sites whose pages may send requests, as https://example.org; "*" is every site
}

// Handler answers 403 to requests that were not meant for this machine, and hands all others to next.
func Handler(next http.Handler) http.Handler { return Rules{}.Handler(next) }

// Handler answers 403 to requests that the rules do not let pass, and hands all others to next.
func (rules Rules) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := rules.Check(r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Check says why a request is refused.
func (rules Rules) Check(r *http.Request) error {
	if !rules.meant(r.Host) {
		names := append([]string{"localhost", "127.0.0.1"}, rules.Hosts...)
		return fmt.Errorf("host %q is refused: this server answers to %s only; "+
			"a proxy in front of it has to set the header Host", r.Host, strings.Join(names, ", "))
	}
	origin := r.Header.Get("Origin")
	if origin == "" || rules.Foreign(origin) {
		return nil
	}
	site, err := url.Parse(origin)
	if err != nil || !strings.EqualFold(site.Host, r.Host) {
		return fmt.Errorf(
			"origin %q is refused: only pages of http://%s may send requests here", origin, r.Host,
		)
	}
	return nil
}

// Foreign says whether pages of another site may send requests.
func (rules Rules) Foreign(origin string) bool {
	return slices.ContainsFunc(rules.Origins, func(o string) bool {
		return o == "*" || strings.EqualFold(strings.TrimSuffix(o, "/"), origin)
	})
}

// Share lets pages of another site that may send requests read the answer, too (CORS). A browser's question before a
// request is answered with the methods and headers that are allowed; then there is nothing more to do.
func (rules Rules) Share(w http.ResponseWriter, r *http.Request, methods, headers string) (done bool) {
	origin := r.Header.Get("Origin")
	if origin == "" || !rules.Foreign(origin) {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Add("Vary", "Origin")
	if r.Method != http.MethodOptions {
		return false
	}
	w.Header().Set("Access-Control-Allow-Methods", methods)
	w.Header().Set("Access-Control-Allow-Headers", headers)
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// meant says whether the host of host or host:port is this server's.
func (rules Rules) meant(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && (ip.IsLoopback() || rules.Addresses) ||
		slices.ContainsFunc(rules.Hosts, func(h string) bool { return h == "*" || strings.EqualFold(h, host) })
}
