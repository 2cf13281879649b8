package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"distilvit/caption"
	"distilvit/hub"
	"distilvit/internal/server"
	"distilvit/model/onnx"
	"distilvit/web/page"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	listen    string
	backend   string
	onnx      string // dtype; empty: what is best here
	generate  generateFlags
	maxMiB    int
	maxPixels int // millions
	urls      bool
	browser   bool
	requests  bool // log them
	grace     time.Duration
	server    server.Options
}

func (a *app) serveCommand() *cobra.Command {
	o := serveOptions{server: server.DefaultOptions()}
	cmd := &cobra.Command{
		Use:   "serve MODEL",
		Short: "answer HTTP requests for captions",
		Long: `Answer HTTP requests for captions until Ctrl-C or SIGTERM. MODEL is what caption -m
takes: a directory in Hugging Face form, a run's id, a published model, or hf:ORG/NAME.

POST /caption takes a picture as the body, whatever its Content-Type, or as the file of a form
(multipart/form-data), and answers {"caption", "token_ids", "milliseconds"};
with Accept: text/event-stream the caption comes as it grows. GET /openapi.json describes
that and all errors; /healthz, /readyz and /metrics (Prometheus) are for those who run it.
At / is a web page for people. With --browser it may compute in the browser, too, which then
loads the model's files.

Without --onnx and --backend, the export that config.json names for processors captions in
ONNX Runtime, where that is installed, and else the weights do. Pictures are turned as their
EXIF tag says. Memory is bounded: a request that would need more is answered 429 with
Retry-After before it is read, and a picture's size is looked at before it is decoded.

Each request is a line on standard error (with -o json in JSON): method, path, status, bytes,
seconds, and of these those of waiting for a turn; nothing of what was sent or said. Those to
/healthz, /readyz and /metrics only with --verbose. --log-requests=false keeps it quiet.

Like every server of this program it answers only requests that were meant for it: to
localhost, or to a name of --host. Pages of other sites need --cors. With --urls a JSON body
{"url": "https://…"} names a picture to fetch; addresses that are private are refused.`,
		Example: `  distilvit serve demo
  curl --data-binary @picture.png http://127.0.0.1:8400/caption
  curl -N -H 'Accept: text/event-stream' -F image=@picture.png http://127.0.0.1:8400/caption
  distilvit serve ./model-directory --onnx q4 --concurrency 2
  distilvit serve demo --listen 0.0.0.0:8400 --host captions.example.org --cors https://www.example.org`,
		Args: args(1, 1, "a MODEL"),
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := o.check(cmd.Flags().Changed("backend")); err != nil {
				return err
			}
			return a.withModelDir(cmd.Context(), names[0], hub.ModelFiles,
				func(ctx context.Context, dir string) error { return a.serve(ctx, names[0], dir, o) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8400", "address and port to listen on")
	flags.StringVar(&o.onnx, "onnx", "", "caption with this export in ONNX Runtime: "+strings.Join(onnx.Dtypes(), ", "))
	backendFlag(cmd, &o.backend)
	o.generate.add(cmd)
	flags.IntVar(&o.server.Concurrency, "concurrency", o.server.Concurrency, "requests that are captioned at the same time")
	flags.IntVar(&o.server.Queue, "queue", o.server.Queue, "further requests that may wait; one more is answered 429")
	flags.DurationVar(&o.server.Timeout, "timeout", o.server.Timeout, "for a request, from its head to its caption")
	flags.DurationVar(&o.server.Upload, "upload-timeout", o.server.Upload, "for a picture to come")
	flags.DurationVar(&o.grace, "grace", 30*time.Second, "for open requests when the server is stopped")
	flags.IntVar(&o.maxMiB, "max-mib", int(o.server.MaxBytes>>20), "size of a picture's file, MiB")
	flags.IntVar(&o.maxPixels, "max-megapixels", 50, "pixels of a picture, in millions")
	flags.BoolVar(&o.urls, "urls", false, `fetch pictures of {"url": "https://…"}, private addresses apart`)
	flags.BoolVar(&o.browser, "browser", false, "let the page compute in the browser, too (needs backend install transformers.js)")
	flags.BoolVar(&o.requests, "log-requests", true, "a line on standard error for each request")
	flags.StringSliceVar(&o.server.Hosts.Hosts, "host", nil,
		"name by which clients reach this server, beside localhost; may be repeated, * is any")
	flags.StringSliceVar(&o.server.Hosts.Origins, "cors", nil,
		"origin of pages that may send requests, such as https://example.org; may be repeated, * is any")
	return cmd
}

// check finds what cannot be meant.
func (o *serveOptions) check(weights bool) error {
	if err := o.generate.check(); err != nil {
		return err
	}
	if o.onnx != "" && !slices.Contains(onnx.Dtypes(), o.onnx) {
		return usagef("--onnx %s: use %s", o.onnx, strings.Join(onnx.Dtypes(), ", "))
	}
	if o.onnx != "" && weights {
		return usagef("--onnx %s: computes in ONNX Runtime; leave --backend out", o.onnx)
	}
	if o.onnx != "" && o.generate.beams > 1 {
		return usagef("--beams %d: an export captions greedily; leave --onnx out", o.generate.beams)
	}
	for _, n := range []struct {
		flag         string
		value, least int
	}{
		{"--concurrency", o.server.Concurrency, 1}, {"--queue", o.server.Queue, 0},
		{"--max-mib", o.maxMiB, 1}, {"--max-megapixels", o.maxPixels, 1},
	} {
		if n.value < n.least {
			return usagef("%s %d: must be at least %d", n.flag, n.value, n.least)
		}
	}
	if o.server.Timeout <= 0 || o.server.Upload <= 0 || o.grace < 0 {
		return usagef("--timeout and --upload-timeout must be above 0, --grace at least 0")
	}
	if _, _, err := net.SplitHostPort(o.listen); err != nil {
		return usagef("--listen %s: give an address and a port, such as 127.0.0.1:8400, or :8400 for every address", o.listen)
	}
	if weights || o.generate.beams > 1 {
		o.onnx = weightsForm
	}
	for _, origin := range o.server.Hosts.Origins {
		if origin != "*" && !strings.Contains(origin, "://") {
			return usagef("--cors %s: an origin begins with http:// or https://", origin)
		}
	}
	return nil
}

func (a *app) serve(ctx context.Context, name, dir string, o serveOptions) error {
	listener, err := net.Listen("tcp", o.listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("--listen %s: another program listens there: choose another port, or 0 for any", o.listen)
	}
	if err != nil {
		return fmt.Errorf("--listen %s: %w", o.listen, err)
	}
	defer listener.Close()
	form := cmp.Or(o.onnx, bestForm(dir))
	c, err := openCaptioner(dir, form, o.backend, caption.Options{
		NumBeams: o.generate.beams, MaxLength: o.generate.maxLength, BatchSize: 1, Parallel: o.server.Concurrency,
		MaxPixels: o.maxPixels * 1_000_000, ExifOrientation: true,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := warmUp(ctx, c); err != nil {
		return err
	}
	o.server.MaxBytes = int64(o.maxMiB) << 20
	o.server.AllBytes = max(o.server.AllBytes, 3*o.server.MaxBytes)
	o.server.Hosts.Addresses = !listener.Addr().(*net.TCPAddr).IP.IsLoopback()
	if o.urls {
		o.server.Fetch = server.NewFetch(urlAnswers)
	}
	if o.requests {
		o.server.Log = a.requestLog()
	}
	if o.server.Page, err = servedPage(name, dir, o.browser); err != nil {
		return err
	}
	url := "http://" + shownAddress(listener.Addr().(*net.TCPAddr))
	if a.output == "json" {
		if err := printLine(a.stdout, map[string]string{"url": url, "model": name, "form": form}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.stdout, "%s, %s, captions at %s/caption, a page for people at %s; Ctrl-C ends it\n",
			name, formText(form), url, url)
	}
	return server.New(c, o.server).Serve(ctx, listener, o.grace)
}

// requestLog writes to standard error, in the form of the command's output.
func (a *app) requestLog() *slog.Logger {
	o := &slog.HandlerOptions{}
	if a.verbose {
		o.Level = slog.LevelDebug
	}
	if a.output == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, o))
	}
	return slog.New(slog.NewTextHandler(a.stderr, o))
}

// servedPage is the page whose captions the server makes, or the browser, too.
func servedPage(name, dir string, browser bool) (http.Handler, error) {
	var o page.Options
	if browser {
		var err error
		if o, err = inBrowser(dir, nil); err != nil {
			return nil, err
		}
	}
	o.Name, o.Server = modelName(name), "caption"
	return page.New(o)
}

// bestForm is the export for processors where ONNX Runtime is here, else the weights.
func bestForm(dir string) string {
	if _, err := onnxRuntime(); err != nil {
		return weightsForm
	}
	return cmp.Or(onnx.ForProcessor(caption.Dtypes(dir)), weightsForm)
}

func formText(form string) string {
	if form == weightsForm {
		return "its weights"
	}
	return form + " in ONNX Runtime"
}

// warmUp captions a grey picture, so that nobody's first picture waits for a compiler.
func warmUp(ctx context.Context, c *caption.Captioner) error {
	picture, err := c.Resize(image.NewGray(image.Rect(0, 0, 1, 1)))
	if err != nil {
		return err
	}
	_, err = c.Caption(ctx, picture)
	return err
}

// shownAddress is where a browser on this machine finds a listener.
func shownAddress(at *net.TCPAddr) string {
	if at.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", at.Port)
	}
	return at.String()
}
