// Package backend chooses, installs and opens what computes: XLA on a CUDA
// device, XLA on the CPU, or GoMLX's pure-Go backend. It knows files, versions
// and the numerics fingerprint, nothing of models. Start reading at Choose.
package backend

import (
	"fmt"
	"os"
	"path/filepath"
)

// Kinds of backend. Auto picks the first of CUDA, XLA, Go that is there.
const (
	Auto = "auto"
	CUDA = "cuda"
	XLA  = "xla"
	Go   = "go"
)

// Options say what to choose from.
type Options struct {
	Kind       string // auto, cuda, xla or go; empty is auto
	CacheDir   string // where Install puts plugins
	Plugin     string // explicit path of a PJRT plugin for xla or cuda; empty: look in CacheDir
	Device     int    // index of the CUDA device
	CPUDevices int    // devices the XLA CPU plugin shows; 0: 1
}

// Choice is a backend that was found: enough to open it in another process.
type Choice struct {
	Kind         string `json:"kind"`                    // cuda, xla or go
	Plugin       string `json:"plugin,omitempty"`        // path of the PJRT plugin
	PluginSHA256 string `json:"plugin_sha256,omitempty"` // lower-case hex
	Version      string `json:"version"`                 // of the plugin's package, or of the module of the Go backend
	Device       int    `json:"device,omitempty"`        // CUDA device's index
	CPUDevices   int    `json:"cpu_devices,omitempty"`   // XLA on the CPU
}

// String names the choice in one line.
func (c Choice) String() string {
	switch c.Kind {
	case CUDA:
		return fmt.Sprintf("XLA on CUDA device %d (plugin %s)", c.Device, c.Version)
	case XLA:
		return fmt.Sprintf("XLA on the CPU (plugin %s)", c.Version)
	}
	return fmt.Sprintf("pure Go (%s)", c.Version)
}

// Choose looks at files only: nothing is downloaded, loaded or started. Auto is
// CUDA if a GPU and its plugin are there, else XLA on the CPU if its plugin is,
// else pure Go. A kind asked for by name that is not there is an error that
// says how to get it.
func Choose(o Options) (Choice, error) {
	cpuDevices := max(o.CPUDevices, 1)
	switch o.Kind {
	case Go:
		return goChoice(), nil
	case XLA, CUDA:
		if !haveXLA {
			return Choice{}, fmt.Errorf("backend %s: this program was built without cgo; use backend: go", o.Kind)
		}
		p, err := findPlugin(o)
		if err != nil {
			return Choice{}, err
		}
		if o.Kind == CUDA {
			if !haveGPU() {
				return Choice{}, fmt.Errorf("backend cuda: no NVIDIA device in /dev; use backend: xla or go")
			}
			return Choice{Kind: CUDA, Plugin: p.path, PluginSHA256: p.SHA256, Version: p.Version, Device: o.Device}, nil
		}
		return Choice{Kind: XLA, Plugin: p.path, PluginSHA256: p.SHA256, Version: p.Version, CPUDevices: cpuDevices}, nil
	case Auto, "":
		if o.Plugin != "" {
			return Choice{}, fmt.Errorf("backend auto: plugin %s is given, so say backend: xla or cuda", o.Plugin)
		}
		for _, kind := range []string{CUDA, XLA} {
			try := o
			try.Kind = kind
			if c, err := Choose(try); err == nil {
				return c, nil
			}
		}
		return goChoice(), nil
	}
	return Choice{}, fmt.Errorf("backend %q: must be auto, cuda, xla or go", o.Kind)
}

func goChoice() Choice {
	return Choice{Kind: Go, Version: moduleVersion(goModule)}
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
