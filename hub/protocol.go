package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"distilvit/internal/download"
	"distilvit/internal/retry"
)

const (
	maxRedirects  = 5
	maxListBytes  = 64 << 20 // of a list of files; the hub's longest have some MiB
	userAgent     = "distilvit"
	shownURLBytes = 100
)

// newHTTPClient does not follow redirects: which are to be followed, and with
// which headers, is decided in send.
func newHTTPClient(given *http.Client, limit time.Duration) *http.Client {
	if given == nil {
		given = download.NewClient(limit)
	}
	client := *given
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// page is where people look at a repository.
func (c *Client) page(r Repo) string {
	if r.Kind == Dataset {
		return c.endpoint.String() + "/datasets/" + r.ID
	}
	return c.endpoint.String() + "/" + r.ID
}

// fileURL is where a file of a commit is.
func (c *Client) fileURL(r Repo, commit, name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return c.page(r) + "/resolve/" + commit + "/" + strings.Join(parts, "/")
}

// send sends a request and follows redirects: all of them, or only relative
// ones. The token goes to the endpoint alone.
func (c *Client) send(
	ctx context.Context, method, target string, header http.Header, onlyRelative bool,
) (*http.Response, error) {
	var from *http.Response
	for range maxRedirects {
		response, err := c.once(ctx, from, method, target, header, nil, 0)
		if err != nil {
			return nil, err
		}
		next, err := redirect(response, onlyRelative)
		if err != nil {
			response.Body.Close()
			return nil, err
		}
		if next == "" {
			return response, nil
		}
		response.Body.Close()
		target, from = next, response
	}
	return nil, fmt.Errorf("%s redirects more than %d times", c.endpoint.Host, maxRedirects)
}

// once sends one request, with a body or nil. The token goes to the endpoint alone. From redirected to it, or is nil.
func (c *Client) once(
	ctx context.Context, from *http.Response, method, target string, header http.Header, body io.Reader, size int64,
) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	request.Response = from
	for name, values := range header {
		request.Header[name] = values
	}
	request.Header.Set("User-Agent", userAgent)
	if c.token != "" && request.URL.Scheme == c.endpoint.Scheme && request.URL.Host == c.endpoint.Host {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	client := c.http
	if body != nil {
		request.ContentLength, client = size, c.uploads
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, requestError(ctx, request.URL.Host, err)
	}
	return response, nil
}

// redirect is where an answer sends us, "" where it does not or where we do
// not go.
func redirect(response *http.Response, onlyRelative bool) (string, error) {
	if response.StatusCode < 300 || response.StatusCode > 399 ||
		response.StatusCode == http.StatusNotModified {
		return "", nil
	}
	location, err := url.Parse(response.Header.Get("Location"))
	if err != nil || location.String() == "" {
		return "", fmt.Errorf("%s redirects to nowhere", response.Request.URL.Host)
	}
	if onlyRelative && (location.Host != "" || location.Scheme != "") {
		return "", nil
	}
	to, from := response.Request.URL.ResolveReference(location), response.Request.URL
	if to.Scheme != "https" && (to.Scheme != "http" || from.Scheme == "https") {
		return "", fmt.Errorf("%s redirects to %s, which is not safe to follow", from.Host, shown(to))
	}
	return to.String(), nil
}

// shown is a URL without what may be secret.
func shown(u *url.URL) string {
	text := u.Scheme + "://" + u.Host + u.Path
	if len(text) > shownURLBytes {
		text = strings.ToValidUTF8(text[:shownURLBytes], "") + "…"
	}
	return text
}

// requestError sorts out the failures that no retry can heal, and leaves out
// the URL, which may hold a signature.
func requestError(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	reason, passes := download.Failed(err)
	if err = fmt.Errorf("%s: %w", host, reason); !passes {
		return err
	}
	return &retry.Passing{Err: err}
}

// listing is what a revision has.
type listing struct {
	commit  string
	sizes   map[string]int64  // by file, bytes; -1: not said
	digests map[string]string // SHA-256 of large files
}

func (l *listing) names() []string {
	names := make([]string, 0, len(l.sizes))
	for name := range l.sizes {
		names = append(names, name)
	}
	return names
}

// list asks for the commit and the files of a revision.
func (c *Client) list(ctx context.Context, r Repo) (*listing, error) {
	target := fmt.Sprintf("%s/api/%ss/%s/revision/%s?blobs=true", c.endpoint, r.Kind, r.ID,
		url.PathEscape(r.Revision))
	var l *listing
	err := c.persist(ctx, func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, c.stall, errStalled)
		defer cancel()
		response, err := c.send(ctx, http.MethodGet, target, nil, false)
		if nobody := retry.NobodyThere(err); nobody != nil { // no connection is said at once
			return fmt.Errorf("%w: %s: %w", ErrUnavailable, c.endpoint.Host, nobody)
		}
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			if err := passing(response); err != nil {
				return err
			}
			return c.refusal(r, response)
		}
		l, err = c.readList(ctx, response.Body)
		return err
	})
	return l, err
}

func (c *Client) readList(ctx context.Context, body io.Reader) (*listing, error) {
	raw, err := io.ReadAll(io.LimitReader(body, maxListBytes+1))
	if err != nil {
		return nil, requestError(ctx, c.endpoint.Host, err)
	}
	if len(raw) > maxListBytes {
		return nil, fmt.Errorf("%s lists its files in more than %d bytes", c.endpoint.Host, maxListBytes)
	}
	var answer struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name string `json:"rfilename"`
			Size *int64 `json:"size"`
			LFS  struct {
				SHA256 string `json:"sha256"`
			} `json:"lfs"`
		} `json:"siblings"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil || !commitPattern.MatchString(answer.SHA) {
		return nil, fmt.Errorf(
			"what answers at %s is not the Hugging Face hub: check HF_ENDPOINT and the network's proxy",
			c.endpoint,
		)
	}
	l := &listing{commit: answer.SHA, sizes: map[string]int64{}, digests: map[string]string{}}
	for _, s := range answer.Siblings {
		if !safePath(s.Name) {
			return nil, fmt.Errorf(
				"it has a file named %q, which is no path inside a repository: do not trust it", s.Name,
			)
		}
		l.sizes[s.Name] = -1
		if s.Size != nil && *s.Size >= 0 {
			l.sizes[s.Name] = *s.Size
		}
		if sha256Pattern.MatchString(s.LFS.SHA256) {
			l.digests[s.Name] = s.LFS.SHA256
		}
	}
	return l, nil
}

// about is what the hub says of a file before sending it.
type about struct {
	etag      string // name of its blob: a git blob's SHA-1, or the SHA-256 of a large file
	size      int64  // bytes
	location  string // where to get it from, for a while
	validator string // for If-Range there; "" if not known
}

var (
	digestPattern = regexp.MustCompile(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)
	sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// head asks what a file is and where. A redirect to the store of large files
// is not followed: its answer describes the file.
func (c *Client) head(ctx context.Context, r Repo, commit, name string) (*about, error) {
	header := http.Header{"Accept-Encoding": {"identity"}} // else the size is that of compressed bytes
	response, err := c.send(ctx, http.MethodHead, c.fileURL(r, commit, name), header, true)
	if err != nil {
		return nil, err
	}
	response.Body.Close()
	redirected := response.StatusCode >= 300 && response.StatusCode <= 399
	if response.StatusCode != http.StatusOK && !redirected {
		if err := passing(response); err != nil {
			return nil, err
		}
		return nil, c.refusal(r, response)
	}
	return c.describe(response, commit, redirected)
}

// describe reads a HEAD's headers. They are not trusted: a digest names a
// file in the cache.
func (c *Client) describe(response *http.Response, commit string, redirected bool) (*about, error) {
	h, host := response.Header, response.Request.URL.Host
	if got := h.Get("X-Repo-Commit"); got != commit {
		return nil, fmt.Errorf(
			"%s answers for commit %.40q instead of %s: check HF_ENDPOINT and the network's proxy", host, got,
			commit,
		)
	}
	a := &about{size: response.ContentLength, location: response.Request.URL.String()}
	tag := h.Get("ETag")
	if !redirected && !strings.HasPrefix(tag, "W/") {
		a.validator = tag
	}
	if linked := h.Get("X-Linked-Etag"); linked != "" {
		tag = linked
	}
	a.etag = strings.Trim(strings.TrimPrefix(tag, "W/"), `"`)
	if !digestPattern.MatchString(a.etag) {
		return nil, fmt.Errorf("%s names no digest of it (ETag %.80q), so that it could not be verified: "+
			"check HF_ENDPOINT and the network's proxy", host, tag)
	}
	if linked := h.Get("X-Linked-Size"); linked != "" || redirected {
		var err error
		if a.size, err = strconv.ParseInt(linked, 10, 64); err != nil {
			a.size = -1
		}
	}
	if a.size < 0 {
		return nil, fmt.Errorf("%s does not say how long it is", host)
	}
	if redirected {
		location, err := redirect(response, false)
		if err != nil {
			return nil, err
		}
		a.location = location
	}
	return a, nil
}
