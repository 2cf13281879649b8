package hubtest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// regularBytes is how large a text may be that is kept in git itself.
const regularBytes = 10 << 20

// Reader lets a token read and not write.
func (s *Server) Reader(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers[token] = true
}

// Multipart lets large files come in parts of so many bytes.
func (s *Server) Multipart(chunk int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunk = chunk
}

// Held are the files of a revision, nil where there is no such.
func (s *Server) Held(kind, id, revision string) (files map[string]File, commit string, private bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repos[kind+"s/"+id]
	if r == nil || r.revisions[revision] == nil {
		return nil, "", false
	}
	return r.revisions[revision].files, r.revisions[revision].id, r.private
}

// push answers what pushing asks for; false: it is none of that.
func (s *Server) push(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, batch := strings.CutSuffix(strings.Trim(r.URL.Path, "/"), ".git/info/lfs/objects/batch")
	api, _ := strings.CutPrefix(r.URL.EscapedPath(), "/api/")
	name, verb, revision := cutVerb(api)
	oid, complete := strings.CutPrefix(r.URL.Path, "/lfs/complete/")
	verified, verify := strings.CutPrefix(r.URL.Path, "/lfs/verify/")
	switch {
	case complete: // its URL is signed: huggingface_hub sends no token with it
		s.complete(w, r, oid)
		return true
	case r.URL.Path != "/api/whoami-v2" && r.Method != http.MethodPost:
		return false
	case !s.writer(w, r, strings.HasPrefix(r.URL.Path, "/api/whoami")):
	case r.URL.Path == "/api/whoami-v2":
		s.whoami(w, r)
	case r.URL.Path == "/api/validate-yaml":
		answer(w, map[string]any{"errors": []any{}, "warnings": []any{}})
	case r.URL.Path == "/api/repos/create":
		s.create(w, r)
	case verify:
		if _, ok := s.stored[verified]; !ok {
			refuse(w, http.StatusNotFound, "", "object not found")
			return true
		}
		answer(w, map[string]any{})
	case batch:
		s.batch(w, r, "models/"+id)
	case verb == "":
		return false
	case s.repos[name] == nil:
		refuse(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
	case s.repos[name].revisions[revision] == nil:
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
	case verb == "preupload":
		s.preupload(w, r, s.repos[name].revisions[revision])
	default:
		s.commit(w, r, name, revision)
	}
	return true
}

// cutVerb takes KINDs/ORG/NAME/VERB/REVISION apart.
func cutVerb(api string) (name, verb, revision string) {
	for _, verb := range []string{"preupload", "commit"} {
		if name, revision, ok := strings.Cut(api, "/"+verb+"/"); ok {
			return name, verb, strings.ReplaceAll(revision, "%2F", "/")
		}
	}
	return "", "", ""
}

// writer refuses who may not write, or with reading who has no token.
func (s *Server) writer(w http.ResponseWriter, r *http.Request, reading bool) bool {
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case given == "":
		refuse(w, http.StatusUnauthorized, "", "Invalid username or password.")
	case s.readers[given] && reading:
		return true
	case s.readers[given]:
		refuse(w, http.StatusForbidden, "", "You don't have the rights to write to this repository")
	case s.token != "" && given != s.token:
		refuse(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
	default:
		return true
	}
	return false
}

func (s *Server) whoami(w http.ResponseWriter, r *http.Request) {
	role := "write"
	if s.readers[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] {
		role = "read"
	}
	answer(w, map[string]any{"type": "user", "name": "ada", "orgs": []any{},
		"auth": map[string]any{"type": "access_token", "accessToken": map[string]any{"displayName": "t", "role": role}}})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// read takes a request's JSON.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		refuse(w, http.StatusBadRequest, "", "malformed: "+err.Error())
		return false
	}
	return true
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Type, Name, Organization, Visibility string
		Private                              bool
	}
	if !read(w, r, &in) {
		return
	}
	id := path.Join(in.Organization, in.Name)
	key := in.Type + "s/" + id
	if in.Type == "" {
		key = "models/" + id
	}
	if s.repos[key] != nil {
		w.WriteHeader(http.StatusConflict)
		answer(w, map[string]any{"error": "You already created this model repo", "url": s.URL + "/" + id})
		return
	}
	first := newCommit(map[string]File{
		".gitattributes": {Data: []byte("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")},
	})
	s.repos[key] = &repo{
		revisions: map[string]*commit{"main": first, first.id: first},
		private:   in.Private || in.Visibility == "private",
	}
	answer(w, map[string]any{"url": s.URL + "/" + id, "name": id, "id": "1"})
}

// lfsPatterns are those of the .gitattributes that the hub makes, as far as models have them.
var lfsPatterns = []string{"*.safetensors", "*.onnx", "*.onnx_data", "*.bin"}

func isLarge(name string, sample []byte, size int64) bool {
	return size > regularBytes || bytes.IndexByte(sample, 0) >= 0 || slices.ContainsFunc(lfsPatterns,
		func(pattern string) bool { match, _ := path.Match(pattern, path.Base(name)); return match })
}

func (s *Server) preupload(w http.ResponseWriter, r *http.Request, c *commit) {
	var in struct {
		Files []struct {
			Path   string
			Sample []byte
			Size   int64
		}
	}
	if !read(w, r, &in) {
		return
	}
	type file struct {
		Path   string  `json:"path"`
		Mode   string  `json:"uploadMode"`
		Ignore bool    `json:"shouldIgnore"`
		OID    *string `json:"oid,omitempty"`
	}
	out := []file{}
	for _, f := range in.Files {
		told := file{Path: f.Path, Mode: "regular"}
		if isLarge(f.Path, f.Sample, f.Size) {
			told.Mode = "lfs"
		}
		if there, ok := c.files[f.Path]; ok {
			oid := there.Digest()
			told.OID = &oid
		}
		out = append(out, told)
	}
	answer(w, map[string]any{"files": out, "commitOid": c.id})
}

// lfsObject is one of a batch request and of its answer.
type lfsObject struct {
	OID     string         `json:"oid"`
	Size    int64          `json:"size"`
	Actions map[string]any `json:"actions,omitempty"`
	Error   map[string]any `json:"error,omitempty"`
}

func (s *Server) batch(w http.ResponseWriter, r *http.Request, name string) {
	var in struct {
		Operation string
		Transfers []string
		Objects   []lfsObject
		HashAlgo  string `json:"hash_algo"`
	}
	if !read(w, r, &in) {
		return
	}
	if s.repos[name] == nil || in.Operation != "upload" || in.HashAlgo != "sha256" ||
		r.Header.Get("Accept") != "application/vnd.git-lfs+json" {
		refuse(w, http.StatusUnprocessableEntity, "", "not a batch request of this repository")
		return
	}
	transfer := "basic"
	for i, o := range in.Objects {
		if _, ok := s.stored[o.OID]; ok {
			continue // no actions: it is there
		}
		upload := map[string]any{"href": s.Files + "/upload/" + o.OID, "header": map[string]string{}}
		if s.chunk > 0 && o.Size > int64(s.chunk) && slices.Contains(in.Transfers, "multipart") {
			transfer = "multipart"
			header := map[string]string{"chunk_size": fmt.Sprint(s.chunk)}
			for n := range int((o.Size + int64(s.chunk) - 1) / int64(s.chunk)) {
				header[fmt.Sprintf("%05d", n+1)] = fmt.Sprintf("%s/part/%s/%d", s.Files, o.OID, n+1)
			}
			upload = map[string]any{"href": s.URL + "/lfs/complete/" + o.OID, "header": header}
			s.parts[o.OID] = map[int][]byte{}
		}
		in.Objects[i].Actions = map[string]any{
			"upload": upload, "verify": map[string]any{"href": s.URL + "/lfs/verify/" + o.OID},
		}
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	json.NewEncoder(w).Encode(map[string]any{"transfer": transfer, "objects": in.Objects})
}

// receive takes a large file, or a part of one, on the server of large files.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil || int64(len(data)) != r.ContentLength {
		return // it was cut
	}
	if r.Header.Get("Authorization") != "" {
		http.Error(w, "only one auth mechanism allowed", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	w.Header().Set("ETag", `"`+digest[:32]+`"`)
	if oid, ok := strings.CutPrefix(r.URL.Path, "/upload/"); ok {
		if oid != digest {
			http.Error(w, "BadDigest", http.StatusBadRequest)
			return
		}
		s.stored[oid] = data
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/part/")
	oid, number, _ := strings.Cut(rest, "/")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || s.parts[oid] == nil {
		http.Error(w, "AccessDenied: Request has expired", http.StatusForbidden)
		return
	}
	s.parts[oid][n] = data
}

// complete joins the parts of a large file.
func (s *Server) complete(w http.ResponseWriter, r *http.Request, oid string) {
	var in struct {
		OID   string
		Parts []struct {
			PartNumber int
			ETag       string
		}
	}
	if !read(w, r, &in) {
		return
	}
	var whole []byte
	for i, p := range in.Parts {
		data := s.parts[oid][p.PartNumber]
		sum := sha256.Sum256(data)
		if p.PartNumber != i+1 || strings.Trim(p.ETag, `"`) != hex.EncodeToString(sum[:])[:32] {
			refuse(w, http.StatusBadRequest, "", fmt.Sprintf("part %d is not there", i+1))
			return
		}
		whole = append(whole, data...)
	}
	if sum := sha256.Sum256(whole); in.OID != oid || hex.EncodeToString(sum[:]) != oid {
		refuse(w, http.StatusBadRequest, "", "the parts do not make the object")
		return
	}
	s.stored[oid] = whole // the parts stay: huggingface_hub sends two files of the same bytes side by side
	answer(w, map[string]any{"success": true})
}

// commit reads a line for each change.
func (s *Server) commit(w http.ResponseWriter, r *http.Request, name, revision string) {
	head := s.repos[name].revisions[revision]
	files, title := maps.Clone(head.files), ""
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var line struct {
			Key   string
			Value struct {
				Summary, ParentCommit         string
				Path, Content, Encoding, Algo string
				OID                           string
				Size                          int64
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			refuse(w, http.StatusBadRequest, "", "malformed: "+err.Error())
			return
		}
		v := line.Value
		switch line.Key {
		case "header":
			title = v.Summary
			if v.ParentCommit != "" && v.ParentCommit != head.id {
				refuse(w, http.StatusPreconditionFailed, "", "A commit has happened since. Please refresh and try again.")
				return
			}
		case "file":
			content, err := base64.StdEncoding.DecodeString(v.Content)
			if err != nil || v.Encoding != "base64" {
				refuse(w, http.StatusBadRequest, "", "not base64: "+v.Path)
				return
			}
			files[v.Path] = File{Data: content}
		case "lfsFile":
			data, ok := s.stored[v.OID]
			if !ok || int64(len(data)) != v.Size || v.Algo != "sha256" {
				refuse(w, http.StatusBadRequest, "", "Your push was rejected because an LFS pointer pointed to a file that "+
					"does not exist. Offending file: "+v.Path)
				return
			}
			files[v.Path] = File{Data: data, Large: true}
		default:
			refuse(w, http.StatusBadRequest, "", "unknown: "+line.Key)
			return
		}
	}
	if lines.Err() != nil {
		return // it was cut
	}
	if title == "" {
		refuse(w, http.StatusBadRequest, "", "a commit needs a summary")
		return
	}
	c := newCommit(files)
	s.repos[name].revisions[revision], s.repos[name].revisions[c.id] = c, c
	_, id, _ := strings.Cut(name, "/")
	answer(w, map[string]any{
		"success": true, "commitOid": c.id, "commitUrl": s.URL + "/" + id + "/commit/" + c.id, "hookOutput": "",
	})
}
