package transformersjs

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"distilvit/artifact/record"
)

// inBrowser starts Chromium with a page that captions and says so to a server of ours. It needs no protocol to
// steer it: the page begins by itself, and its end is told by it.
func (r Runner) inBrowser(
	ctx context.Context, scripts, device string, flags, models []string, work []Work, each func(Line),
) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	profile, err := os.MkdirTemp("", "distilvit-chromium-")
	if err != nil {
		listener.Close()
		return err
	}
	defer os.RemoveAll(profile)
	s := newSite(r.Library, scripts, device, models, work)
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)
	defer server.Close()
	defer close(s.over)

	args := slices.Concat(chromiumArgs, flags, []string{"--user-data-dir=" + profile, "http://" + listener.Addr().String() + "/"})
	p, err := start(exec.Command(r.Chromium, args...))
	if err != nil {
		return err
	}
	defer p.kill()
	return p.follow(ctx, r.Silence, s.lines, p.gone, func(l Line) { each(s.named(l)) })
}

// chromiumArgs make a browser that shows one page and asks nobody else for anything.
var chromiumArgs = []string{
	"--headless=new", "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
	"--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage", "--mute-audio",
	"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
	"--no-sandbox", // the page is ours, and containers have no sandbox
}

// webgpuArgs allow WebGPU on Linux; swiftShader computes it on the processor.
var (
	webgpuArgs  = []string{"--enable-unsafe-webgpu", "--enable-features=Vulkan"}
	swiftShader = append(slices.Clone(webgpuArgs), "--use-webgpu-adapter=swiftshader")
)

// noAdapter is what page.mjs says where there is no WebGPU.
const noAdapter = "there is no WebGPU adapter"

// onWebGPU takes the machine's adapter, or SwiftShader where it has none.
func (r Runner) onWebGPU(ctx context.Context, scripts string, models []string, work []Work, each func(Line)) error {
	none := false
	err := r.inBrowser(ctx, scripts, record.DeviceWebGPU, webgpuArgs, models, work, func(l Line) {
		if none = none || l.Error == noAdapter; !none {
			each(l)
		}
	})
	if none && err == nil {
		err = r.inBrowser(ctx, scripts, record.DeviceWebGPU, swiftShader, models, work, each)
	}
	return err
}

// site is what the page loads, and what it tells.
type site struct {
	*http.ServeMux
	lines chan Line
	over  chan struct{} // nobody reads lines any more

	models map[string]string // by the name that the page knows
	images []string          // by number
}

// policy lets the page load from this server alone.
const policy = "default-src 'self' blob: data: 'unsafe-eval' 'wasm-unsafe-eval'"

func newSite(l Library, scripts, device string, models []string, work []Work) *site {
	s := &site{
		ServeMux: http.NewServeMux(), lines: make(chan Line), over: make(chan struct{}), models: map[string]string{},
	}
	var names []string
	for i, dir := range models {
		name := strconv.Itoa(i)
		names, s.models[name] = append(names, name), dir
		s.files("/model/"+name+"/", dir)
	}
	job := map[string]any{"version": l.major(), "device": device, "models": names, "work": s.numbered(work)}
	s.HandleFunc("GET /job", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(job) })
	s.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, `<!doctype html><title>captions</title><script type="module" src="/page.mjs"></script>`)
	})
	s.HandleFunc("GET /pictures/{n}", func(w http.ResponseWriter, r *http.Request) {
		if n, err := strconv.Atoi(r.PathValue("n")); err == nil && n >= 0 && n < len(s.images) {
			http.ServeFile(w, r, s.images[n])
			return
		}
		http.NotFound(w, r)
	})
	s.HandleFunc("POST /line", s.line)
	s.HandleFunc("POST /end", func(http.ResponseWriter, *http.Request) { s.send(Line{end: true}) })
	s.files("/library/", l.Script)
	s.files("/wasm/", l.Wasm)
	s.files("/", scripts)
	return s
}

// files serves a folder's.
func (s *site) files(under, dir string) {
	s.Handle("GET "+under, http.StripPrefix(strings.TrimSuffix(under, "/"), http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, filepath.Join(dir, filepath.FromSlash(path.Clean("/"+r.URL.Path))))
		})))
}

// numbered is the work as the page does it: of pictures by number.
func (s *site) numbered(work []Work) []Work {
	out := make([]Work, len(work))
	for i, w := range work {
		out[i] = Work{Dtype: w.Dtype, Images: make([]string, len(w.Images))}
		for j, image := range w.Images {
			out[i].Images[j] = "/pictures/" + strconv.Itoa(len(s.images))
			s.images = append(s.images, image)
		}
	}
	return out
}

// named is a page's line with the names that the work came with.
func (s *site) named(l Line) Line {
	if n, err := strconv.Atoi(path.Base(l.Image)); err == nil && n >= 0 && n < len(s.images) {
		l.Image = s.images[n]
	}
	if dir := s.models[l.Model]; dir != "" {
		l.Model = dir
	}
	return l
}

const maxLineBytes = 1 << 20

func (s *site) line(w http.ResponseWriter, r *http.Request) {
	var l Line
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxLineBytes)).Decode(&l); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.send(l)
}

func (s *site) send(l Line) {
	select {
	case s.lines <- l:
	case <-s.over:
	}
}
