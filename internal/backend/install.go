package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// wheel pins a Python package that carries a native library, to be got by pip
// for a fixed platform, whatever Python is here.
type wheel struct {
	requirement string   // for pip
	version     string   // also the folder it is installed to
	python      string   // tag the wheel was built for
	file        string   // the library inside
	sha256      string   // of the wheel that holds file
	with        []string // further requirements, unpacked whole beside it
}

var wheels = map[string]wheel{
	cpuPlugin: {
		requirement: "lammps-jax-pjrt-cpu==0.11.2", version: "0.11.2", python: "3.11",
		file:   "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so",
		sha256: "1319390d948b39f69f7dade496b7c385149d9ca6097a6b62114da113216d9ad1",
	},
	cudaPlugin: {
		requirement: "jax-cuda13-pjrt==0.11.2", version: "0.11.2", python: "3.12",
		file:   "jax_plugins/xla_cuda13/xla_cuda_plugin.so",
		sha256: "e5ff589d43064913bb74027682d89639c7ea48f9f81c2bae6fc75117e913f93e",
		// what jax-cuda13-plugin[with-cuda] of that version requires
		with: []string{
			"nvidia-cublas>=13.0.0.19,<14", "nvidia-cuda-cupti>=13.0.48,<14", "nvidia-cuda-nvcc>=13.0.48,<14",
			"nvidia-cuda-runtime>=13.0.48,<14", "nvidia-cudnn-cu13>=9.12.0.46,<10", "nvidia-cufft>=12.0.0.15,<13",
			"nvidia-cusolver>=12.0.3.29,<13", "nvidia-cusparse>=12.6.2.49,<13", "nvidia-nccl-cu13>=2.27.7,<3",
			"nvidia-nvjitlink>=13.0.39,<14", "nvidia-cuda-nvrtc>=13.0.48,<14", "nvidia-nvshmem-cu13>=3.3.20,<4", "nvidia-nvvm>=13.0,<14",
		},
	},
	onnxRuntime: {
		requirement: "onnxruntime==1.26.0", version: "1.26.0", python: "3.11",
		file:   "onnxruntime/capi/libonnxruntime.so.1.26.0",
		sha256: "11a8df4dcfe9ad5ff0bd71a7571dbed019fabc7594676c89fe8b86ea029c246f",
	},
}

// Install gets cpu, cuda13 or onnxruntime into cacheDir and returns the
// library's path. What is there already is left alone. The CPU plugin comes from
// GoMLX's official builds where they are reachable, all else from wheels through
// pip; digests are checked. log is told what goes on, a line at a time.
func Install(ctx context.Context, what, cacheDir string, log func(string)) (string, error) {
	w, ok := wheels[what]
	if !ok {
		return "", fmt.Errorf("install %q: must be cpu, cuda13 or onnxruntime", what)
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("install %s: there is no build for %s/%s", what, runtime.GOOS, runtime.GOARCH)
	}
	root := filepath.Join(cacheDir, what)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", fmt.Errorf("install %s: %w", what, err)
	}
	unlock, err := lock(filepath.Join(root, ".lock"))
	if err != nil {
		return "", fmt.Errorf("install %s: %w", what, err)
	}
	defer unlock()
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
	path, err := w.install(ctx, root, tmp, log)
	if err != nil {
		return "", fmt.Errorf("install %s: %w", what, err)
	}
	return path, nil
}

// install downloads the wheel and what goes with it to tmp, unpacks and publishes it.
func (w wheel) install(ctx context.Context, root, tmp string, log func(string)) (string, error) {
	log(fmt.Sprintf("downloading %s", w.requirement))
	downloads := filepath.Join(tmp, "wheels")
	if err := w.download(ctx, downloads); err != nil {
		return "", err
	}
	files, _ := filepath.Glob(filepath.Join(downloads, "*.whl"))
	unpacked := filepath.Join(tmp, w.version)
	verified := false
	for _, f := range files {
		digest, _, err := fileSHA256(f)
		if err != nil {
			return "", err
		}
		holds, err := zipHolds(f, w.file)
		if err != nil {
			return "", err
		}
		if holds {
			if digest != w.sha256 {
				return "", fmt.Errorf("%s has SHA-256 %s instead of %s", filepath.Base(f), digest, w.sha256)
			}
			verified = true
		}
		log("unpacking " + filepath.Base(f))
		keep := func(name string) bool { return w.with != nil || name == w.file || strings.Contains(name, "LICENSE") }
		if err := unzip(f, unpacked, keep); err != nil {
			return "", err
		}
		if err := os.Remove(f); err != nil {
			return "", err
		}
	}
	if !verified {
		return "", fmt.Errorf("no downloaded wheel holds %s", w.file)
	}
	return publish(root, unpacked, installed{File: w.file, Version: w.version, Source: w.requirement}, log)
}

// glibcMinor is the newest glibc, 2.28, that wheels may ask for.
const glibcMinor = 28

// download runs pip with a fixed platform.
func (w wheel) download(ctx context.Context, dir string) error {
	args := []string{"-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
		"--no-deps", "--implementation", "cp", "--python-version", w.python, "--dest", dir}
	for minor := glibcMinor; minor >= 5; minor-- {
		args = append(args, "--platform", fmt.Sprintf("manylinux_2_%d_x86_64", minor))
	}
	for _, old := range []string{"manylinux2014", "manylinux2010", "manylinux1"} {
		args = append(args, "--platform", old+"_x86_64")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return fmt.Errorf("python3 with pip is needed for the download: %w", err)
	}
	cmd := exec.CommandContext(ctx, python, append(append(args, w.requirement), w.with...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("pip download %s: %w: %s", w.requirement, err, lastLine(stderr.String()))
	}
	return nil
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], "ERROR") {
			return lines[i]
		}
	}
	return lines[len(lines)-1]
}

// publish describes the library in an unpacked folder and renames the folder to
// its version under root.
func publish(root, unpacked string, p installed, log func(string)) (string, error) {
	var err error
	p.SHA256, p.Size, err = fileSHA256(filepath.Join(unpacked, filepath.FromSlash(p.File)))
	if err != nil {
		return "", err
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

// lock holds an exclusive lock on a file until the returned function is called.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
