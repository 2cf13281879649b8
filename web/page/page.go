// Package page is a web page that captions pictures: with Transformers.js in the browser, from static files alone, or
// with the server that it comes from. The page's own files are plain modules and are embedded; Transformers.js is
// what `distilvit backend install transformers.js` has fetched. Start reading at New; in the browser, at page.js.
package page

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"distilvit/internal/atomicfile"
	"distilvit/model/onnx"
)

//go:embed index.html style.css page.js pictures.js captioners.js worker.js NOTICE.txt
var own embed.FS

// Options of New.
type Options struct {
	Name   string // of the model, as people know it
	Server string // where POST takes pictures, relative to the page; empty: there is no server

	// What the browser computes with; without Library it computes nothing.
	Model        string   // the model directory
	Dtypes       []string // its exports that may be chosen
	Library      string   // the folder of Transformers.js, of backend.TransformersJS
	LibraryFiles []string // in that folder
}

// Page is the page's files, which are served or written to a folder.
type Page struct {
	files map[string]source // by path, with slashes
	made  time.Time
}

// source is a file's bytes, or where they are.
type source struct {
	bytes []byte
	path  string
}

// about is page.json: what page.js has to know of the model.
type about struct {
	Name    string           `json:"name"`
	Server  string           `json:"server,omitempty"`
	Dtypes  []size           `json:"dtypes,omitempty"`
	Runtime map[string]int64 `json:"runtime,omitempty"` // bytes of ONNX Runtime by device
}

// size is an export with the bytes of its files.
type size struct {
	Dtype string `json:"dtype"`
	Bytes int64  `json:"bytes"`
}

// runtimes are the files of ONNX Runtime that worker.js loads for a device.
var runtimes = map[string]string{
	"wasm": "ort-wasm-simd-threaded.wasm", "webgpu": "ort-wasm-simd-threaded.asyncify.wasm",
}

// New gathers the page's files. Of the model directory those are taken that captioning needs: configs, tokenizer,
// card and ONNX files.
func New(o Options) (*Page, error) {
	p := &Page{files: map[string]source{}, made: time.Now()}
	for _, name := range []string{
		"index.html", "style.css", "page.js", "pictures.js", "captioners.js",
	} {
		p.embedded(name, name)
	}
	a := about{Name: o.Name, Server: o.Server}
	if o.Library != "" {
		p.embedded("worker.js", "worker.js")
		p.embedded("lib/NOTICE.txt", "NOTICE.txt")
		if err := p.addLibrary(o, &a); err != nil {
			return nil, err
		}
		if err := p.addModel(o, &a); err != nil {
			return nil, err
		}
	}
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return nil, err
	}
	p.files["page.json"] = source{bytes: append(b, '\n')}
	return p, nil
}

func (p *Page) embedded(name, from string) {
	b, err := own.ReadFile(from)
	if err != nil {
		panic(err) // it is named in go:embed
	}
	p.files[name] = source{bytes: b}
}

func (p *Page) addLibrary(o Options, a *about) error {
	for _, name := range o.LibraryFiles {
		p.files["lib/"+name] = source{path: filepath.Join(o.Library, name)}
	}
	a.Runtime = map[string]int64{}
	for device, name := range runtimes {
		info, err := os.Stat(filepath.Join(o.Library, name))
		if err != nil {
			return fmt.Errorf("package transformers.js: %w", err)
		}
		a.Runtime[device] = info.Size()
	}
	return nil
}

func (p *Page) addModel(o Options, a *about) error {
	for _, pattern := range []string{"*.json", "*.txt", "README.md"} {
		found, err := filepath.Glob(filepath.Join(o.Model, pattern))
		if err != nil {
			return err
		}
		for _, file := range found {
			p.files["model/"+filepath.Base(file)] = source{path: file}
		}
	}
	for _, dtype := range o.Dtypes {
		n, err := onnx.FilesSize(o.Model, dtype)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", dtype, o.Model, err)
		}
		for _, name := range []string{onnx.EncoderFile(dtype), onnx.DecoderFile(dtype)} {
			p.files["model/"+filepath.ToSlash(name)] = source{path: filepath.Join(o.Model, name)}
		}
		a.Dtypes = append(a.Dtypes, size{Dtype: dtype, Bytes: n})
	}
	return nil
}

// Write writes the page to a folder, which is made, and says how many bytes it has. An index.html that is not this
// page's is not replaced.
func (p *Page) Write(dir string) (bytes int64, err error) {
	if has(dir, "index.html") && !has(dir, "page.json") {
		return 0, fmt.Errorf("%s has an index.html of another page: give another folder", dir)
	}
	for _, name := range slices.Sorted(maps.Keys(p.files)) {
		n, err := p.files[name].write(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return 0, fmt.Errorf("write the page: %w", err)
		}
		bytes += n
	}
	return bytes, nil
}

func has(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

func (s source) write(to string) (n int64, err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return 0, err
	}
	err = atomicfile.Write(to, 0o644, func(w io.Writer) error {
		if s.path == "" {
			n = int64(len(s.bytes))
			_, err := w.Write(s.bytes)
			return err
		}
		in, err := os.Open(s.path)
		if err != nil {
			return err
		}
		defer in.Close()
		n, err = io.Copy(w, in)
		return err
	})
	return n, err
}

// ServeHTTP serves the page's files.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	if name == "" {
		name = "index.html"
	}
	s, ok := p.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	// A page that is alone in its process may compute with several threads.
	w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
	w.Header().Set("Cross-Origin-Embedder-Policy", "require-corp")
	w.Header().Set("Cache-Control", "no-cache") // ask whether it is still the same
	w.Header().Set("Content-Type", cmp.Or(contentTypes[path.Ext(name)], "application/octet-stream"))
	if s.path == "" {
		http.ServeContent(w, r, "", p.made, bytes.NewReader(s.bytes))
		return
	}
	f, err := os.Open(s.path)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, fs.ErrNotExist) {
			status = http.StatusNotFound
		}
		http.Error(w, http.StatusText(status), status)
		return
	}
	defer f.Close()
	modified := p.made
	if info, err := f.Stat(); err == nil {
		modified = info.ModTime()
	}
	http.ServeContent(w, r, "", modified, f)
}

// contentTypes are those of a file's extension, whatever the machine's own list says.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".mjs": "text/javascript; charset=utf-8", ".json": "application/json", ".wasm": "application/wasm",
	".txt": "text/plain; charset=utf-8", ".md": "text/plain; charset=utf-8",
}
