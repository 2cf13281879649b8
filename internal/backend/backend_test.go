package backend

import (
	"archive/zip"
	"context"
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
	path, err := publish(root, unpacked, installed{File: "plugin.so", Version: version}, func(string) {})
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

func TestDevicesAreNamedAndShownAsCUDANumbersThem(t *testing.T) {
	for want, devices := range map[string][]int{"device 0": nil, "device 3": {3}, "devices 0, 1 and 5": {0, 1, 5}} {
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
		`backend "tpu": must be`:                func() error { _, err := Choose(Options{Kind: "tpu"}); return err },
		"use --devices-per-run 1":               func() error { _, err := Choose(Options{Kind: Go, Devices: []int{0, 1}}); return err },
		`install "tpu": must be`:                func() error { _, err := Install(context.Background(), "tpu", cache, nil); return err },
	} {
		if err := run(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if haveXLA {
		if _, err := Choose(Options{Kind: XLA, CacheDir: cache}); err == nil || !strings.Contains(err.Error(), "distilvit backend install cpu") {
			t.Errorf("no plugin: %v", err)
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
	if f["backend"] != XLA || f["plugin_sha256"] != "ab" || f["threads"] != "4" || f["devices"] != "1" || f["cpu"] == "" || f["fusion"] != "0" {
		t.Errorf("fingerprint %v", f)
	}
	xla.Devices = []int{2, 3}
	if f := Fingerprint(xla); f["devices"] != "2" {
		t.Errorf("fingerprint of two devices %v", f)
	}
	if f := Fingerprint(Choice{Kind: Go}); f["simd"] == "" || f["isa"] == "" || f["plugin_sha256"] != "" {
		t.Errorf("fingerprint of Go %v", f)
	}
	if env := Env(xla); !slices.Contains(env, "PJRT_NPROC=4") || !slices.Contains(env, "GOMLX_NO_AUTO_INSTALL=1") || !slices.Contains(env, "GOMLX_FUSION=0") {
		t.Errorf("environment %v", env)
	}
}
