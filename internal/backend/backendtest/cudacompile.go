package backendtest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"distilvit/internal/testenv"
)

// Compiled is what XLA says of a program that was compiled for a GPU; sizes in bytes.
type Compiled struct {
	Module    string  `json:"module"`
	Program   int64   `json:"program_bytes"` // as it came, StableHLO
	Seconds   float64 `json:"seconds"`
	Error     string  `json:"error"` // empty: compiled
	Arguments int64   `json:"argument_bytes"`
	Outputs   int64   `json:"output_bytes"`
	Temporary int64   `json:"temp_bytes"`
}

// CUDACompiler makes every program that FaultyCUDA compiles one for a GPU as well, by CUDA's real plugin and for
// the GPU of cudafault/targets (sm_80 or sm_90); none has to be here. The test is skipped where `distilvit backend
// install cuda13` has not put the plugin. It returns what a process needs beside FaultyCUDA's environment, and a
// function that reads what has been compiled so far.
func CUDACompiler(t testing.TB, target string) (environ []string, compiled func() []Compiled) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	plugins, _ := filepath.Glob(filepath.Join(cache, "distilvit/backend/cuda13/*/jax_plugins/*/xla_cuda_plugin.so"))
	if len(plugins) == 0 {
		t.Skip("CUDA's plugin is not installed: distilvit backend install cuda13")
	}
	nvidia := filepath.Join(filepath.Dir(plugins[0]), "../../nvidia/cu13")
	report := filepath.Join(t.TempDir(), "compiled.jsonl")
	environ = []string{
		"CUDACOMPILE_PLUGIN=" + plugins[0],
		"CUDACOMPILE_TARGET=" + filepath.Join(testenv.Root(),
			"internal/backend/backendtest/cudafault/targets", target+".txtpb"),
		"CUDACOMPILE_REPORT=" + report,
		"LD_LIBRARY_PATH=" + filepath.Join(nvidia, "lib"),
		"XLA_FLAGS=--xla_gpu_cuda_data_dir=" + nvidia,
	}
	return environ, func() []Compiled {
		t.Helper()
		raw, err := os.ReadFile(report)
		if err != nil {
			t.Fatalf("nothing was compiled: %v", err)
		}
		var list []Compiled
		for line := range bytes.Lines(raw) {
			var c Compiled
			if err := json.Unmarshal(line, &c); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			list = append(list, c)
		}
		return list
	}
}
