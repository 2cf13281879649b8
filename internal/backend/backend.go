// Package backend chooses, installs and opens what computes: XLA on a CUDA
// device, XLA on the CPU, or GoMLX's pure-Go backend. It knows files, versions
// and the numerics fingerprint, nothing of models. Start reading at Choose.
package backend

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Kinds of backend. Auto picks the first of CUDA, XLA, Go that is there.
const (
	Auto = "auto" // the first of the others that is there
	CUDA = "cuda" // XLA on NVIDIA GPUs
	XLA  = "xla"  // XLA on the CPU
	Go   = "go"   // GoMLX's backend in pure Go
)

// Options say what to choose from.
type Options struct {
	Kind     string // auto, cuda, xla or go; empty is auto
	CacheDir string // where Install puts plugins
	// path of a PJRT plugin to use instead of the one in CacheDir: for cuda where its file name says cuda or
	// nvidia, else for xla; empty: none
	Plugin  string
	Devices []int // numbers of the devices that compute together; empty: device 0
	// share of a CUDA device's memory that a process takes at most, in (0, 1]; 0: the plugin's own, 0.75
	Memory float64
}

// Choice is a backend that was found: enough to open it in another process.
type Choice struct {
	Kind         string `json:"kind"`                    // cuda, xla or go
	Plugin       string `json:"plugin,omitempty"`        // path of the PJRT plugin
	PluginSHA256 string `json:"plugin_sha256,omitempty"` // lower-case hex
	// of the plugin's package, or of the module of the Go backend
	Version string `json:"version"`
	// CUDA: their indices; XLA on the CPU makes as many of its own; empty: device 0
	Devices []int `json:"devices,omitempty"`

	// of CUDA only: as Options'. What is computed does not depend on it.
	Memory float64 `json:"memory,omitempty"`

	// of CUDA only; the other kinds multiply float32 as it is, and give the same bits every time
	TF32          bool `json:"tf32,omitempty"`          // factors of float32 products are rounded to 11 significant bits
	Deterministic bool `json:"deterministic,omitempty"` // no kernel whose sums have no order, none chosen by time
}

// Computing is the choice with the numerics that a training asks for, where they are a matter of choice.
func (c Choice) Computing(tf32, deterministic bool) Choice {
	if c.Kind == CUDA {
		c.TF32, c.Deterministic = tf32, deterministic
	}
	return c
}

// count is the number of devices that compute together.
func (c Choice) count() int { return max(len(c.Devices), 1) }

// String names the choice in one line.
func (c Choice) String() string {
	switch c.Kind {
	case CUDA:
		return fmt.Sprintf("XLA on CUDA %s (plugin %s)", Names(c.Devices), c.Version)
	case XLA:
		if c.count() > 1 {
			return fmt.Sprintf("XLA on %d devices of the CPU (plugin %s)", c.count(), c.Version)
		}
		return fmt.Sprintf("XLA on the CPU (plugin %s)", c.Version)
	}
	return fmt.Sprintf("pure Go (%s)", c.Version)
}

// Names is devices for people: device 0, or devices 0 and 1.
func Names(devices []int) string {
	if len(devices) == 0 {
		return "device 0"
	}
	var names []string
	for _, d := range devices {
		names = append(names, strconv.Itoa(d))
	}
	last := len(names) - 1
	if last == 0 {
		return "device " + names[0]
	}
	return "devices " + strings.Join(names[:last], ", ") + " and " + names[last]
}

// Choose looks at files only: nothing is downloaded, loaded or started. Auto is
// CUDA if a GPU and its plugin are there, else XLA on the CPU if its plugin is,
// else pure Go. A kind asked for by name that is not there is an error that
// says how to get it, and so are several devices for pure Go, which has one.
func Choose(o Options) (Choice, error) {
	switch o.Kind {
	case Go:
		return goChoice(o.Devices)
	case XLA, CUDA:
		if !haveXLA {
			return Choice{}, fmt.Errorf(
				"backend %s: this program was built without cgo; use backend: go", o.Kind,
			)
		}
		p, err := findPlugin(o)
		if err != nil {
			return Choice{}, err
		}
		if o.Kind == CUDA {
			if o.named() == "" && !haveGPU() { // a plugin that somebody names says itself what it finds
				return Choice{}, fmt.Errorf("backend cuda: no NVIDIA device in /dev; use backend: xla or go")
			}
			return Choice{
				Kind: CUDA, Plugin: p.path, PluginSHA256: p.SHA256, Version: p.Version, Devices: o.Devices,
				Memory: o.Memory,
			}, nil
		}
		return Choice{
			Kind: XLA, Plugin: p.path, PluginSHA256: p.SHA256, Version: p.Version, Devices: o.Devices,
		}, nil
	case Auto, "":
		if _, err := os.Stat(o.Plugin); o.Plugin != "" && err != nil { // not to be passed over
			return Choice{}, fmt.Errorf("plugin: %w", err)
		}
		for _, kind := range []string{CUDA, XLA} {
			try := o
			try.Kind = kind
			if c, err := Choose(try); err == nil {
				return c, nil
			}
		}
		return goChoice(o.Devices)
	}
	return Choice{}, fmt.Errorf("backend %q: must be auto, cuda, xla or go", o.Kind)
}

func goChoice(devices []int) (Choice, error) {
	if len(devices) > 1 {
		return Choice{}, fmt.Errorf("backend go computes on one device; asked for %d in one run: "+
			"use --devices-per-run 1, or backend: xla or cuda", len(devices))
	}
	return Choice{Kind: Go, Version: moduleVersion(goModule), Devices: devices}, nil
}

// Visible lists the devices a choice of this kind may use: the NVIDIA devices
// that the kernel driver and CUDA_VISIBLE_DEVICES show, numbered from 0 as CUDA
// does; of a CPU, one.
func (c Choice) Visible() []int {
	n := 1
	if c.Kind == CUDA {
		found, _ := filepath.Glob("/dev/nvidia[0-9]*")
		n = max(n, len(found))
		if shown, set := os.LookupEnv("CUDA_VISIBLE_DEVICES"); set {
			n = max(1, min(n, len(strings.FieldsFunc(shown, func(r rune) bool { return r == ',' }))))
		}
	}
	devices := make([]int, n)
	for i := range devices {
		devices[i] = i
	}
	return devices
}

// haveGPU reports whether the kernel driver shows an NVIDIA device.
func haveGPU() bool {
	found, _ := filepath.Glob("/dev/nvidia[0-9]*")
	if len(found) > 0 {
		return true
	}
	_, err := os.Stat("/dev/dxg") // WSL 2
	return err == nil
}
