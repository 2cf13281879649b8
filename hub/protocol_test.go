package hub

import (
	"net/http"
	"net/url"
	"testing"
)

func TestRedirectsAreFollowedOnlyWhereThatIsSafe(t *testing.T) {
	for _, c := range []struct {
		from, location string
		onlyRelative   bool
		want           string // "": it is not followed; error: it is refused
	}{
		{"https://hub/a/b", "/api/resolve-cache/x?etag=1", true, "https://hub/api/resolve-cache/x?etag=1"},
		{"https://hub/a/b", "https://cdn/x?signature=1", true, ""},
		{"https://hub/a/b", "//cdn/x", true, ""},
		{"https://hub/a/b", "https://cdn/x?signature=1", false, "https://cdn/x?signature=1"},
		{"https://hub/a/b", "http://cdn/x", false, "error"},
		{"http://hub/a/b", "http://cdn/x", false, "http://cdn/x"},
		{"http://hub/a/b", "https://hub/a/b", false, "https://hub/a/b"},
		{"https://hub/a/b", "file:///etc/passwd", false, "error"},
		{"https://hub/a/b", "", false, "error"},
		{"https://hub/a/b", ":", false, "error"},
	} {
		from, err := url.Parse(c.from)
		check(t, err)
		got, err := redirect(&http.Response{
			StatusCode: http.StatusFound, Header: http.Header{"Location": {c.location}},
			Request: &http.Request{URL: from},
		}, c.onlyRelative)
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%s to %q (only relative: %v) leads to %q instead of %q", c.from, c.location,
				c.onlyRelative, got, c.want)
		}
	}
}
