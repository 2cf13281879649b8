package main

import (
	"fmt"
	"os"
	"runtime/pprof"
	"syscall"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"

	"distilvit/internal/backend"
	"distilvit/internal/transformersjs"
)

// backendFlag adds --backend.
func backendFlag(cmd *cobra.Command, kind *string) {
	cmd.Flags().StringVar(kind, "backend", backend.Auto, "what computes: auto, cuda, xla (CPU) or go")
}

// onnxRuntime is the path of the installed ONNX Runtime's library.
func onnxRuntime() (string, error) {
	cache, err := backend.CacheDir()
	if err != nil {
		return "", err
	}
	return backend.ONNXRuntime(cache)
}

// chromiumVariable names a browser to check exports in instead of the one in PATH.
const chromiumVariable = "DISTILVIT_CHROMIUM"

func chromium() string { return os.Getenv(chromiumVariable) }

// findWeb finds what exports are checked by in Transformers.js.
func findWeb() (transformersjs.Runner, error) {
	cache, err := backend.CacheDir()
	if err != nil {
		return transformersjs.Runner{}, err
	}
	return transformersjs.Find(cache, chromium())
}

// chooseBackend finds the backend of a kind.
func chooseBackend(kind string) (backend.Choice, error) {
	switch kind {
	case backend.Auto, backend.CUDA, backend.XLA, backend.Go:
	default:
		return backend.Choice{}, usagef("--backend %s: use auto, cuda, xla or go", kind)
	}
	o, err := backendOptions()
	if err != nil {
		return backend.Choice{}, err
	}
	o.Kind = kind
	return backend.Choose(o)
}

// pluginVariable names a PJRT plugin to use instead of the installed one.
const pluginVariable = "DISTILVIT_PLUGIN"

// backendOptions say where plugins are.
func backendOptions() (backend.Options, error) {
	cache, err := backend.CacheDir()
	return backend.Options{CacheDir: cache, Plugin: os.Getenv(pluginVariable)}, err
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
