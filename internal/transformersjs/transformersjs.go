// Package transformersjs captions pictures with Transformers.js, under Node and in headless Chromium, in WebAssembly
// and on WebGPU: what a published model does where it will run. Everything is loaded from this machine, and the
// page can reach no other. Start reading at Captions, then node.go and browser.go.
package transformersjs

import (
	"context"
	"embed"
	"os"
	"path/filepath"
	"strings"
	"time"

	"distilvit/artifact/record"
)

// Library is a version of Transformers.js.
type Library struct {
	Version string // such as 4.3.1; of the major ones 2, 3 and 4 each takes other options
	Module  string // path of the module that Node loads
	Script  string // folder of transformers.min.js, which a page loads
	Wasm    string // folder of ONNX Runtime's files for pages
}

// In is a version 4 as npm installs it below a folder node_modules.
func In(modules, version string) Library {
	dist := filepath.Join(modules, "@huggingface", "transformers", "dist")
	return Library{
		Version: version, Module: filepath.Join(dist, "transformers.node.mjs"), Script: dist,
		Wasm: filepath.Join(modules, "onnxruntime-web", "dist"),
	}
}

// major is the number before the first dot.
func (l Library) major() string {
	major, _, _ := strings.Cut(l.Version, ".")
	return major
}

// Work are pictures to be captioned with a dtype; an empty one is the library's own choice.
type Work struct {
	Dtype  string   `json:"dtype"`
	Images []string `json:"images"` // paths of PNG files of the model's size, since Transformers.js resizes otherwise
}

// Line is a caption, or why a dtype has none.
type Line struct {
	Model    string  `json:"model,omitempty"` // its directory
	Dtype    string  `json:"dtype,omitempty"`
	Error    string  `json:"error,omitempty"` // empty: there is a caption
	Image    string  `json:"image"`
	Caption  string  `json:"caption"`
	TokenIDs []int32 `json:"token_ids"` // without the start token

	end bool // nothing follows
}

// Runner is what is on this machine.
type Runner struct {
	Library  Library
	Node     string        // path of the program
	Chromium string        // path of the program
	Silence  time.Duration // how long it may take to the next caption; 0: 3 minutes
}

// usualSilence is enough to load a base model's fp32 on a busy machine.
const usualSilence = 3 * time.Minute

// Captions captions the work with models, absolute paths of directories, on a device. Each line goes to each as it
// comes; lines without Dtype are of the whole. It ends, and with it every process that it started, with the
// work, with ctx, or after a Silence.
func (r Runner) Captions(ctx context.Context, device string, models []string, work []Work, each func(Line)) error {
	scripts, err := os.MkdirTemp("", "distilvit-web-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scripts)
	if err := os.CopyFS(scripts, files); err != nil {
		return err
	}
	switch device {
	case record.DeviceNode:
		return r.underNode(ctx, scripts, models, work, each)
	case record.DeviceWebGPU:
		return r.onWebGPU(ctx, scripts, models, work, each)
	}
	return r.inBrowser(ctx, scripts, device, nil, models, work, each)
}

//go:embed *.mjs
var files embed.FS
