package backend

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// npmPackage pins a package of npm's registry, of which some files are taken.
type npmPackage struct {
	name, version string
	integrity     string   // of its archive, as npm's lock files write it: sha512-<base64>
	files         []string // in the archive
}

const transformersJSVersion = "4.3.1"

// Transformers.js for a web page: its bundle for browsers, and the ONNX Runtime that goes with it, of which
// the first computes in WebAssembly and the other, twice as large, on WebGPU, too. The tests hold the pins
// against web/package-lock.json.
var transformersJSPackages = []npmPackage{
	{
		"@huggingface/transformers", transformersJSVersion,
		"sha512-5+voSeUCFK6PCKlY15dPhNOKq3/zOTxDN7oC+Wy9dFb1QZ0TSQomZRRy7URRK8YRuUoE9fGMQTTPC5d/pWBJhA==",
		[]string{"package/dist/transformers.min.js", "package/LICENSE"},
	},
	{
		"onnxruntime-web", "1.31.0-dev.20260914-8d85527a0",
		"sha512-Iy7rtadoBgxS/LLvDr3QW38DB1PNXRnr0GJMcL0TAt7c9qjgVQl83UlGCVyeAnK2InpmW8Uc3PL8XIuqtDeF6g==",
		[]string{
			"package/dist/ort-wasm-simd-threaded.mjs", "package/dist/ort-wasm-simd-threaded.wasm",
			"package/dist/ort-wasm-simd-threaded.asyncify.mjs", "package/dist/ort-wasm-simd-threaded.asyncify.wasm",
		},
	},
}

// TransformersJS is the Transformers.js of the cache directory, for pages: the folder and the names of
// its files, the library's module first, then those of ONNX Runtime (env.backends.onnx.wasm.wasmPaths).
func TransformersJS(cacheDir string) (dir string, files []string, err error) {
	p, err := find(cacheDir, transformersJS)
	if err != nil {
		return "", nil, fmt.Errorf("package transformers.js: %w", err)
	}
	files = []string{p.File}
	for _, f := range p.With {
		files = append(files, f.File)
	}
	return filepath.Dir(p.path), files, nil
}

// installTransformersJS gets both packages and publishes their files in one folder.
func installTransformersJS(ctx context.Context, root, tmp string, log func(string)) (string, error) {
	unpacked := filepath.Join(tmp, transformersJSVersion)
	if err := os.Mkdir(unpacked, 0o755); err != nil {
		return "", err
	}
	var files, sources []string
	for i, p := range transformersJSPackages {
		log(fmt.Sprintf("downloading %s@%s", p.name, p.version))
		downloads := filepath.Join(tmp, fmt.Sprint("npm", i))
		archive, err := p.download(ctx, downloads)
		if err != nil {
			return "", err
		}
		if err := p.unpack(archive, downloads, unpacked); err != nil {
			return "", fmt.Errorf("%s: %w", p.name, err)
		}
		for _, f := range p.files {
			files = append(files, path.Base(f))
		}
		sources = append(sources, p.name+"@"+p.version)
	}
	p := installed{Version: transformersJSVersion, Source: strings.Join(sources, " ")}
	return publish(root, unpacked, p, log, files...)
}

// download has npm fetch the archive into a new folder.
func (p npmPackage) download(ctx context.Context, dir string) (archive string, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := npm(ctx, dir, "pack", p.name+"@"+p.version, "--silent"); err != nil {
		return "", err
	}
	found, _ := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if len(found) != 1 {
		return "", fmt.Errorf("npm pack %s@%s left %d archives", p.name, p.version, len(found))
	}
	return found[0], nil
}

// npm runs a command of npm's in a folder, and no script of a package.
func npm(ctx context.Context, dir, command string, more ...string) error {
	path, err := exec.LookPath("npm")
	if err != nil {
		return fmt.Errorf("npm is needed for the download: %w", err)
	}
	cmd := exec.CommandContext(ctx, path, append([]string{command, "--ignore-scripts"}, more...)...)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("npm %s %s: %w: %s", command, strings.Join(more, " "), err, npmError(stderr.String()))
	}
	return nil
}

// npmError is the line of npm's output that says what went wrong: the first that is no code, or the last one.
func npmError(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for _, line := range lines {
		if strings.HasPrefix(line, "npm error ") && !strings.HasPrefix(line, "npm error code ") {
			return line
		}
	}
	return lines[len(lines)-1]
}

// unpack checks an archive against its pin and moves the package's files to a folder.
func (p npmPackage) unpack(archive, tmp, to string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(h.Sum(nil)); got != p.integrity {
		return fmt.Errorf("%s has the integrity %s instead of %s", filepath.Base(archive), got, p.integrity)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, name := range p.files {
		wanted[name] = true
	}
	if err := untar(f, tmp, func(name string) bool { return wanted[name] }); err != nil {
		return err
	}
	var errs []error
	for _, name := range p.files {
		errs = append(errs, os.Rename(filepath.Join(tmp, filepath.FromSlash(name)), filepath.Join(to, path.Base(name))))
	}
	return errors.Join(errs...)
}
