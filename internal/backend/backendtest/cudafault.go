package backendtest

import (
	"embed"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"distilvit/internal/backend"
	"distilvit/internal/testenv"
)

// shim's files say in their heads what they do and how they are steered.
//
//go:embed cudafault
var shim embed.FS

// Fault makes the environment, as NAME=value, in which FaultyCUDA fails at the N-th call of a kind, as spec says:
// WHERE:N:NAME. WHERE is client, compile, transfer, execute, done or read; NAME is one of cudafault/plugin.c.
// Calls are counted once the file after is there; empty: all calls of the process.
func Fault(spec, after string) []string {
	return []string{"CUDAFAULT=" + spec, "CUDAFAULT_AFTER=" + after}
}

// FaultyCUDA compiles a plugin that computes on the CPU, says that it is CUDA's and fails as that does. It
// returns the choice of it, and what every process that opens it needs in its environment beside Fault.
func FaultyCUDA(t testing.TB) (backend.Choice, []string) {
	t.Helper()
	cpu, err := Choose(backend.XLA)
	if err != nil {
		testenv.Without(t, err)
	}
	cc := testenv.Tool(t, "cc")
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/gomlx/go-xla")
	list.Dir = testenv.Root()
	module, err := list.Output()
	if err != nil {
		t.Fatalf("find go-xla's headers: %v", err)
	}
	// In a path of our own: go-xla tells from the path what a plugin is.
	dir, err := os.MkdirTemp("", "cudafault")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	source, err := fs.Sub(shim, "cudafault")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, source); err != nil {
		t.Fatal(err)
	}
	plugin := filepath.Join(dir, "xla_cuda_plugin.so")
	out, err := exec.Command(cc, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror",
		"-I"+filepath.Join(strings.TrimSpace(string(module)), "pjrt"),
		filepath.Join(dir, "plugin.c"), filepath.Join(dir, "compile.c"), "-o", plugin, "-ldl", "-lpthread",
	).CombinedOutput()
	if err != nil {
		t.Fatalf("compile the plugin: %v\n%s", err, out)
	}
	choice, err := backend.Choose(backend.Options{Kind: backend.CUDA, Plugin: plugin})
	if err != nil {
		t.Fatal(err)
	}
	return choice, []string{"CUDAFAULT_PLUGIN=" + cpu.Plugin, "PJRT_NPROC=4"}
}
