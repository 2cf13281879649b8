// Package hubtest is a Hugging Face hub for tests: a server that speaks as much
// of the hub's protocol as fetching and pushing need, with a second server of another
// name for large files, as the hub has. hub/testdata/python.py shows that Python's
// huggingface_hub takes it for one. Start reading at Start, then push.go.
package hubtest

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is a hub that holds what Put gives it.
type Server struct {
	URL   string // the endpoint
	Files string // the server of large files

	mu        sync.Mutex
	repos     map[string]*repo
	token     string
	gated     bool
	intercept func(http.ResponseWriter, *http.Request) bool
	requests  []Request

	stored  map[string][]byte         // large files that were sent, by SHA-256
	parts   map[string]map[int][]byte // of large files on their way, by SHA-256
	chunk   int                       // larger files are sent in parts of so many bytes; 0: none is
	readers map[string]bool           // tokens that may only read
}

// Request is one that was made, to either server.
type Request struct {
	Method, Host, Path, Token, Range, IfRange string
}

type repo struct {
	revisions map[string]*commit // by branch, tag and commit
	private   bool
}

type commit struct {
	id    string
	files map[string]File
}

// File is one of a repository.
type File struct {
	Data  []byte
	Large bool // kept on the server of large files and named by its SHA-256
}

// Digest is the name the hub gives a file: a git blob's SHA-1, or the SHA-256
// of a large file.
func (f File) Digest() string {
	if f.Large {
		sum := sha256.Sum256(f.Data)
		return hex.EncodeToString(sum[:])
	}
	sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(f.Data)), f.Data...))
	return hex.EncodeToString(sum[:])
}

// Start serves until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		repos: map[string]*repo{}, stored: map[string][]byte{}, parts: map[string]map[int][]byte{},
		readers: map[string]bool{},
	}
	hub := httptest.NewServer(s.handler(s.hub))
	t.Cleanup(hub.Close)
	files := httptest.NewServer(s.handler(s.large))
	t.Cleanup(files.Close)
	// Another name than the hub's, not only another port.
	s.URL, s.Files = hub.URL, strings.Replace(files.URL, "127.0.0.1", "localhost", 1)
	return s
}

// Put makes a commit that branch main and the further revisions point to.
func (s *Server) Put(kind, id string, files map[string]File, revisions ...string) (commitID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := newCommit(files)
	r := s.repos[kind+"s/"+id]
	if r == nil {
		r = &repo{revisions: map[string]*commit{}}
		s.repos[kind+"s/"+id] = r
	}
	for _, revision := range append(revisions, "main", c.id) {
		r.revisions[revision] = c
	}
	return c.id
}

func newCommit(files map[string]File) *commit {
	sum := sha1.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintln(sum, name, files[name].Digest())
	}
	return &commit{id: hex.EncodeToString(sum.Sum(nil)), files: files}
}

// Demand makes everything need this token.
func (s *Server) Demand(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

// Gate lets the hub refuse every file until a licence is accepted.
func (s *Server) Gate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gated = true
}

// Intercept lets a test answer requests; those for which it returns false are
// answered as ever. Cut is such an answer.
func (s *Server) Intercept(answer func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = answer
}

// Requests are those so far; it forgets them.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := s.requests
	s.requests = nil
	return requests
}

// handler notes each request and lets the test answer it.
func (s *Server) handler(answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, Request{
			Method: r.Method, Host: r.Host, Path: r.URL.Path,
			Token: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "),
			Range: r.Header.Get("Range"), IfRange: r.Header.Get("If-Range"),
		})
		intercept := s.intercept
		s.mu.Unlock()
		if intercept == nil || !intercept(w, r) {
			answer(w, r)
		}
	})
}

// Cut answers, but ends the connection after the first n bytes of a longer body.
func (s *Server) Cut(w http.ResponseWriter, r *http.Request, n int) {
	w = &cutter{w, n}
	if strings.HasPrefix(r.URL.Path, "/large/") || r.Method == http.MethodPut {
		s.large(w, r)
	} else {
		s.hub(w, r)
	}
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	if len(b) <= c.left {
		c.left -= len(b)
		return c.ResponseWriter.Write(b)
	}
	c.ResponseWriter.Write(b[:c.left])
	http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// refuse answers as the hub does.
func refuse(w http.ResponseWriter, status int, code, message string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", message)
	http.Error(w, message, status)
}

// hub answers what pushing asks for (push.go), and fetching.
func (s *Server) hub(w http.ResponseWriter, r *http.Request) {
	if !s.push(w, r) {
		s.fetch(w, r)
	}
}

// fetch answers /api/KINDs/ID/revision/REV and /[datasets/]ID/resolve/REV/FILE.
func (s *Server) fetch(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, isAPI := strings.CutPrefix(r.URL.EscapedPath(), "/api/")
	verb := "/revision/"
	if isAPI && !strings.Contains(path, verb) { // main, where none is named
		path += verb + "main"
	}
	if !isAPI {
		path, verb = strings.TrimPrefix(path, "/"), "/resolve/"
		if !strings.HasPrefix(path, "datasets/") {
			path = "models/" + path
		}
	}
	name, rest, ok := strings.Cut(path, verb)
	repo := s.repos[name]
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case given != "" && given != s.token && s.token != "":
		refuse(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
		return
	case s.token != "" && given == "", !ok, repo == nil && given == "":
		refuse(w, http.StatusUnauthorized, "RepoNotFound", "Invalid username or password.")
		return
	case repo == nil:
		refuse(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
		return
	}
	revision, file, _ := strings.Cut(rest, "/")
	if plain, err := url.PathUnescape(file); err == nil {
		file = plain
	}
	commit := repo.revisions[strings.ReplaceAll(revision, "%2F", "/")]
	switch {
	case commit == nil:
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
	case isAPI:
		commit.list(w, name, repo.private)
	case s.gated:
		refuse(w, http.StatusForbidden, "GatedRepo", "Access to model "+name+" is restricted.")
	default:
		s.resolve(w, r, commit, file)
	}
}

// list answers what a commit has.
func (c *commit) list(w http.ResponseWriter, id string, private bool) {
	type lfs struct {
		SHA256 string `json:"sha256"`
		Size   int    `json:"size"`

		PointerSize int `json:"pointerSize"`
	}
	type sibling struct {
		Name string `json:"rfilename"`
		Size int    `json:"size"`
		Blob string `json:"blobId"` // of a large file, its pointer's
		LFS  *lfs   `json:"lfs,omitempty"`
	}
	_, id, _ = strings.Cut(id, "/")
	answer := struct {
		ID       string    `json:"id"`
		SHA      string    `json:"sha"`
		Private  bool      `json:"private"`
		Siblings []sibling `json:"siblings"`
	}{ID: id, SHA: c.id, Private: private}
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		f := c.files[name]
		s := sibling{Name: name, Size: len(f.Data), Blob: File{Data: f.Data}.Digest()}
		if f.Large {
			s.LFS = &lfs{f.Digest(), len(f.Data), 134}
		}
		answer.Siblings = append(answer.Siblings, s)
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

// resolve answers a file, or where a large one is.
func (s *Server) resolve(w http.ResponseWriter, r *http.Request, c *commit, name string) {
	w.Header().Set("X-Repo-Commit", c.id)
	file, ok := c.files[name]
	if !ok {
		refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	if file.Large {
		w.Header().Set("X-Linked-Etag", `"`+file.Digest()+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(file.Data)))
		w.Header().Set("Location", s.Files+"/large/"+file.Digest())
		w.WriteHeader(http.StatusFound)
		return
	}
	w.Header().Set("ETag", `"`+file.Digest()+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file.Data))
}

// large answers /large/DIGEST. Its ETag is its own, as that of a store of objects. What is sent goes
// elsewhere (push.go).
func (s *Server) large(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		s.receive(w, r)
		return
	}
	digest := strings.TrimPrefix(r.URL.Path, "/large/")
	data, ok := s.find(digest)
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", `"store-`+digest[:8]+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (s *Server) find(digest string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.repos {
		for _, c := range r.revisions {
			for _, f := range c.files {
				if f.Large && f.Digest() == digest {
					return f.Data, true
				}
			}
		}
	}
	return nil, false
}
