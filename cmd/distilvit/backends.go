package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"syscall"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"

	"distilvit/internal/backend"
)

// backendFlag adds --backend.
func backendFlag(cmd *cobra.Command, kind *string) {
	cmd.Flags().StringVar(kind, "backend", backend.Auto, "what computes: auto, cuda, xla (CPU) or go")
}

// backendCache is the user's directory of plugins and ONNX Runtime.
func backendCache() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache directory: %w", err)
	}
	return filepath.Join(cache, "distilvit", "backend"), nil
}

// chooseBackend finds the backend of a kind.
func chooseBackend(kind string) (backend.Choice, error) {
	switch kind {
	case backend.Auto, backend.CUDA, backend.XLA, backend.Go:
	default:
		return backend.Choice{}, usagef("--backend %s: use auto, cuda, xla or go", kind)
	}
	cache, err := backendCache()
	if err != nil {
		return backend.Choice{}, err
	}
	return backend.Choose(backend.Options{Kind: kind, CacheDir: cache})
}

// openBackend opens a backend in this process. CUDA's libraries are found by the
// dynamic linker, which reads its variables when a process starts: so this program
// becomes itself once more, with them.
func openBackend(kind string) (compute.Backend, error) {
	choice, err := chooseBackend(kind)
	if err != nil {
		return nil, err
	}
	if choice.Kind == backend.CUDA && os.Getenv(againVariable) == "" {
		return nil, again(append(backend.Env(choice), againVariable+"=1"))
	}
	return backend.Open(choice)
}

// againVariable marks a process that was started with a backend's variables.
const againVariable = "DISTILVIT_BACKEND_ENV"

// again replaces this process by the same command line with more variables.
func again(variables []string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	pprof.StopCPUProfile() // its timer would outlive this program and end the next one
	return fmt.Errorf("start again: %w", syscall.Exec(exe, os.Args, append(os.Environ(), variables...)))
}
