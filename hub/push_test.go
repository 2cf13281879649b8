package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"distilvit/hub/hubtest"
	"distilvit/internal/digest"
)

const token = "hf_secret"

// published is a model's directory as files to be pushed: two large files and small ones.
func published(t *testing.T) map[string]hubtest.File {
	t.Helper()
	return map[string]hubtest.File{
		"README.md":                {Data: []byte("---\nlicense: mit\n---\n# card\n")},
		"config.json":              {Data: []byte(`{"model_type": "vision-encoder-decoder"}`)},
		"empty.txt":                {},
		"model.safetensors":        {Data: noise(300_000), Large: true},
		"onnx/encoder_model.onnx":  {Data: noise(70_000), Large: true},
		"onnx/encoder_model2.onnx": {Data: noise(70_000), Large: true}, // the same bytes
	}
}

// toPush writes the files to a directory.
func toPush(t *testing.T, files map[string]hubtest.File) Push {
	t.Helper()
	dir, p := t.TempDir(), Push{Repo: Repo{ID: "org/captioner"}, Title: "demo-b1"}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		data := files[name].Data
		check(t, os.WriteFile(path, data, 0o644))
		p.Files = append(p.Files, PushFile{Name: name, Path: path, Size: int64(len(data)), SHA256: digest.Bytes(data)})
	}
	return p
}

// newPusher has a token that may write and counts the pauses it is asked for.
func newPusher(t *testing.T, s *hubtest.Server) (*Client, *[]time.Duration) {
	t.Helper()
	s.Demand(token)
	c := newClient(t, s, func(o *Options) { o.Token = token })
	pauses := &[]time.Duration{}
	c.pause = func(ctx context.Context, d time.Duration) error {
		*pauses = append(*pauses, d)
		return context.Cause(ctx)
	}
	return c, pauses
}

// isThere wants the files as main of the repository, beside what the hub makes.
func isThere(t *testing.T, s *hubtest.Server, files map[string]hubtest.File, commit string) {
	t.Helper()
	held, head, _ := s.Held(Model, "org/captioner", Main)
	if head != commit {
		t.Errorf("main is %s, not %s", head, commit)
	}
	for name, f := range files {
		if got, ok := held[name]; !ok || string(got.Data) != string(f.Data) || got.Large != f.Large {
			t.Errorf("%s: %d bytes, large %v, there %v", name, len(got.Data), got.Large, ok)
		}
	}
	if len(held) != len(files)+1 {
		t.Errorf("the repository has %q", slices.Sorted(maps.Keys(held)))
	}
}

func sent(s *hubtest.Server) (puts []string) {
	for _, r := range s.Requests() {
		if r.Method == http.MethodPut {
			puts = append(puts, r.Path)
		}
	}
	return puts
}

func TestPushMakesOneCommitAndSendsNothingTwice(t *testing.T) {
	for name, chunk := range map[string]int{"whole": 0, "in parts": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			s := hubtest.Start(t)
			s.Multipart(chunk)
			c, _ := newPusher(t, s)
			files := published(t)
			p := toPush(t, files)
			p.Private = true
			var last [2]int64
			got, err := c.Push(t.Context(), p, func(_ string, done, total int64) { last = [2]int64{done, total} })
			check(t, err)
			isThere(t, s, files, got.Commit)
			if _, _, private := s.Held(Model, "org/captioner", Main); !private {
				t.Error("the repository is public")
			}
			if got.Sent != 370_000 || got.Changed != 6 || last != [2]int64{370_000, 370_000} ||
				got.Page != s.URL+"/org/captioner" {
				t.Errorf("%+v, progress %v", got, last)
			}
			for _, r := range s.Requests() {
				if !strings.HasPrefix(s.URL, "http://"+r.Host) && r.Token != "" {
					t.Errorf("the token went to %s", r.Host)
				}
			}

			again, err := c.Push(t.Context(), p, nil)
			check(t, err)
			if again.Commit != got.Commit || again.Changed != 0 || again.Sent != 0 || len(sent(s)) > 0 {
				t.Errorf("pushed again: %+v", again)
			}
			files["config.json"] = hubtest.File{Data: []byte(`{"a": 1}`)}
			files["moved.onnx"] = files["model.safetensors"]
			changed, err := c.Push(t.Context(), toPush(t, files), nil)
			check(t, err)
			isThere(t, s, files, changed.Commit)
			if changed.Changed != 2 || changed.Sent != 0 || len(sent(s)) > 0 {
				t.Errorf("a changed file: %+v", changed)
			}
		})
	}
}

// cutUpload answers the n-th PUT after some bytes with the end of its connection.
func cutUpload(s *hubtest.Server, n int32) {
	var puts atomic.Int32
	s.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || puts.Add(1) != n {
			return false
		}
		io.CopyN(io.Discard, r.Body, 1000)
		panic(http.ErrAbortHandler)
	})
}

func TestPushOutlastsWhatPasses(t *testing.T) {
	busy := func(status int, header ...string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
		}
	}
	for name, answer := range map[string]func(http.ResponseWriter){
		"429": busy(429, "Retry-After", "7"), "500": busy(500), "502": busy(502), "503": busy(503), "504": busy(504),
		"cut": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		for _, path := range []string{
			"/api/repos/create", "/revision/", "/preupload/", "/objects/batch", "/upload/", "/lfs/verify/", "/commit/",
		} {
			t.Run(name+path, func(t *testing.T) {
				s := hubtest.Start(t)
				c, pauses := newPusher(t, s)
				var done atomic.Bool
				s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.Contains(r.URL.Path, path) || done.Swap(true) {
						return false
					}
					answer(w)
					return true
				})
				files := published(t)
				got, err := c.Push(t.Context(), toPush(t, files), nil)
				check(t, err)
				isThere(t, s, files, got.Commit)
				if name == "429" && (len(*pauses) != 1 || (*pauses)[0] != 7*time.Second) {
					t.Errorf("pauses %v", *pauses)
				}
			})
		}
	}
}

func TestUploadThatIsCutGoesOnWithThatFileOrPart(t *testing.T) {
	for chunk, want := range map[int]int{0: 3, 64 << 10: 8} { // one more than files, or than parts
		s := hubtest.Start(t)
		s.Multipart(chunk)
		c, _ := newPusher(t, s)
		cutUpload(s, 2)
		files := published(t)
		got, err := c.Push(t.Context(), toPush(t, files), nil)
		check(t, err)
		isThere(t, s, files, got.Commit)
		if puts := sent(s); len(puts) != want || puts[1] != puts[2] {
			t.Errorf("parts of %d: sent %q", chunk, puts)
		}
	}
}

// A push that ends in the middle, as with its process, is taken up by another one, which sends only what is
// missing.
func TestAnotherPushTakesUpWhatOneHasLeft(t *testing.T) {
	s := hubtest.Start(t)
	c, _ := newPusher(t, s)
	files := published(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := errors.New("the worker ends")
	var puts atomic.Int32
	s.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && puts.Add(1) == 2 {
			cancel(ended)
			io.Copy(io.Discard, r.Body) // to the connection's end
			panic(http.ErrAbortHandler)
		}
		return false
	})
	if _, err := c.Push(ctx, toPush(t, files), nil); !errors.Is(err, ended) {
		t.Fatalf("%v", err)
	}
	held, _, _ := s.Held(Model, "org/captioner", Main)
	if len(held) != 1 {
		t.Errorf("half a push is there: %q", slices.Sorted(maps.Keys(held)))
	}
	first := sent(s)
	s.Intercept(nil)
	got, err := c.Push(t.Context(), toPush(t, files), nil)
	check(t, err)
	isThere(t, s, files, got.Commit)
	if second := sent(s); len(first) != 2 || len(second) != 1 || second[0] != first[1] {
		t.Errorf("sent %q, then %q", first, second)
	}
}

// The answer to a commit that was made is lost: it is not made a second time. Another's commit in between
// is kept.
func TestCommitIsMadeOnceAndOnOthersWork(t *testing.T) {
	s := hubtest.Start(t)
	c, _ := newPusher(t, s)
	files := published(t)
	var commits atomic.Int32
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/commit/") || commits.Add(1) > 1 {
			return false
		}
		s.Cut(w, r, 0)
		return true
	})
	got, err := c.Push(t.Context(), toPush(t, files), nil)
	check(t, err)
	isThere(t, s, files, got.Commit)

	var other atomic.Bool
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/commit/") && !other.Swap(true) {
			held, _, _ := s.Held(Model, "org/captioner", Main)
			held = maps.Clone(held)
			held["notes.md"] = hubtest.File{Data: []byte("by hand")}
			s.Put(Model, "org/captioner", held)
		}
		return false
	})
	files["config.json"] = hubtest.File{Data: []byte(`{"a": 2}`)}
	got, err = c.Push(t.Context(), toPush(t, files), nil)
	check(t, err)
	files["notes.md"] = hubtest.File{Data: []byte("by hand")}
	isThere(t, s, files, got.Commit)
}

// A place for a large file that is not open any more is replaced by another.
func TestExpiredPlaceIsAskedForAgain(t *testing.T) {
	s := hubtest.Start(t)
	s.Multipart(64 << 10)
	c, _ := newPusher(t, s)
	var once atomic.Bool
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/2") || r.Method != http.MethodPut || once.Swap(true) {
			return false
		}
		http.Error(w, "Request has expired", http.StatusForbidden)
		return true
	})
	files := published(t)
	got, err := c.Push(t.Context(), toPush(t, files), nil)
	check(t, err)
	isThere(t, s, files, got.Commit)
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			http.Error(w, "no", http.StatusForbidden)
		}
		return r.Method == http.MethodPut
	})
	files["other.onnx"] = hubtest.File{Data: noise(5), Large: true}
	_, err = c.Push(t.Context(), toPush(t, files), nil)
	fails(t, err, "other.onnx", "not open any more")
}

func TestRefusedPushSaysWhatToDo(t *testing.T) {
	answer := func(path string, status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, path) {
				return false
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
			return true
		}
	}
	for name, test := range map[string]struct {
		before func(*hubtest.Server, *Options, *Push)
		answer func(http.ResponseWriter, *http.Request) bool
		says   []string
	}{
		"no token": {before: func(_ *hubtest.Server, o *Options, _ *Push) { o.Token = "" }, says: []string{"set HF_TOKEN"}},
		"offline":  {before: func(_ *hubtest.Server, o *Options, _ *Push) { o.Offline = true }, says: []string{"HF_HUB_OFFLINE"}},
		"wrong token": {before: func(_ *hubtest.Server, o *Options, _ *Push) { o.Token = "x" },
			says: []string{"does not accept the token", "HF_TOKEN"}},
		"reads only": {before: func(s *hubtest.Server, o *Options, _ *Push) { o.Token = "r"; s.Reader("r") },
			says: []string{"may not write", "You don't have the rights", "org/captioner"}},
		"a commit": {before: func(_ *hubtest.Server, _ *Options, p *Push) { p.Repo.Revision = strings.Repeat("a", 40) },
			says: []string{"push to a branch"}},
		"no branch": {before: func(s *hubtest.Server, _ *Options, p *Push) {
			s.Put(Model, "org/captioner", nil)
			p.Repo.Revision = "dev"
		}, says: []string{"no revision dev"}},
		"bad name": {before: func(_ *hubtest.Server, _ *Options, p *Push) { p.Repo.ID = "../x" },
			says: []string{"not a repository's name"}},
		"public": {before: func(s *hubtest.Server, _ *Options, p *Push) {
			s.Put(Model, "org/captioner", nil)
			p.Private = true
		}, says: []string{"it is there and public"}},
		"large": {answer: answer("/preupload/", 413, `{"error":"Private repository storage limit reached"}`),
			says: []string{"too large", "storage limit reached"}},
		"large file": {answer: answer("/upload/", 413, ""), says: []string{"model.safetensors", "too large"}},
		"moved":      {answer: answer("/objects/batch", 307, ""), says: []string{"has moved"}},
		"conflicts":  {answer: answer("/commit/", 409, `{"error":"conflict"}`), says: []string{"moved on while it was pushed", "conflict"}},
		"not json":   {answer: answer("/preupload/", 200, "<html>proxy</html>"), says: []string{"not the Hugging Face hub"}},
		"bad digest": {answer: answer("/upload/", 400, "BadDigest"), says: []string{"400 Bad Request"}},
		"batch":      {answer: answer("/objects/batch", 200, `{"objects":[]}`), says: []string{"says nothing of"}},
		"down":       {answer: answer("/", 503, ""), says: []string{"unavailable", "6 tries"}},
		"changed meanwhile": {before: func(_ *hubtest.Server, _ *Options, p *Push) {
			check(t, os.WriteFile(p.Files[1].Path, []byte("x"), 0o644))
		}, says: []string{"is not what was published"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := hubtest.Start(t)
			s.Demand(token)
			p, o := toPush(t, published(t)), Options{Token: token}
			if test.before != nil {
				test.before(s, &o, &p)
			}
			c := newClient(t, s, func(to *Options) { to.Token, to.Offline = o.Token, o.Offline })
			s.Intercept(test.answer)
			_, err := c.Push(t.Context(), p, nil)
			fails(t, err, test.says...)
			if strings.Contains(err.Error(), token) {
				t.Errorf("the token is told: %v", err)
			}
			if name == "down" != errors.Is(err, ErrUnavailable) {
				t.Errorf("unavailable: %v", err)
			}
		})
	}
}

func TestCheckPushFindsTokensThatCannotWrite(t *testing.T) {
	s := hubtest.Start(t)
	s.Demand(token)
	s.Reader("hf_reads")
	for given, says := range map[string]string{
		"": "set HF_TOKEN", "hf_reads": "may only read", "hf_wrong": "does not accept the token", token: "",
	} {
		c := newClient(t, s, func(o *Options) { o.Token = given })
		err := c.CheckPush(t.Context(), Repo{ID: "org/captioner"})
		if says == "" {
			check(t, err)
		} else {
			fails(t, err, says)
		}
	}
}

// huggingface_hub takes the fake hub for one, and what either pushes the other finds. In CI there is none of
// it: testdata/python.py tells how it was tried, and with which versions.
func TestFakeHubSpeaksToPython(t *testing.T) {
	python, asked := os.LookupEnv("DISTILVIT_HUB_PYTHON")
	if !asked {
		t.Skip("DISTILVIT_HUB_PYTHON names no python that has huggingface_hub")
	}
	for _, chunk := range []int{0, 64 << 10} {
		s := hubtest.Start(t)
		s.Multipart(chunk)
		c, _ := newPusher(t, s)
		files := published(t)
		p := toPush(t, files)
		dir := filepath.Dir(p.Files[0].Path)
		run := func(what string) string {
			t.Helper()
			command := exec.Command(python, "testdata/python.py", what, "org/captioner", dir)
			command.Env = append(os.Environ(), "HF_ENDPOINT="+s.URL, "HF_TOKEN="+token, "HF_HUB_DISABLE_XET=1",
				"HF_HOME="+t.TempDir())
			out, err := command.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", what, err, out)
			}
			return strings.TrimSpace(string(out))
		}
		t.Log(run("push"))
		pushed := sent(s)
		got, err := c.Push(t.Context(), p, nil)
		check(t, err)
		isThere(t, s, files, got.Commit)
		if got.Changed != 0 || len(pushed) == 0 || len(sent(s)) > 0 {
			t.Errorf("after Python: %+v", got)
		}
		files["new.onnx"] = hubtest.File{Data: noise(150_000), Large: true}
		p = toPush(t, files)
		dir = filepath.Dir(p.Files[0].Path)
		got, err = c.Push(t.Context(), p, nil)
		check(t, err)
		s.Requests()
		if said := run("compare"); !strings.HasSuffix(said, fmt.Sprint("same ", got.Commit)) || len(sent(s)) > 0 {
			t.Errorf("Python finds %s", said)
		}
	}
}
