package backend

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/cpu"
)

const goModule = "github.com/gomlx/compute"

// Fingerprint lists all that the bits of a result depend on beside the
// program's input. Equal fingerprints promise equal bits for the Go backend and
// for XLA on the CPU.
func Fingerprint(c Choice) map[string]string {
	f := map[string]string{
		"backend":   c.Kind,
		"arch":      runtime.GOARCH,
		"isa":       isa(),
		"fusion":    "0",
		"precision": "float32",
		"gomlx":     moduleVersion("github.com/gomlx/gomlx"),
		"compute":   moduleVersion(goModule),
	}
	switch c.Kind {
	case Go:
		f["go"] = runtime.Version()
		f["simd"] = strconv.FormatBool(builtWithSIMD())
	case XLA:
		f["plugin_sha256"] = c.PluginSHA256
		f["go_xla"] = moduleVersion("github.com/gomlx/go-xla")
		f["threads"] = pjrtThreads
		f["devices"] = strconv.Itoa(c.count())
		f["cpu"] = cpuModel() // Eigen blocks sums by cache sizes
	case CUDA:
		f["plugin_sha256"] = c.PluginSHA256
		f["go_xla"] = moduleVersion("github.com/gomlx/go-xla")
		f["devices"] = strconv.Itoa(c.count())
		f["gpu"] = gpuModel()
		if c.TF32 {
			f["precision"] = "tf32"
		}
		if c.Deterministic {
			f["deterministic"] = "true"
		}
	}
	return f
}

// isa names the widest instruction set that changes results on this machine.
func isa() string {
	switch {
	case cpu.X86.HasAVX512BF16:
		return "avx512-bf16"
	case cpu.X86.HasAVX512F:
		return "avx512"
	case cpu.X86.HasAVX2 && cpu.X86.HasFMA:
		return "avx2"
	}
	return runtime.GOARCH
}

// cpuModel is the first processor's vendor, family and model, as numbers where
// the kernel shows them.
func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), "\n\n")
	var parts []string
	for line := range strings.Lines(first) {
		k, v, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(k) {
		case "vendor_id", "cpu family", "model", "CPU implementer", "CPU part":
			parts = append(parts, strings.TrimSpace(v))
		}
	}
	return strings.Join(parts, " ")
}

// gpuModel is the name and driver of the NVIDIA devices, as the driver shows them.
func gpuModel() string {
	var parts []string
	entries, _ := os.ReadDir("/proc/driver/nvidia/gpus")
	for _, e := range entries {
		b, _ := os.ReadFile("/proc/driver/nvidia/gpus/" + e.Name() + "/information")
		for line := range strings.Lines(string(b)) {
			if k, v, _ := strings.Cut(line, ":"); strings.TrimSpace(k) == "Model" {
				parts = append(parts, strings.TrimSpace(v))
			}
		}
	}
	if b, err := os.ReadFile("/proc/driver/nvidia/version"); err == nil {
		line, _, _ := strings.Cut(string(b), "\n")
		parts = append(parts, strings.TrimSpace(line))
	}
	return strings.Join(parts, "; ")
}

// moduleVersion is a linked module's version.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			if m.Replace != nil {
				return m.Replace.Version
			}
			return m.Version
		}
	}
	return "unknown"
}

// builtWithSIMD reports whether the program was compiled with GOEXPERIMENT=simd.
func builtWithSIMD() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "GOEXPERIMENT" && strings.Contains(s.Value, "simd") {
			return true
		}
	}
	return false
}
