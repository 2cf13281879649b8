package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"distilvit/caption"
	"distilvit/hub"
	"distilvit/internal/backend"
	"distilvit/model/onnx"
	"distilvit/report"
	"distilvit/web/page"
)

// pageOptions are the flags of get that make a page.
type pageOptions struct {
	dir    string
	dtypes []string // none: all
}

// getPage writes a page with its model to a folder.
func (a *app) getPage(ctx context.Context, names []string, o pageOptions) error {
	if o.dir == "" {
		return usagef("--onnx %s: chooses what a page has; give --page FOLDER, too", strings.Join(o.dtypes, ","))
	}
	if len(names) > 1 {
		return usagef("--page %s and %s: give one folder", o.dir, names[1])
	}
	for _, dtype := range o.dtypes {
		if !slices.Contains(onnx.Dtypes(), dtype) {
			return usagef("--onnx %s: use %s", dtype, strings.Join(onnx.Dtypes(), ", "))
		}
	}
	return a.withModelDir(ctx, names[0], pageFiles, func(_ context.Context, dir string) error {
		settings, err := inBrowser(dir, o.dtypes)
		if err != nil {
			return err
		}
		settings.Name = modelName(names[0])
		p, err := page.New(settings)
		if err != nil {
			return err
		}
		bytes, err := p.Write(o.dir)
		if err != nil {
			return err
		}
		if a.output == "json" {
			return printJSON(a.stdout, map[string]any{"model": names[0], "page": o.dir, "bytes": bytes})
		}
		fmt.Fprintf(a.stdout, "%s: a page of %s in %s. Look at it:\n"+
			"  python3 -m http.server 8000 --bind 127.0.0.1 --directory %s    then http://127.0.0.1:8000\n",
			names[0], report.Bytes(bytes), o.dir, shellWord(o.dir))
		return nil
	})
}

// pageFiles are those of a model of the hub that a page may have.
var pageFiles = hub.Patterns("*.json", "*.txt", "README.md", "onnx/*")

// inBrowser are the options of a page that captions in the browser with these exports, or with all.
func inBrowser(dir string, dtypes []string) (o page.Options, err error) {
	published := caption.Dtypes(dir)
	if o.Dtypes = dtypes; dtypes == nil {
		o.Dtypes = published
	}
	for _, dtype := range o.Dtypes {
		if !slices.Contains(published, dtype) {
			return o, fmt.Errorf("%s: %w as %s; it has %s", dir, caption.ErrNoExport, dtype, strings.Join(published, ", "))
		}
	}
	if len(o.Dtypes) == 0 {
		return o, fmt.Errorf("%s: %w at all; distilvit export makes some", dir, caption.ErrNoExport)
	}
	cache, err := backend.CacheDir()
	if err != nil {
		return o, err
	}
	o.Model = dir
	o.Library, o.LibraryFiles, err = backend.TransformersJS(cache)
	return o, err
}

// modelName is what a page calls a MODEL: of a directory and models/NAME/VERSION the last part.
func modelName(name string) string { return filepath.Base(filepath.Clean(name)) }
