package backend

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend" // registers the pure-Go backend as "go"
)

// goConfig is the Go backend's deadlock-free mode: operations one after
// another, each matrix multiplication on all cores.
const goConfig = "go:ops_sequential"

// pjrtThreads pins the size of XLA's thread pool on the CPU, whatever the number of
// cores: another size splits sums differently and so changes the last bits.
const pjrtThreads = "4"

// mallocTunables keep a step's buffers, which XLA takes from malloc and gives
// back every time, in the process: otherwise a quarter of the CPU time goes to
// the kernel clearing pages. Read by glibc when a process starts.
const mallocTunables = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:" +
	"glibc.malloc.trim_threshold=34359738368:glibc.malloc.arena_max=1"

// Open opens the chosen backend in this process, after setting the variables
// of Env in it. A process should open one backend only.
func Open(c Choice) (compute.Backend, error) {
	for _, kv := range Env(c) {
		k, v, _ := strings.Cut(kv, "=")
		if err := os.Setenv(k, v); err != nil {
			return nil, fmt.Errorf("open backend: set %s: %w", k, err)
		}
	}
	var be compute.Backend
	var err error
	switch c.Kind {
	case Go:
		if _, err := goChoice(c.Devices); err != nil {
			return nil, err
		}
		be, err = compute.NewWithConfig(goConfig)
	case XLA, CUDA:
		be, err = openXLA(c)
	default:
		err = fmt.Errorf("unknown kind %q", c.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", c, err)
	}
	return be, nil
}

// Env lists the variables, as NAME=value, that a process needs before it opens
// the backend: they fix the numerics and keep it off the network.
func Env(c Choice) []string {
	env := []string{
		"GOMLX_NO_AUTO_INSTALL=1", // nothing is downloaded unasked
		"GOMLX_FUSION=0",          // fused operations compute the forward pass twice when training
		"TF_CPP_MIN_LOG_LEVEL=3",
	}
	switch c.Kind {
	case XLA:
		env = append(env, "PJRT_NPROC="+pjrtThreads, "GLIBC_TUNABLES="+mallocTunables)
	case CUDA:
		env = append(env, "GOPJRT_CUDA_CHECKS=0")
		// the layout of the wheels: ROOT/jax_plugins/xla_cuda13/PLUGIN.so, ROOT/nvidia/*/lib
		nvidia := filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(c.Plugin))), "nvidia")
		libs, _ := filepath.Glob(filepath.Join(nvidia, "*", "lib"))
		if len(libs) > 0 {
			env = append(env, "LD_LIBRARY_PATH="+strings.Join(libs, ":"))
		}
		var flags []string
		if tools, _ := filepath.Glob(filepath.Join(nvidia, "*", "bin", "ptxas")); len(tools) > 0 {
			flags = append(flags, "--xla_gpu_cuda_data_dir="+filepath.Dir(filepath.Dir(tools[0])))
		}
		if c.Deterministic {
			// Without it a step may add with atomics, and each process times kernels and takes the fastest.
			flags = append(flags, "--xla_gpu_deterministic_ops=true", "--xla_gpu_autotune_level=0")
		}
		if len(flags) > 0 {
			env = append(env, "XLA_FLAGS="+strings.Join(append(strings.Fields(os.Getenv("XLA_FLAGS")), flags...), " "))
		}
	}
	return env
}
