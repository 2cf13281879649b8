package backend

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fake installs a library of no use.
func fake(t *testing.T, cache, what, version string) string {
	t.Helper()
	root, unpacked := filepath.Join(cache, what), filepath.Join(t.TempDir(), version)
	for _, dir := range []string{root, unpacked} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(unpacked, "plugin.so"), []byte(what+version), 0o644); err != nil {
		t.Fatal(err)
	}
	path, err := publish(root, unpacked, installed{Version: version}, func(string) {}, "plugin.so")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAutoIsXLAWhereThePluginIsAndElseGo(t *testing.T) {
	if haveGPU() {
		t.Skip("this machine has a GPU")
	}
	cache := t.TempDir()
	c, err := Choose(Options{CacheDir: cache})
	if err != nil || c.Kind != Go {
		t.Fatalf("without a plugin: %+v, %v", c, err)
	}
	path := fake(t, cache, cpuPlugin, "0.0.1")
	c, err = Choose(Options{Kind: Auto, CacheDir: cache})
	if haveXLA && (err != nil || c.Kind != XLA || c.Plugin != path || len(c.PluginSHA256) != 64) {
		t.Errorf("with a plugin: %+v, %v", c, err)
	}
}

// A plugin that is named is the one of the kind its file name says, whatever is installed or in /dev.
func TestANamedPluginIsUsedForItsKind(t *testing.T) {
	if !haveXLA {
		t.Skip("built without cgo")
	}
	cache := t.TempDir()
	installedCPU := fake(t, cache, cpuPlugin, "0.0.1")
	dir := t.TempDir()
	cuda, cpu := filepath.Join(dir, "xla_CUDA_plugin.so"), filepath.Join(dir, "pjrt_c_api_cpu_plugin.so")
	for _, path := range []string{cuda, cpu} {
		if err := os.WriteFile(path, []byte(path), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ kind, plugin, wantKind, want string }{
		{CUDA, cuda, CUDA, cuda},
		{Auto, cuda, CUDA, cuda},
		{XLA, cuda, XLA, installedCPU},
		{XLA, cpu, XLA, cpu},
		{Go, cuda, Go, ""},
	} {
		got, err := Choose(Options{Kind: c.kind, Plugin: c.plugin, CacheDir: cache})
		if err != nil || got.Kind != c.wantKind || got.Plugin != c.want {
			t.Errorf("%s with %s: %+v, %v", c.kind, c.plugin, got, err)
		}
	}
	for _, kind := range []string{Auto, CUDA} {
		missing := filepath.Join(dir, "cuda.so")
		if c, err := Choose(Options{Kind: kind, Plugin: missing, CacheDir: cache}); err == nil ||
			!strings.Contains(err.Error(), missing) {
			t.Errorf("%s with a plugin that is not there: %+v, %v", kind, c, err)
		}
	}
}

// go-xla tells from the path what a plugin is: one that would mislead it is not opened.
func TestAPathThatMisleadsIsRefused(t *testing.T) {
	if !haveXLA {
		t.Skip("built without cgo")
	}
	for kind, path := range map[string]string{XLA: "/home/nvidia/pjrt_c_api_cpu_plugin.so", CUDA: "/opt/gpu.so"} {
		if _, err := Open(Choice{Kind: kind, Plugin: path}); err == nil || !strings.Contains(err.Error(), "XDG_CACHE") {
			t.Errorf("%s from %s: %v", kind, path, err)
		}
	}
}

func TestDevicesAreNamedAndShownAsCUDANumbersThem(t *testing.T) {
	for want, devices := range map[string][]int{
		"device 0": nil, "device 3": {3}, "devices 0, 1 and 5": {0, 1, 5},
	} {
		if got := Names(devices); got != want {
			t.Errorf("%v are %q instead of %q", devices, got, want)
		}
	}
	if got := (Choice{Kind: XLA}).Visible(); !slices.Equal(got, []int{0}) {
		t.Errorf("the CPU shows devices %v", got)
	}
	if !haveGPU() {
		t.Setenv("CUDA_VISIBLE_DEVICES", "5,7")
		if got := (Choice{Kind: CUDA}).Visible(); !slices.Equal(got, []int{0}) {
			t.Errorf("no more devices can be visible than there are: %v", got)
		}
	}
}

func TestThePinnedVersionIsPreferred(t *testing.T) {
	cache := t.TempDir()
	pinned := fake(t, cache, onnxRuntime, wheels[onnxRuntime].version)
	fake(t, cache, onnxRuntime, "9.9.9")
	if got, err := ONNXRuntime(cache); err != nil || got != pinned {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestWhatIsNotThereIsOneLineThatSaysHowToGetIt(t *testing.T) {
	cache := t.TempDir()
	for want, run := range map[string]func() error{
		"distilvit backend install onnxruntime": func() error { _, err := ONNXRuntime(cache); return err },
		`backend "tpu": must be`: func() error {
			_, err := Choose(Options{Kind: "tpu"})
			return err
		},
		"use --devices-per-run 1": func() error {
			_, err := Choose(Options{Kind: Go, Devices: []int{0, 1}})
			return err
		},
		`install "tpu": must be one of cpu`: func() error {
			_, err := Install(context.Background(), "tpu", cache, nil)
			return err
		},
	} {
		if err := run(); err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if haveXLA {
		if _, err := Choose(Options{Kind: XLA, CacheDir: cache}); err == nil ||
			!strings.Contains(err.Error(), "distilvit backend install cpu") {
			t.Errorf("no plugin: %v", err)
		}
	}
}

// A page's files are there together or not at all.
func TestADamagedTransformersJSIsNoticed(t *testing.T) {
	cache := t.TempDir()
	if _, _, err := TransformersJS(cache); err == nil ||
		!strings.Contains(err.Error(), "distilvit backend install transformers.js") {
		t.Errorf("nothing installed: %v", err)
	}
	root, unpacked := filepath.Join(cache, transformersJS), filepath.Join(t.TempDir(), transformersJSVersion)
	for _, dir := range []string{root, unpacked} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"library.js", "runtime.mjs", "runtime.wasm"}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(unpacked, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := publish(root, unpacked, installed{Version: transformersJSVersion}, func(string) {}, names...); err != nil {
		t.Fatal(err)
	}
	dir, files, err := TransformersJS(cache)
	if err != nil || !slices.Equal(files, names) || dir != filepath.Join(root, transformersJSVersion) {
		t.Errorf("got %s, %q, %v", dir, files, err)
	}
	if err := os.Truncate(filepath.Join(dir, "runtime.wasm"), 3); err != nil {
		t.Fatal(err)
	}
	if _, _, err := TransformersJS(cache); err == nil || !strings.Contains(err.Error(), "install it again") {
		t.Errorf("got %v", err)
	}
}

// An archive of npm is taken by the pinned digest of its bytes only.
func TestAnotherNPMArchiveIsRefused(t *testing.T) {
	var archive bytes.Buffer
	z := gzip.NewWriter(&archive)
	w := tar.NewWriter(z)
	for _, name := range []string{"package/dist/library.js", "package/other.js"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: 1}); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("x"))
	}
	w.Close()
	z.Close()
	path, to := filepath.Join(t.TempDir(), "a.tgz"), t.TempDir()
	if err := os.WriteFile(path, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(archive.Bytes())
	p := npmPackage{name: "library", files: []string{"package/dist/library.js"},
		integrity: "sha512-" + base64.StdEncoding.EncodeToString(sum[:])}
	if err := p.unpack(path, t.TempDir(), to); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(to); len(left) != 1 || left[0].Name() != "library.js" {
		t.Errorf("unpacked %v", left)
	}
	archive.WriteByte(0)
	if err := os.WriteFile(path, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.unpack(path, t.TempDir(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "integrity") {
		t.Errorf("got %v", err)
	}
}

// What is installed for pages is what the checks in web/ run with.
func TestTransformersJSIsWhatTheChecksHave(t *testing.T) {
	b, err := os.ReadFile("../../web/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version, Integrity string }
	}
	if err := json.Unmarshal(b, &lock); err != nil {
		t.Fatal(err)
	}
	for _, p := range transformersJSPackages {
		got := lock.Packages["node_modules/"+p.name]
		if got.Version != p.version || got.Integrity != p.integrity {
			t.Errorf("%s is %s %s, in web/package-lock.json %s %s", p.name, p.version, p.integrity, got.Version, got.Integrity)
		}
	}
}

func TestADamagedInstallationIsNoticed(t *testing.T) {
	cache := t.TempDir()
	path := fake(t, cache, onnxRuntime, "1.0.0")
	if err := os.Truncate(path, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := ONNXRuntime(cache); err == nil || !strings.Contains(err.Error(), "install it again") {
		t.Errorf("got %v", err)
	}
}

func TestInstalledTwiceIsDownloadedOnce(t *testing.T) {
	cache := t.TempDir()
	path := fake(t, cache, onnxRuntime, wheels[onnxRuntime].version)
	var lines []string
	got, err := Install(context.Background(), onnxRuntime, cache, func(s string) { lines = append(lines, s) })
	if err != nil || got != path || len(lines) != 1 || !strings.Contains(lines[0], "installed already") {
		t.Errorf("got %s, %v, %q", got, err, lines)
	}
}

func TestArchivesStayInTheirFolder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bad.zip")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	w, err := z.Create("../outside")
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("x"))
	z.Close()
	f.Close()
	if err := unzip(path, filepath.Join(dir, "in"), func(string) bool { return true }); err == nil {
		t.Error("an entry left its folder")
	}
	if _, err := os.Stat(filepath.Join(dir, "outside")); err == nil {
		t.Error("a file was written outside")
	}
}

func TestFingerprintsAndEnvironmentsSayWhatTheNumbersDependOn(t *testing.T) {
	xla := Choice{Kind: XLA, Plugin: "/x/cpu/p.so", PluginSHA256: "ab"}
	f := Fingerprint(xla)
	if f["backend"] != XLA || f["plugin_sha256"] != "ab" || f["threads"] != "4" || f["devices"] != "1" ||
		f["cpu"] == "" || f["fusion"] != "0" {
		t.Errorf("fingerprint %v", f)
	}
	xla.Devices = []int{2, 3}
	if f := Fingerprint(xla); f["devices"] != "2" {
		t.Errorf("fingerprint of two devices %v", f)
	}
	if f := Fingerprint(Choice{Kind: Go}); f["simd"] == "" || f["isa"] == "" || f["plugin_sha256"] != "" {
		t.Errorf("fingerprint of Go %v", f)
	}
	cuda := Choice{Kind: CUDA, Plugin: "/x/cuda.so"}
	if f := Fingerprint(cuda); f["precision"] != "float32" || f["deterministic"] != "" {
		t.Errorf("fingerprint of CUDA %v", f)
	}
	cuda.TF32, cuda.Deterministic = true, true
	if f := Fingerprint(cuda); f["precision"] != "tf32" || f["deterministic"] != "true" {
		t.Errorf("fingerprint of CUDA with TF32 %v", f)
	}
	t.Setenv("XLA_FLAGS", "--xla_dump_to=/d")
	want := "XLA_FLAGS=--xla_dump_to=/d --xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"
	if env := Env(cuda); !slices.Contains(env, want) {
		t.Errorf("environment %v, want %s", env, want)
	}
	if env := Env(xla); !slices.Contains(env, "PJRT_NPROC=4") ||
		!slices.Contains(env, "GOMLX_NO_AUTO_INSTALL=1") || !slices.Contains(env, "GOMLX_FUSION=0") {
		t.Errorf("environment %v", env)
	}
}
