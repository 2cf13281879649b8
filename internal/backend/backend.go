// Package backend chooses, installs and opens what computes: XLA on a CUDA
// device, XLA on the CPU, or GoMLX's pure-Go backend. It knows files, versions
// and the numerics fingerprint, nothing of models. Start reading at Choose.
package backend

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
	Device     int    // index of the CUDA device
	CPUDevices int    // devices the XLA CPU plugin shows; 0: 1
}

// Choice is a backend that was found: enough to open it in another process.
type Choice struct {
	Kind         string `json:"kind"`                    // cuda, xla or go
	Plugin       string `json:"plugin,omitempty"`        // path of the PJRT plugin
	PluginSHA256 string `json:"plugin_sha256,omitempty"` // lower-case hex
	Version      string `json:"version"`                 // of the plugin's package, or of GoMLX's Go backend
	Device       int    `json:"device,omitempty"`        // CUDA device's index
	CPUDevices   int    `json:"cpu_devices,omitempty"`   // XLA on the CPU
}
