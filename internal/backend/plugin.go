package backend

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// What Install can get, and the folder of the cache directory it goes to: one
// folder a version, complete or absent.
const (
	cpuPlugin   = "cpu"
	cudaPlugin  = "cuda13"
	onnxRuntime = "onnxruntime"
)

// installed describes a library in its folder: installed.json beside it.
type installed struct {
	File    string `json:"file"` // relative to the folder
	Version string `json:"version"`
	Source  string `json:"source"`
	Size    int64  `json:"size"`   // bytes of File
	SHA256  string `json:"sha256"` // of File

	path string // absolute path of File
}

const installedFile = "installed.json"

// findPlugin returns the PJRT plugin for o.Kind.
func findPlugin(o Options) (installed, error) {
	what := cpuPlugin
	if o.Kind == CUDA {
		what = cudaPlugin
	}
	if o.Plugin != "" {
		return describe(o.Plugin)
	}
	p, err := find(o.CacheDir, what)
	if err != nil {
		return p, fmt.Errorf("backend %s: %w", o.Kind, err)
	}
	return p, nil
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
	dirs := []string{filepath.Join(cacheDir, what, wheels[what].version)}
	others, _ := filepath.Glob(filepath.Join(cacheDir, what, "*"))
	slices.Sort(others)
	slices.Reverse(others)
	for _, dir := range append(dirs, others...) {
		if _, err := os.Stat(filepath.Join(dir, installedFile)); err == nil {
			return readInstalled(dir)
		}
	}
	return installed{}, fmt.Errorf("%s is not installed in %s: run `distilvit backend install %s`", what, cacheDir, what)
}

// readInstalled reads installed.json and checks that its file has the size it
// had when its digest was taken.
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
	st, err := os.Stat(p.path)
	if err != nil {
		return p, fmt.Errorf("installed library: %w", err)
	}
	if st.Size() != p.Size {
		return p, fmt.Errorf("%s has %d bytes instead of %d: remove %s and install it again", p.path, st.Size(), p.Size, dir)
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
	p.SHA256, p.Size, err = fileSHA256(abs)
	if err != nil {
		return p, fmt.Errorf("plugin: %w", err)
	}
	return p, nil
}

func fileSHA256(path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}
