package backend

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"distilvit/internal/digest"
)

// What Install can get, and the folder of the cache directory it goes to: one
// folder a version, complete or absent.
const (
	cpuPlugin      = "cpu"
	cudaPlugin     = "cuda13"
	onnxRuntime    = "onnxruntime"
	transformersJS = "transformers.js" // for web pages

	transformersJSNode = "transformers.js-node" // for checks under Node
)

// Installable is what Install can get.
func Installable() []string {
	return []string{cpuPlugin, cudaPlugin, onnxRuntime, transformersJS, transformersJSNode}
}

// CacheDir is where everybody's programs find what is installed: the user's.
func CacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache directory: %w", err)
	}
	return filepath.Join(cache, "distilvit", "backend"), nil
}

// installed describes a library in its folder: installed.json beside it.
type installed struct {
	Version string `json:"version"`
	Source  string `json:"source"`
	libraryFile
	With []libraryFile `json:"with,omitempty"` // further files that the library needs

	path string // absolute path of File
}

// libraryFile is a file of what is installed.
type libraryFile struct {
	File   string `json:"file"`   // relative to the folder
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // of its bytes
}

const installedFile = "installed.json"

// findPlugin returns the PJRT plugin for o.Kind.
func findPlugin(o Options) (installed, error) {
	what := cpuPlugin
	if o.Kind == CUDA {
		what = cudaPlugin
	}
	if named := o.named(); named != "" {
		return describe(named)
	}
	p, err := find(o.CacheDir, what)
	if err != nil {
		return p, fmt.Errorf("backend %s: %w", o.Kind, err)
	}
	return p, nil
}

// named is the plugin that o names for its kind; empty: none.
func (o Options) named() string {
	name := strings.ToLower(filepath.Base(o.Plugin))
	forCUDA := strings.Contains(name, "cuda") || strings.Contains(name, "nvidia")
	if o.Plugin == "" || forCUDA != (o.Kind == CUDA) {
		return ""
	}
	return o.Plugin
}

// ONNXRuntime returns the path of libonnxruntime in the cache directory.
func ONNXRuntime(cacheDir string) (string, error) {
	p, err := find(cacheDir, onnxRuntime)
	if err != nil {
		return "", fmt.Errorf("ONNX Runtime: %w", err)
	}
	return p.path, nil
}

// find returns what is installed of a kind: the pinned version if it is there,
// else the last by name.
func find(cacheDir, what string) (installed, error) {
	dirs := []string{filepath.Join(cacheDir, what, pinned(what))}
	others, _ := filepath.Glob(filepath.Join(cacheDir, what, "*"))
	slices.Sort(others)
	slices.Reverse(others)
	for _, dir := range append(dirs, others...) {
		if _, err := os.Stat(filepath.Join(dir, installedFile)); err == nil {
			return readInstalled(dir)
		}
	}
	return installed{}, fmt.Errorf("%s is not installed in %s: run `distilvit backend install %s`",
		what, cacheDir, what)
}

// pinned is the version that Install gets.
func pinned(what string) string {
	if what == transformersJS || what == transformersJSNode {
		return transformersJSVersion
	}
	return wheels[what].version
}

// readInstalled reads installed.json and checks that its files have the sizes they
// had when their digests were taken.
func readInstalled(dir string) (installed, error) {
	var p installed
	b, err := os.ReadFile(filepath.Join(dir, installedFile))
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("read %s: %w", filepath.Join(dir, installedFile), err)
	}
	p.path = filepath.Join(dir, filepath.FromSlash(p.File))
	for _, f := range append([]libraryFile{p.libraryFile}, p.With...) {
		path := filepath.Join(dir, filepath.FromSlash(f.File))
		st, err := os.Stat(path)
		if err != nil {
			return p, fmt.Errorf("installed library: %w: remove %s and install it again", err, dir)
		}
		if st.Size() != f.Size {
			return p, fmt.Errorf("%s has %d bytes instead of %d: remove %s and install it again", path,
				st.Size(), f.Size, dir)
		}
	}
	return p, nil
}

// describe hashes a plugin given by path.
func describe(path string) (installed, error) {
	p := installed{Version: filepath.Base(path)}
	abs, err := filepath.Abs(path)
	if err != nil {
		return p, err
	}
	p.path = abs
	p.SHA256, p.Size, err = digest.File(abs)
	if err != nil {
		return p, fmt.Errorf("plugin: %w", err)
	}
	return p, nil
}
