// Package hub fetches files of repositories on the Hugging Face hub into the
// cache directory that huggingface_hub uses too, in the same layout: what
// either has fetched, the other finds. Each file is resumed after a break and
// verified against the digest the hub names before it becomes visible. Client.Push
// makes files a commit of a repository there. It knows nothing of what files mean
// beyond their names. Start reading at Client.Fetch.
//
// It is written here because the Go library for this, gomlx/go-huggingface
// v0.3.1, has no resume, retries, verification, offline mode or upload.
package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"distilvit/internal/retry"
)

// DefaultEndpoint is the hub itself.
const DefaultEndpoint = "https://huggingface.co"

// Options of New.
type Options struct {
	Endpoint string       // base URL of the hub or of a mirror; default DefaultEndpoint
	Token    string       // sent to the endpoint and to nobody else; "" reaches public repositories
	CacheDir string       // the cache, in huggingface_hub's layout; made when it is missing
	Offline  bool         // use only what the cache holds
	HTTP     *http.Client // default: one with time limits for connecting and for the answer
}

// Client fetches from one endpoint into one cache. It may be used by several
// goroutines, and beside other processes, at once.
type Client struct {
	endpoint *url.URL
	token    string
	cache    string
	offline  bool
	http     *http.Client
	uploads  *http.Client // for requests with a body, whose answers may take longer

	pause retry.Pauser  // between tries; tests need not wait
	stall time.Duration // without a byte, after which a connection is given up
}

// New checks the options.
func New(o Options) (*Client, error) {
	if o.Endpoint == "" {
		o.Endpoint = DefaultEndpoint
	}
	endpoint, err := url.Parse(strings.TrimRight(o.Endpoint, "/"))
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "http" && endpoint.Scheme != "https" {
		return nil, fmt.Errorf("HF_ENDPOINT %q: must be an http or https URL such as %s", o.Endpoint,
			DefaultEndpoint)
	}
	if strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("HF_TOKEN holds a space or another character that no token has")
	}
	if o.CacheDir == "" {
		return nil, errors.New("the hub's cache directory is not known: set HF_HUB_CACHE")
	}
	cache, err := filepath.Abs(o.CacheDir)
	if err != nil {
		return nil, fmt.Errorf("cache directory %s: %w", o.CacheDir, err)
	}
	return &Client{
		endpoint: endpoint, token: o.Token, cache: cache, offline: o.Offline,
		http: newHTTPClient(o.HTTP, headerTimeout), uploads: newHTTPClient(o.HTTP, answerTimeout), pause: retry.Pause, stall: stallLimit,
	}, nil
}

// Kinds of repositories.
const (
	Model   = "model"   // hf:ORG/NAME
	Dataset = "dataset" // hf:datasets/ORG/NAME
)

// Main is the branch that a repository's name alone stands for.
const Main = "main"

// Repo names a revision of a repository.
type Repo struct {
	Kind     string // Model or Dataset; default Model
	ID       string // ORG/NAME; a few old models have no ORG
	Revision string // branch, tag or commit; default Main
}

func (r Repo) withDefaults() Repo {
	if r.Kind == "" {
		r.Kind = Model
	}
	if r.Revision == "" {
		r.Revision = Main
	}
	return r
}

// String is for messages: model ORG/NAME@main.
func (r Repo) String() string {
	r = r.withDefaults()
	return r.Kind + " " + r.ID + "@" + r.Revision
}

// Ref is how a person writes a model: hf:ORG/NAME@REVISION.
func (r Repo) Ref() string {
	r = r.withDefaults()
	return Prefix + r.ID + "@" + r.Revision
}

// Pinned says whether the revision is a commit, which never changes.
func (r Repo) Pinned() bool { return commitPattern.MatchString(r.Revision) }

// Prefix begins a name that is the hub's beyond doubt.
const Prefix = "hf:"

var (
	idPattern     = regexp.MustCompile(`^(?:[\w.-]+/)?[\w.-]{1,96}$`)
	barePattern   = regexp.MustCompile(`^\w[\w.-]*/\w[\w.-]*(?:@.+)?$`)
	commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// Names says whether s names a model on the hub: it begins with hf:, or it
// looks like ORG/NAME and there is no such file or directory here.
func Names(s string) bool {
	if strings.HasPrefix(s, Prefix) {
		return true
	}
	if !barePattern.MatchString(s) {
		return false
	}
	_, err := os.Stat(s)
	return errors.Is(err, fs.ErrNotExist)
}

// Parse reads a model's name: [hf:]ORG/NAME[@REVISION].
func Parse(s string) (Repo, error) {
	id, revision, pinned := strings.Cut(strings.TrimPrefix(s, Prefix), "@")
	r := Repo{Kind: Model, ID: id, Revision: revision}
	if pinned && revision == "" {
		return r, fmt.Errorf("%s: no revision after the @", s)
	}
	r = r.withDefaults()
	if err := r.check(); err != nil {
		return r, fmt.Errorf("%s: %w; use hf:ORG/NAME or hf:ORG/NAME@REVISION", s, err)
	}
	return r, nil
}

// check refuses what the hub refuses as a name, and with it everything that
// could lead out of the cache's directory.
func (r Repo) check() error {
	for _, part := range strings.Split(r.ID, "/") {
		if strings.Trim(part, ".-") != part {
			return fmt.Errorf("%q is not a repository's name", r.ID)
		}
	}
	switch {
	case r.Kind != Model && r.Kind != Dataset:
		return fmt.Errorf("%q is not a kind of repository", r.Kind)
	case !idPattern.MatchString(r.ID), strings.Contains(r.ID, "--"), strings.Contains(r.ID, ".."),
		strings.HasSuffix(r.ID, ".git"):
		return fmt.Errorf("%q is not a repository's name", r.ID)
	case !safePath(r.Revision):
		return fmt.Errorf("%q is not a revision", r.Revision)
	}
	return nil
}

// safePath accepts a path that stays below where it is put.
func safePath(p string) bool {
	control := strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f })
	return p != "." && !control && fs.ValidPath(p) && filepath.IsLocal(filepath.FromSlash(p))
}

// Snapshot is a directory that holds files of one commit.
type Snapshot struct {
	Dir    string   // in the cache; "" of Resolve, which fetches nothing
	Commit string   // 40 hex digits
	Files  []string // those that were selected, relative to Dir

	SHA256 map[string]string // of those files whose digest the hub's list names, the large ones
}

// Progress tells how many bytes of all selected files are here, and which file
// is under way; total is 0 where the hub does not say. Nothing is told while
// nothing is fetched.
type Progress func(file string, done, total int64)

// Fetch brings the selected files of a revision into the cache, as far as they
// are not there, and answers where they are. When ctx ends under way, what has
// come stays, and another Fetch goes on from there.
func (c *Client) Fetch(ctx context.Context, r Repo, choose Select, progress Progress) (*Snapshot, error) {
	r = r.withDefaults()
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("hugging face: %w", err)
	}
	var s *Snapshot
	var err error
	if c.offline {
		s, err = c.cached(r, choose)
	} else {
		s, err = c.online(ctx, r, choose, progress)
	}
	if err != nil {
		return nil, fmt.Errorf("hugging face %s: %w", r, err)
	}
	return s, nil
}

// Resolve answers what Fetch would: the commit that a revision stands for now and
// the files that are selected of it.
func (c *Client) Resolve(ctx context.Context, r Repo, choose Select) (s *Snapshot, err error) {
	r = r.withDefaults()
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("hugging face: %w", err)
	}
	if c.offline {
		s, err = c.cached(r, choose)
	} else {
		_, s, err = c.choose(ctx, r, choose)
	}
	if err != nil {
		return nil, fmt.Errorf("hugging face %s: %w", r, err)
	}
	return s, nil
}

// choose asks the hub what the revision has and selects of it.
func (c *Client) choose(ctx context.Context, r Repo, choose Select) (*listing, *Snapshot, error) {
	listed, err := c.list(ctx, r)
	if err != nil {
		return nil, nil, c.orOffline(r, err)
	}
	files, err := choose(listed.names())
	if err != nil {
		return nil, nil, err
	}
	return listed, &Snapshot{Commit: listed.commit, Files: files, SHA256: listed.digests}, nil
}

// online asks the hub what the revision has and fetches what is missing.
func (c *Client) online(ctx context.Context, r Repo, choose Select, progress Progress) (*Snapshot, error) {
	listed, s, err := c.choose(ctx, r, choose)
	if err != nil {
		return nil, err
	}
	f, err := c.open(r, listed)
	if err != nil {
		return nil, err
	}
	defer f.close()
	f.count(s.Files, progress)
	for _, name := range s.Files {
		if err := f.file(ctx, name); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	// Written last: the revision's name never leads to files that are not all there.
	if err := f.writeRef(r.Revision); err != nil {
		return nil, err
	}
	s.Dir = f.snapshotDir()
	return s, nil
}
