package backend

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"distilvit/internal/digest"

	"github.com/gofrs/flock"
)

// wheel is a native library in a Python package, got by pip for a fixed platform, whatever Python is
// here, with the packages that it needs beside it.
type wheel struct {
	version string // of the library's package, also the folder it is installed to
	python  string // tag the wheels were built for
	file    string // the library inside
	pins    []pin  // the library's package and, unpacked whole, those beside it
}

// pin is one version of a package with its wheels, by Go's name of the processor.
type pin struct {
	Name    string               `json:"name"`
	Version string               `json:"version"`
	Files   map[string]wheelFile `json:"files"`
}

// wheelFile is a wheel as it is downloaded.
type wheelFile struct {
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

func (p pin) requirement() string { return p.Name + "==" + p.Version }

// cuda13Pins are jax's CUDA plugin and the libraries of NVIDIA that jax-cuda13-plugin[with-cuda] of that
// version requires; testdata/cuda13.py writes them. Left out on purpose are jax-cuda13-plugin itself,
// which only Python loads, and the headers that two of the libraries name (nvidia-cuda-crt, nvidia-cuda-cccl).
//
//go:embed cuda13.json
var cuda13Pins []byte

var wheels = map[string]wheel{
	cpuPlugin: {
		version: "0.11.2", python: "3.11",
		file: "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so",
		pins: []pin{{"lammps-jax-pjrt-cpu", "0.11.2", map[string]wheelFile{"amd64": {
			"1319390d948b39f69f7dade496b7c385149d9ca6097a6b62114da113216d9ad1", 62711338,
		}}}},
	},
	cudaPlugin: {
		version: "0.11.2", python: "3.12",
		file: "jax_plugins/xla_cuda13/xla_cuda_plugin.so",
		pins: readPins(cuda13Pins),
	},
	onnxRuntime: {
		version: "1.26.0", python: "3.11",
		file: "onnxruntime/capi/libonnxruntime.so.1.26.0",
		pins: []pin{{"onnxruntime", "1.26.0", map[string]wheelFile{"amd64": {
			"11a8df4dcfe9ad5ff0bd71a7571dbed019fabc7594676c89fe8b86ea029c246f", 18176043,
		}}}},
	},
}

func readPins(raw []byte) []pin {
	var pins []pin
	if err := json.Unmarshal(raw, &pins); err != nil {
		panic(err) // a part of this program
	}
	return pins
}

// files are the wheels for a processor by digest, and the bytes of all; nil where one is missing.
func (w wheel) files(arch string) (bySHA256 map[string]pin, bytes int64) {
	bySHA256 = map[string]pin{}
	for _, p := range w.pins {
		f, ok := p.Files[arch]
		if !ok {
			return nil, 0
		}
		bySHA256[f.SHA256] = p
		bytes += f.Bytes
	}
	return bySHA256, bytes
}

// Install gets one of Installable into cacheDir and returns the library's path. What
// is there already is left alone. The CPU plugin comes from GoMLX's official builds
// where they are reachable, Transformers.js through npm, all else from wheels through
// pip; digests are checked. log is told what goes on, a line at a time.
func Install(ctx context.Context, what, cacheDir string, log func(string)) (string, error) {
	if !slices.Contains(Installable(), what) {
		return "", fmt.Errorf("install %q: must be one of %s", what, strings.Join(Installable(), ", "))
	}
	pins, _ := wheels[what].files(runtime.GOARCH)
	if pinned(what) != transformersJSVersion && (runtime.GOOS != "linux" || len(pins) == 0) {
		return "", fmt.Errorf("install %s: there is no build for %s/%s", what, runtime.GOOS, runtime.GOARCH)
	}
	root := filepath.Join(cacheDir, what)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", fmt.Errorf("install %s: %w (XDG_CACHE_HOME names another cache directory)", what, err)
	}
	lock := flock.New(filepath.Join(root, ".lock"))
	if err := lock.Lock(); err != nil {
		return "", fmt.Errorf("install %s: %w", what, err)
	}
	defer lock.Close()
	if p, err := find(cacheDir, what); err == nil {
		log(fmt.Sprintf("%s %s is installed already: %s", what, p.Version, p.path))
		return p.path, nil
	}
	tmp, err := os.MkdirTemp(root, ".tmp-")
	if err != nil {
		return "", fmt.Errorf("install %s: %w", what, err)
	}
	defer os.RemoveAll(tmp)

	if what == cpuPlugin {
		p, err := installOfficial(ctx, root, tmp, log)
		if err == nil {
			return p, nil
		}
		log(fmt.Sprintf("GoMLX's official build: %v; taking the pinned wheel", err))
	}
	var path string
	switch what {
	case transformersJS:
		path, err = installTransformersJS(ctx, root, tmp, log)
	case transformersJSNode:
		path, err = installNode(ctx, root, tmp, log)
	default:
		path, err = wheels[what].install(ctx, root, tmp, log)
	}
	if err != nil {
		return "", fmt.Errorf("install %s: %w", what, err)
	}
	return path, nil
}

// install downloads the wheels to tmp, unpacks and publishes them.
func (w wheel) install(ctx context.Context, root, tmp string, log func(string)) (string, error) {
	pins, bytes := w.files(runtime.GOARCH)
	beside := ""
	if n := len(pins) - 1; n > 0 {
		beside = fmt.Sprintf(" and %d packages that it needs", n)
	}
	log(fmt.Sprintf("downloading %s%s, %d MB", w.pins[0].requirement(), beside, bytes/1e6))
	downloads := filepath.Join(tmp, "wheels")
	if err := w.download(ctx, downloads); err != nil {
		return "", err
	}
	unpacked := filepath.Join(tmp, w.version)
	if err := w.unpack(downloads, unpacked, pins, log); err != nil {
		return "", err
	}
	return publish(root, unpacked, installed{Version: w.version, Source: w.pins[0].requirement()}, log, w.file)
}

// unpack unpacks what was downloaded, once every wheel is there and is the pinned one.
func (w wheel) unpack(downloads, dir string, pins map[string]pin, log func(string)) error {
	files, err := filepath.Glob(filepath.Join(downloads, "*.whl"))
	if err != nil {
		return err
	}
	missing := maps.Clone(pins)
	for _, f := range files {
		got, _, err := digest.File(f)
		if err != nil {
			return err
		}
		if _, ok := pins[got]; !ok {
			return fmt.Errorf("%s has SHA-256 %s, which is not that of a pinned wheel", filepath.Base(f), got)
		}
		delete(missing, got)
	}
	for _, p := range missing {
		return fmt.Errorf("no wheel of %s was downloaded", p.requirement())
	}
	keep := func(name string) bool {
		return len(pins) > 1 || name == w.file || strings.Contains(name, "LICENSE")
	}
	for _, f := range files {
		log("unpacking " + filepath.Base(f))
		if err := unzip(f, dir, keep); err != nil {
			return err
		}
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(w.file))); err != nil {
		return fmt.Errorf("no downloaded wheel holds %s", w.file)
	}
	return nil
}

// glibcMinor is the newest glibc, 2.28, that wheels may ask for.
const glibcMinor = 28

// download runs pip with a fixed platform.
func (w wheel) download(ctx context.Context, dir string) error {
	processor := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	args := []string{"-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
		"--no-deps", "--implementation", "cp", "--python-version", w.python, "--dest", dir}
	for minor := glibcMinor; minor >= 5; minor-- {
		args = append(args, "--platform", fmt.Sprintf("manylinux_2_%d_%s", minor, processor))
	}
	for _, old := range []string{"manylinux2014", "manylinux2010", "manylinux1"} {
		args = append(args, "--platform", old+"_"+processor)
	}
	for _, p := range w.pins {
		args = append(args, p.requirement())
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return fmt.Errorf("python3 with pip is needed for the download: %w", err)
	}
	cmd := exec.CommandContext(ctx, python, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("pip download %s: %w: %s", w.pins[0].requirement(), err, pipError(stderr.String()))
	}
	return nil
}

// pipError is the line of pip's output that says what went wrong: its last one that begins with ERROR, or the
// last one.
func pipError(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], "ERROR") {
			return lines[i]
		}
	}
	return lines[len(lines)-1]
}

// publish describes files of an unpacked folder, the library first, and renames the folder to
// its version under root.
func publish(root, unpacked string, p installed, log func(string), files ...string) (string, error) {
	for i, name := range files {
		f := libraryFile{File: name}
		var err error
		f.SHA256, f.Size, err = digest.File(filepath.Join(unpacked, filepath.FromSlash(name)))
		if err != nil {
			return "", err
		}
		if i == 0 {
			p.libraryFile = f
		} else {
			p.With = append(p.With, f)
		}
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(unpacked, installedFile), append(b, '\n'), 0o644); err != nil {
		return "", err
	}
	final := filepath.Join(root, filepath.Base(unpacked))
	if err := os.RemoveAll(final); err != nil { // an incomplete or damaged one
		return "", err
	}
	if err := os.Rename(unpacked, final); err != nil {
		return "", err
	}
	path := filepath.Join(final, filepath.FromSlash(p.File))
	log(fmt.Sprintf("installed %s (SHA-256 %s)", path, p.SHA256))
	return path, nil
}
