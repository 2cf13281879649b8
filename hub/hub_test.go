package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"distilvit/hub/hubtest"
	"distilvit/internal/retry"
)

// noise is data that does not repeat.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

// captioner is a small model as people publish it, with what is not wanted beside.
func captioner() map[string]hubtest.File {
	return map[string]hubtest.File{
		"README.md":                {Data: []byte("# card")},
		"config.json":              {Data: []byte(`{"model_type": "vision-encoder-decoder"}`)},
		"generation_config.json":   {Data: []byte(`{}`)},
		"preprocessor_config.json": {Data: []byte(`{"size": 224}`)},
		"tokenizer.json":           {Data: []byte(`{"version": "1.0"}`)},
		"model.safetensors":        {Data: noise(3 << 20), Large: true},
		"pytorch_model.bin":        {Data: noise(100), Large: true},
		"onnx/model.onnx":          {Data: noise(100), Large: true},
	}
}

var wanted = []string{
	"config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json",
	"model.safetensors",
}

const modelID = "google/vit-test"

// newClient fetches from a server into a cache of its own, without pauses.
func newClient(t *testing.T, s *hubtest.Server, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{Endpoint: s.URL, CacheDir: filepath.Join(t.TempDir(), "hub")}
	for _, c := range change {
		c(&o)
	}
	c, err := New(o)
	check(t, err)
	c.pause = func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }
	return c
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fails wants an error of one line that says all of this.
func fails(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that says %q", says)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error of several lines: %q", err)
	}
}

// holds wants a snapshot with these files.
func holds(t *testing.T, s *Snapshot, files map[string]hubtest.File, names ...string) {
	t.Helper()
	for _, name := range names {
		got, err := os.ReadFile(filepath.Join(s.Dir, name))
		check(t, err)
		if !bytes.Equal(got, files[name].Data) {
			t.Errorf("%s has other bytes", name)
		}
	}
}

// tree lists a directory: links with what they point to.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			list = append(list, name+" -> "+target)
			return err
		}
		list = append(list, name)
		return err
	}))
	return list
}

func TestModelIsFetchedInHuggingFacesLayout(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	commit := s.Put(Model, modelID, files)
	c := newClient(t, s)
	var last [2]int64
	got, err := c.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, func(_ string, done, total int64) {
		last = [2]int64{done, total}
	})
	check(t, err)
	holds(t, got, files, wanted...)
	if got.Commit != commit || filepath.Base(got.Dir) != commit {
		t.Errorf("commit %s in %s instead of %s", got.Commit, got.Dir, commit)
	}
	var want []string
	var total int64
	for _, name := range wanted {
		digest := files[name].Digest()
		total += int64(len(files[name].Data))
		want = append(want,
			".locks/models--google--vit-test/"+digest+".lock",
			"models--google--vit-test/blobs/"+digest,
			"models--google--vit-test/snapshots/"+commit+"/"+name+" -> ../../blobs/"+digest)
	}
	want = append(want, "models--google--vit-test/refs/main")
	slices.Sort(want)
	if have := tree(t, c.cache); !slices.Equal(have, want) {
		t.Errorf("cache holds\n%s\ninstead of\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	if last != [2]int64{total, total} {
		t.Errorf("progress ended with %v of %d bytes", last, total)
	}
	ref, err := os.ReadFile(filepath.Join(c.cache, "models--google--vit-test/refs/main"))
	check(t, err)
	if string(ref) != commit {
		t.Errorf("refs/main holds %q", ref)
	}

	s.Requests()
	_, err = c.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	check(t, err)
	if r := s.Requests(); len(r) != 1 || !strings.HasPrefix(r[0].Path, "/api/") {
		t.Errorf("fetched again: %v", r)
	}
}

func TestDatasetsTagsAndFoldersAreFetched(t *testing.T) {
	s := hubtest.Start(t)
	files := map[string]hubtest.File{
		"data/train 1.parquet": {Data: noise(1000), Large: true}, "README.md": {Data: []byte("x")},
	}
	commit := s.Put(Dataset, "nlphuji/flickr30k", files, "refs/convert/parquet")
	c := newClient(t, s)
	got, err := c.Fetch(t.Context(), Repo{
		Kind: Dataset, ID: "nlphuji/flickr30k", Revision: "refs/convert/parquet",
	}, Patterns("data/*.parquet"), nil)
	check(t, err)
	holds(t, got, files, "data/train 1.parquet")
	ref, err := os.ReadFile(filepath.Join(c.cache, "datasets--nlphuji--flickr30k/refs/refs/convert/parquet"))
	check(t, err)
	if string(ref) != commit || !slices.Equal(got.Files, []string{"data/train 1.parquet"}) {
		t.Errorf("ref %q, files %v", ref, got.Files)
	}
}

func TestTokenGoesToTheHubOnly(t *testing.T) {
	s := hubtest.Start(t)
	s.Demand("hf_secret")
	s.Put(Model, modelID, captioner())
	c := newClient(t, s, func(o *Options) { o.Token = "hf_secret" })
	_, err := c.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	check(t, err)
	large := 0
	for _, r := range s.Requests() {
		if strings.HasPrefix(r.Path, "/large/") {
			large++
			if r.Token != "" {
				t.Errorf("token sent to %s", r.Host)
			}
		} else if r.Token != "hf_secret" {
			t.Errorf("%s %s without the token", r.Method, r.Path)
		}
	}
	if large == 0 {
		t.Error("no large file was fetched")
	}
}

func TestRenamedRepositoryIsFollowed(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	s.Put(Model, modelID, files)
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "old/name") {
			return false
		}
		w.Header().Set("Location", strings.Replace(r.URL.RequestURI(), "old/name", modelID, 1))
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	})
	got, err := newClient(t, s).Fetch(t.Context(), Repo{ID: "old/name"}, ModelFiles, nil)
	check(t, err)
	holds(t, got, files, wanted...)
}

// cutting ends the connection of every GET of a large file after n bytes.
func cutting(s *hubtest.Server, n int) {
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/large/") {
			s.Cut(w, r, n)
			return true
		}
		return false
	})
}

func TestCutConnectionsAreResumed(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	s.Put(Model, modelID, files)
	cutting(s, 500_000) // 3 MiB in seven pieces: more than the tries without progress
	got, err := newClient(t, s).Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	check(t, err)
	holds(t, got, files, wanted...)
	resumed := 0
	for _, r := range s.Requests() {
		if r.Range != "" {
			resumed++
			if !strings.HasPrefix(r.IfRange, `"store-`) {
				t.Errorf("range %s asked for with If-Range %q", r.Range, r.IfRange)
			}
		}
	}
	if resumed != 6 {
		t.Errorf("%d requests for a rest", resumed)
	}
}

func TestCancelledFetchGoesOnWhereItWas(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	s.Put(Model, modelID, files)
	c := newClient(t, s)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("somebody stopped it")
	_, err := c.Fetch(ctx, Repo{ID: modelID}, ModelFiles, func(file string, done, _ int64) {
		if file == "model.safetensors" && done > 1<<20 {
			cancel(stop)
		}
	})
	if !errors.Is(err, stop) {
		t.Fatalf("cancelled: %v", err)
	}
	folder := filepath.Join(c.cache, "models--google--vit-test")
	part, err := os.Stat(filepath.Join(folder, "blobs", files["model.safetensors"].Digest()+".incomplete"))
	check(t, err)
	if part.Size() < 1<<20 || part.Size() >= 3<<20 {
		t.Errorf("%d bytes are left", part.Size())
	}
	if _, err := os.Stat(filepath.Join(folder, "refs/main")); err == nil {
		t.Error("refs/main names a commit that is not all here")
	}
	s.Requests()
	got, err := newClient(t, s, func(o *Options) { o.CacheDir = c.cache }).Fetch(t.Context(),
		Repo{ID: modelID}, ModelFiles, nil)
	check(t, err)
	holds(t, got, files, wanted...)
	ranges := []string{}
	for _, r := range s.Requests() {
		if r.Method == http.MethodGet && strings.HasPrefix(r.Path, "/large/") {
			ranges = append(ranges, r.Range)
		}
	}
	if want := []string{fmt.Sprintf("bytes=%d-", part.Size())}; !slices.Equal(ranges, want) {
		t.Errorf("asked for %q instead of %q", ranges, want)
	}
}

func TestWrongBeginningIsFetchedAnew(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	s.Put(Model, modelID, files)
	large := files["model.safetensors"]
	for name, left := range map[string][]byte{
		"other bytes": bytes.Repeat([]byte("x"), 1000), "too long": append(
			large.Data[:len(large.Data):len(large.Data)], 'x',
		), "all but wrong": bytes.Repeat([]byte("x"), len(large.Data)),
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, s)
			blobs := filepath.Join(c.cache, "models--google--vit-test/blobs")
			check(t, os.MkdirAll(blobs, 0o755))
			check(t, os.WriteFile(filepath.Join(blobs, large.Digest()+".incomplete"), left, 0o644))
			got, err := c.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
			check(t, err)
			holds(t, got, files, wanted...)
		})
	}
}

func TestServersWithoutRangesAreReadFromTheBeginning(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	s.Put(Model, modelID, files)
	var gets atomic.Int32
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/large/") {
			r.Header.Del("Range")
			if gets.Add(1) == 1 {
				s.Cut(w, r, 1<<20)
			}
		}
		return false
	})
	got, err := newClient(t, s).Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	check(t, err)
	holds(t, got, files, wanted...)
}

// large answers GETs of large files.
func large(answer http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasPrefix(r.URL.Path, "/large/") {
			return false
		}
		answer(w, r)
		return true
	}
}

func TestWrongBytesNeverBecomeVisible(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	commit := s.Put(Model, modelID, files)
	whole := files["model.safetensors"].Data
	head := func(change func(http.Header)) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodHead || !strings.HasSuffix(r.URL.Path, "model.safetensors") {
				return false
			}
			h := w.Header()
			h.Set("X-Repo-Commit", commit)
			h.Set("X-Linked-Etag", `"`+files["model.safetensors"].Digest()+`"`)
			h.Set("X-Linked-Size", fmt.Sprint(len(whole)))
			h.Set("Location", s.Files+"/large/"+files["model.safetensors"].Digest())
			change(h)
			w.WriteHeader(http.StatusFound)
			return true
		}
	}
	for _, c := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request) bool
		says   string
	}{
		{"other bytes", large(
			func(w http.ResponseWriter, _ *http.Request) { w.Write(bytes.Repeat([]byte("x"), len(whole))) },
		), "has digest"},
		{"fewer announced", large(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			w.Write(whole[:5])
		}), "announces 5 bytes instead of 3145728"},
		{"more than announced", large(
			func(w http.ResponseWriter, _ *http.Request) { w.Write(whole); w.Write(whole) },
		), "more bytes come than the 3145728 announced"},
		{"fewer than announced", large(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(whole)))
			w.Write(whole[:5])
		}), "unavailable: the connection ended after 5 of 3145728 bytes"},
		{"compressed", large(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(whole)
		}), `as "gzip"`},
		{"other commit", head(func(h http.Header) { h.Set("X-Repo-Commit", strings.Repeat("0", 40)) }),
			"instead of " + commit},
		{"no commit", head(func(h http.Header) { h.Del("X-Repo-Commit") }), "check HF_ENDPOINT"},
		{"no etag", head(func(h http.Header) { h.Del("X-Linked-Etag") }), "names no digest"},
		{"etag that is a path", head(
			func(h http.Header) { h.Set("X-Linked-Etag", `"../../../../etc/passwd"`) },
		), "names no digest"},
		{"no size", head(func(h http.Header) { h.Del("X-Linked-Size") }), "does not say how long"},
		{
			"negative size", head(func(h http.Header) { h.Set("X-Linked-Size", "-5") }),
			"does not say how long",
		},
		{"another size than listed", head(func(h http.Header) { h.Set("X-Linked-Size", "5") }),
			"3145728 bytes and that it has 5"},
		{"redirect to a file", head(func(h http.Header) { h.Set("Location", "file:///etc/passwd") }),
			"not safe to follow"},
		{"redirect to nowhere", head(func(h http.Header) { h.Del("Location") }), "redirects to nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Intercept(c.answer)
			client := newClient(t, s)
			_, err := client.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
			fails(t, err, "model google/vit-test@main", "model.safetensors", c.says)
			for _, name := range tree(t, client.cache) {
				if strings.Contains(name, "model.safetensors") || strings.HasSuffix(name, "/"+
					files["model.safetensors"].Digest()) || strings.Contains(name, "refs/") {
					t.Errorf("%s is there", name)
				}
			}
		})
	}
}

func TestSmallFilesAreVerifiedToo(t *testing.T) {
	s := hubtest.Start(t)
	s.Put(Model, modelID, captioner())
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/tokenizer.json") {
			return false
		}
		w.Write([]byte(`{"version": "6.6"}`))
		return true
	})
	_, err := newClient(t, s).Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	fails(t, err, "tokenizer.json", "has digest")
}

func TestPassingFailuresAreTriedAgain(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	s.Put(Model, modelID, files)
	var mu sync.Mutex
	seen := map[string]int{}
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		key := r.Method + r.URL.Path
		seen[key]++
		switch seen[key] {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
		case 2:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		case 3:
			panic(http.ErrAbortHandler)
		default:
			return false
		}
		return true
	})
	c := newClient(t, s)
	var waits []time.Duration
	c.pause = func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }
	got, err := c.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	check(t, err)
	holds(t, got, files, wanted...)
	if want := []time.Duration{retry.FirstPause, 7 * time.Second}; !slices.Equal(waits[:2], want) {
		t.Errorf("waited %v instead of %v", waits[:2], want)
	}
}

func TestExpiredAddressIsAskedForAgain(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	s.Put(Model, modelID, files)
	var n atomic.Int32
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/large/") && n.Add(1) == 1 {
			http.Error(w, "Request has expired", http.StatusForbidden)
			return true
		}
		return false
	})
	got, err := newClient(t, s).Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	check(t, err)
	holds(t, got, files, wanted...)
	heads := 0
	for _, r := range s.Requests() {
		if r.Method == http.MethodHead && strings.HasSuffix(r.Path, "model.safetensors") {
			heads++
		}
	}
	if heads != 2 {
		t.Errorf("the address was asked for %d times", heads)
	}
}

func TestStalledConnectionsAreGivenUp(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	s.Put(Model, modelID, files)
	var n atomic.Int32
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasPrefix(r.URL.Path, "/large/") || n.Add(1) > 1 {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(files["model.safetensors"].Data)))
		w.Write(files["model.safetensors"].Data[:1<<20])
		http.NewResponseController(w).Flush()
		<-r.Context().Done() // says nothing more until we are gone
		return true
	})
	c := newClient(t, s)
	c.stall = 200 * time.Millisecond
	got, err := c.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	check(t, err)
	holds(t, got, files, wanted...)
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	status := func(code int) func(*hubtest.Server) {
		return func(s *hubtest.Server) {
			s.Intercept(
				func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(code); return true },
			)
		}
	}
	for _, c := range []struct {
		name        string
		repo, token string
		server      func(*hubtest.Server)
		says        []string
		unavailable bool
	}{
		{"no such model", "google/vit-tset", "", nil, []string{
			"has no model google/vit-tset, or it is private", "set HF_TOKEN",
		}, false},
		{"no such model, with a token", "google/vit-tset", "t", nil, []string{
			"has no model google/vit-tset", "the account of HF_TOKEN needs access",
		}, false},
		{"private", modelID, "", func(s *hubtest.Server) {
			s.Demand("t")
		}, []string{"or it is private", "set HF_TOKEN"}, false},
		{"wrong token", modelID, "other", func(s *hubtest.Server) { s.Demand("t") }, []string{
			"does not accept the token (Invalid credentials in Authorization header)",
		}, false},
		{"no such revision", modelID + "@v2", "", nil, []string{"it has no revision v2"}, false},
		{"gated", modelID, "", (*hubtest.Server).Gate, []string{
			"it is gated: accept its licence on http", "/google/vit-test and set HF_TOKEN",
		}, false},
		{"gated, with a token", modelID, "t", (*hubtest.Server).Gate, []string{
			"the account of HF_TOKEN has no access", "accept its licence on",
		}, false},
		{
			"token without rights", modelID, "t", status(403),
			[]string{"may not read it", "/google/vit-test"}, false,
		},
		{"too many requests", modelID, "", status(429), []string{
			"unavailable", "429 Too Many Requests", "wait some minutes", "(6 tries)",
		}, true},
		{"broken", modelID, "", status(503), []string{
			"unavailable", "503 Service Unavailable (6 tries)",
		}, true},
		{"teapot", modelID, "", status(418), []string{"answers 418"}, false},
		{"another server", modelID, "", func(s *hubtest.Server) {
			s.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
				w.Write([]byte("<html>Log in to this network"))
				return true
			})
		}, []string{"is not the Hugging Face hub"}, false},
		{"endless redirect", modelID, "", func(s *hubtest.Server) {
			s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, r.URL.Path, http.StatusFound)
				return true
			})
		}, []string{"redirects more than"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := hubtest.Start(t)
			s.Put(Model, modelID, captioner())
			if c.server != nil {
				c.server(s)
			}
			repo, err := Parse(c.repo)
			check(t, err)
			_, err = newClient(t, s, func(o *Options) { o.Token = c.token }).Fetch(t.Context(), repo,
				ModelFiles, nil)
			fails(t, err, append(c.says, strings.TrimSuffix(c.repo, "@v2"))...)
			if errors.Is(err, ErrUnavailable) != c.unavailable {
				t.Errorf("unavailable: %v", !c.unavailable)
			}
			if c.token != "" && strings.Contains(err.Error(), `"`+c.token+`"`) {
				t.Errorf("the token is in %q", err)
			}
		})
	}
}

func TestUnreachableHubIsUnavailableAndNamesTheCache(t *testing.T) {
	s := hubtest.Start(t)
	s.Put(Model, modelID, captioner())
	c := newClient(t, s)
	_, err := c.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	check(t, err)
	closed := httptest.NewServer(nil)
	closed.Close()
	c = newClient(t, s, func(o *Options) { o.CacheDir, o.Endpoint = c.cache, closed.URL })
	_, err = c.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	fails(t, err, "connection refused", "HF_HUB_OFFLINE=1")
	if strings.Contains(err.Error(), "tries") {
		t.Errorf("nobody is asked several times: %v", err)
	}
	if !errors.Is(err, ErrUnavailable) {
		t.Error("not unavailable")
	}
}

func TestOfflineUsesTheCacheAlone(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	commit := s.Put(Model, modelID, files)
	online := newClient(t, s)
	offline := newClient(t, s, func(o *Options) { o.CacheDir, o.Offline = online.cache, true })
	_, err := offline.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	fails(t, err, "does not hold it and HF_HUB_OFFLINE is set", online.cache)

	_, err = online.Fetch(t.Context(), Repo{ID: modelID}, Patterns("config.json"), nil)
	check(t, err)
	s.Requests()
	_, err = offline.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	fails(t, err, "holds only a part of it (it has neither model.safetensors nor pytorch_model.bin)")

	_, err = online.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	check(t, err)
	s.Requests()
	for _, revision := range []string{"", commit} {
		got, err := offline.Fetch(t.Context(), Repo{ID: modelID, Revision: revision}, ModelFiles, nil)
		check(t, err)
		holds(t, got, files, wanted...)
	}
	if r := s.Requests(); len(r) > 0 {
		t.Errorf("offline asked %v", r)
	}
	check(t, os.Remove(
		filepath.Join(online.cache, "models--google--vit-test/blobs", files["model.safetensors"].Digest()),
	))
	_, err = offline.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	fails(t, err, "holds only a part of it")
}

func TestConcurrentFetchesShareOneTransfer(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	s.Put(Model, modelID, files)
	c := newClient(t, s)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			other := newClient(t, s, func(o *Options) { o.CacheDir = c.cache })
			got, err := other.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
			if err != nil {
				t.Error(err)
				return
			}
			holds(t, got, files, wanted...)
		})
	}
	all.Wait()
	gets := 0
	for _, r := range s.Requests() {
		if r.Method == http.MethodGet && strings.HasPrefix(r.Path, "/large/") {
			gets++
		}
	}
	if gets != 1 {
		t.Errorf("the large file was sent %d times", gets)
	}
}

func TestLockThatAnotherProcessRemovedIsTakenAgain(t *testing.T) {
	s := hubtest.Start(t)
	c := newClient(t, s)
	f, err := c.open(Repo{Kind: Model, ID: modelID}, &listing{})
	check(t, err)
	defer f.close()
	unlock, err := f.lock(t.Context(), "x")
	check(t, err)
	name := filepath.Join(c.cache, locksDir, "models--google--vit-test", "x.lock")
	got := make(chan error, 1)
	go func() {
		again, err := f.lock(t.Context(), "x")
		if err == nil {
			if _, err = os.Stat(name); err == nil {
				again()
			}
		}
		got <- err
	}()
	check(t, os.Remove(name)) // as huggingface_hub does, holding the lock
	unlock()
	check(t, <-got)
}

func TestNamesThatLeadOutAreRefused(t *testing.T) {
	s := hubtest.Start(t)
	for _, name := range []string{"../config.json", "/etc/passwd", "a/../../config.json", "a//b", ".", "..",
		"", "a\x00b", "a\nb", "a/./b"} {
		files := captioner()
		files[name] = hubtest.File{Data: []byte("x")}
		s.Put(Model, modelID, files)
		c := newClient(t, s)
		_, err := c.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
		fails(t, err, "no path inside a repository")
		if _, err := os.Stat(c.cache); err == nil {
			t.Errorf("%q left something", name)
		}
	}
	c := newClient(t, s)
	for _, r := range []Repo{
		{ID: "../x"}, {ID: "a/.."}, {ID: "a/b/c"}, {ID: ""}, {ID: "/"}, {ID: "a/"}, {ID: "a--b/c"},
		{ID: "a/b.git"}, {ID: "a/b?x"}, {ID: ".a/b"}, {ID: "a/-b"}, {ID: "a\n/b"},
		{ID: "a/b", Revision: "../../x"}, {ID: "a/b", Revision: "/x"}, {ID: "a/b", Revision: "x\n"},
		{ID: "a/b", Kind: "space"}, {ID: "a/b", Kind: "../model"},
	} {
		if _, err := c.Fetch(t.Context(), r, ModelFiles, nil); err == nil {
			t.Errorf("%+v is accepted", r)
		}
	}
}

func TestLinksInTheCacheDoNotLeadOut(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	commit := s.Put(Model, modelID, files)
	for _, dir := range []string{"blobs", "refs", "snapshots", "snapshots/" + commit} {
		c := newClient(t, s)
		outside := t.TempDir()
		link := filepath.Join(c.cache, "models--google--vit-test", dir)
		check(t, os.MkdirAll(filepath.Dir(link), 0o755))
		check(t, os.Symlink(outside, link))
		_, err := c.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
		fails(t, err, "cache directory "+c.cache)
		if left := tree(t, outside); len(left) > 0 {
			t.Errorf("%s: written outside: %v", dir, left)
		}
	}
	// A file and a folder of the same name.
	files["config.json/x"] = hubtest.File{Data: []byte("x")}
	s.Put(Model, modelID, files)
	_, err := newClient(t, s).Fetch(
		t.Context(), Repo{ID: modelID}, Patterns("config.json", "config.json/*"), nil,
	)
	fails(t, err, "cache directory")
}

func TestHugeAnswersAreNotRead(t *testing.T) {
	s := hubtest.Start(t)
	s.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Write([]byte(`{"sha": "`))
		for range maxListBytes/(1<<20) + 1 {
			if _, err := w.Write(bytes.Repeat([]byte("0"), 1<<20)); err != nil {
				break
			}
		}
		return true
	})
	_, err := newClient(t, s).Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	fails(t, err, "lists its files in more than")
}

func TestNoSpaceIsFoundBeforeTheTransferAndDuringIt(t *testing.T) {
	s := hubtest.Start(t)
	files := captioner()
	commit := s.Put(Model, modelID, files)
	disk := filepath.Join(t.TempDir(), "disk")
	check(t, os.Mkdir(disk, 0o755))
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) })
	c := newClient(t, s, func(o *Options) { o.CacheDir = disk })
	_, err := c.Fetch(t.Context(), Repo{ID: modelID}, ModelFiles, nil)
	fails(t, err, "model.safetensors", "no space left", disk, "4 MB more are needed", "set HF_HUB_CACHE")
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v is not ENOSPC", err)
	}
	if r := s.Requests(); slices.ContainsFunc(r, func(r hubtest.Request) bool {
		return strings.HasPrefix(r.Path, "/large/")
	}) {
		t.Error("the file was begun")
	}

	f, err := c.open(Repo{Kind: Model, ID: modelID}, &listing{commit: commit})
	check(t, err)
	defer f.close()
	f.count(nil, nil)
	file, err := f.root.Create("part")
	check(t, err)
	defer file.Close()
	err = newDownloading(f, "part", &about{size: 3 << 20}, file).Append(t.Context(), noise(3<<20))
	fails(t, err, "no space left", disk, "free some")
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v is not ENOSPC", err)
	}
}

func TestModelsNamesAreParsed(t *testing.T) {
	for text, want := range map[string]Repo{
		"hf:google/vit-base-patch16-224": {Model, "google/vit-base-patch16-224", "main"},
		"google/vit":                     {Model, "google/vit", "main"},
		"hf:gpt2":                        {Model, "gpt2", "main"},
		"hf:a/b@refs/pr/1":               {Model, "a/b", "refs/pr/1"},
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
		if again, err := Parse(got.Ref()); err != nil || again != want {
			t.Errorf("%s is %+v, %v", got.Ref(), again, err)
		}
	}
	for _, text := range []string{"hf:", "hf:a/b@", "hf:a/b/c", "hf:../b", "hf:a/b@../c"} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
	t.Chdir(t.TempDir())
	check(t, os.MkdirAll("here/model", 0o755))
	for text, want := range map[string]bool{
		"hf:x": true, "google/vit": true, "google/vit@main": true, "here/model": false, "demo": false,
		"./a/b": false, "/a/b": false, "a/b/c": false, "../a": false, "a/": false,
	} {
		if Names(text) != want {
			t.Errorf("%s names a model: %v", text, !want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for says, o := range map[string]Options{
		"HF_ENDPOINT": {Endpoint: "hub.example", CacheDir: "x"}, "HF_TOKEN": {Token: "a\nb", CacheDir: "x"},
		"HF_HUB_CACHE": {},
	} {
		_, err := New(o)
		fails(t, err, says)
	}
}
