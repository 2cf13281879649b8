package hostcheck

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestOnlyRequestsMeantForThisMachinePass(t *testing.T) {
	for _, c := range []struct {
		host, origin string
		status       int
	}{
		{"127.0.0.1:8233", "", http.StatusOK},
		{"localhost:9999", "", http.StatusOK}, // a forwarded port
		{"LOCALHOST", "", http.StatusOK},
		{"[::1]:8233", "", http.StatusOK},
		{"127.0.0.2", "", http.StatusOK},
		{"127.0.0.1:8233", "http://127.0.0.1:8233", http.StatusOK},

		{"attacker.example:8233", "http://attacker.example:8233", http.StatusForbidden}, // a rebound name
		{"attacker.example", "", http.StatusForbidden},
		{"localhost.attacker.example:8233", "", http.StatusForbidden},
		{"127.0.0.1.attacker.example", "", http.StatusForbidden},
		{"0.0.0.0:8233", "", http.StatusForbidden},
		{"192.168.0.7:8233", "", http.StatusForbidden},
		{"", "", http.StatusForbidden},
		{"127.0.0.1:8233", "http://attacker.example", http.StatusForbidden}, // a plain foreign page
		// another program of this machine
		{"127.0.0.1:8233", "http://127.0.0.1:3000", http.StatusForbidden},
		{"127.0.0.1:8233", "null", http.StatusForbidden}, // a file or a sandboxed frame
		{"127.0.0.1:8233", "://", http.StatusForbidden},
	} {
		request := httptest.NewRequest(http.MethodPost, "/api/v1/namespaces", nil)
		request.Host = c.host
		if c.origin != "" {
			request.Header.Set("Origin", c.origin)
		}
		reached := false
		answer := httptest.NewRecorder()
		Handler(
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }),
		).ServeHTTP(answer, request)
		if answer.Code != c.status || reached != (c.status == http.StatusOK) {
			t.Errorf("host %q, origin %q: %d, reached %v", c.host, c.origin, answer.Code, reached)
		}
	}
}

func TestRulesLetNamedHostsAndOriginsPass(t *testing.T) {
	rules := Rules{Hosts: []string{"captions.example"}, Addresses: true, Origins: []string{"https://site.example"}}
	for _, c := range []struct {
		rules        Rules
		host, origin string
		passes       bool
	}{
		{rules, "captions.example:8234", "", true},
		{rules, "Captions.Example", "http://captions.example", true},
		{rules, "localhost", "", true},
		{rules, "192.168.0.7:8234", "", true},
		{rules, "[fe80::1]:8234", "", true},
		{rules, "localhost", "https://site.example", true},
		{rules, "other.example", "", false},
		{rules, "localhost", "http://site.example", false}, // another scheme is another site
		{rules, "localhost", "https://sub.site.example", false},
		{rules, "", "", false},
		{Rules{Hosts: []string{"*"}}, "other.example", "", true},
		{Rules{Hosts: []string{"*"}}, "other.example", "http://page.example", false},
		{Rules{Origins: []string{"*"}}, "localhost", "null", true},
		{Rules{Origins: []string{"*"}}, "other.example", "", false},
	} {
		request := httptest.NewRequest(http.MethodPost, "/caption", nil)
		request.Host = c.host
		if c.origin != "" {
			request.Header.Set("Origin", c.origin)
		}
		if err := c.rules.Check(request); (err == nil) != c.passes {
			t.Errorf("%+v, host %q, origin %q: %v", c.rules, c.host, c.origin, err)
		}
	}
}
