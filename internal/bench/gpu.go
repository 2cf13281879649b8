package bench

import (
	"fmt"
	"strconv"
	"strings"

	"distilvit/internal/backend"
)

// GPUOptions say how much bench gpu does.
type GPUOptions struct {
	Preset     string
	Backend    string // kind of it: cuda, or xla or go to try it where there is no GPU
	Pictures   int    // of a training step, five captions each; the recipe's step has as many captions
	Steps      int    // measured, of each kind
	Repeat     int    // steps whose weights two processes compare, at least 2
	Batch      int    // pictures that are captioned at once
	Tokens     int    // that the recipe's captions are padded to: 128 where the network has room for them
	Precisions []string
}

// GPUPart is one process of bench gpu.
type GPUPart struct {
	What      string   // in words
	Precision string   // of matrix products
	Args      []string // of distilvit bench; of reference.py where Python is set
	Python    bool
	Twin      bool // the weights that it ends with are to be those of the part before it
}

// GPUResult is what a part found, or in Error why it found nothing.
type GPUResult struct {
	Part         string      `json:"part"`
	Precision    string      `json:"precision"`
	PyTorch      bool        `json:"pytorch"`
	Measured     Measurement `json:"measured"`
	DeviceMemory int64       `json:"device_memory_bytes,omitempty"` // most in use on all devices; 0: not known
	SameBits     *bool       `json:"same_bits,omitempty"`           // as the part before it; nil: not compared
	Error        string      `json:"error,omitempty"`
}

// Parts lists the processes, the most telling first, for the time may end before all are done. With python the
// recipe in PyTorch stands beside ours.
func (o GPUOptions) Parts(python bool) []GPUPart {
	var parts []GPUPart
	for _, precision := range o.Precisions {
		parts = append(parts, o.train("five captions a picture, 16 tokens", precision, o.Pictures, 5, 16))
		parts = append(parts, o.train(o.recipe(), precision, 5*o.Pictures, 1, o.Tokens))
		if python {
			for _, compile := range []bool{false, true} {
				parts = append(parts, o.reference(precision, compile))
			}
		}
	}
	parts = append(parts, GPUPart{
		What: fmt.Sprintf("greedy captions of 20 tokens, %d at once", o.Batch), Precision: "float32",
		Args: []string{
			"caption", "--preset", o.Preset, "--backend", o.Backend, "--batch", strconv.Itoa(o.Batch),
			"--tokens", "20", "--rounds", strconv.Itoa(o.Steps),
		},
	})
	last := o.Precisions[len(o.Precisions)-1]
	for _, deterministic := range []bool{false, true} {
		for run := range 2 {
			p := o.train(fmt.Sprintf("%d steps, train.deterministic: %t, process %d", o.Repeat, deterministic, run+1),
				last, o.Pictures, 5, 16)
			p.Args = append(p.Args, "--digest", "--deterministic="+strconv.FormatBool(deterministic),
				"--steps", strconv.Itoa(o.Repeat-1), "--warmup", "1")
			p.Twin = run == 1
			parts = append(parts, p)
		}
	}
	return parts
}

func (o GPUOptions) recipe() string { return fmt.Sprintf("a caption a picture, %d tokens", o.Tokens) }

func (o GPUOptions) train(what, precision string, pictures, captions, tokens int) GPUPart {
	return GPUPart{What: "training, " + what, Precision: precision, Args: []string{
		"train", "--preset", o.Preset, "--backend", o.Backend, "--precision", precision,
		"--pictures", strconv.Itoa(pictures), "--captions", strconv.Itoa(captions), "--tokens", strconv.Itoa(tokens),
		"--steps", strconv.Itoa(o.Steps),
	}}
}

func (o GPUOptions) reference(precision string, compile bool) GPUPart {
	device := "cpu"
	if o.Backend == backend.CUDA {
		device = "cuda"
	}
	p := GPUPart{What: "training, a caption a picture, 128 tokens, base", Precision: precision, Python: true, Args: []string{
		"train", "--recipe", "--pictures", strconv.Itoa(5 * o.Pictures), "--steps", strconv.Itoa(o.Steps),
		"--device", device, "--precision", precision,
	}}
	if compile {
		p.What += ", torch.compile"
		p.Args = append(p.Args, "--compile")
	}
	return p
}

// GPUTable is the results in Markdown.
func GPUTable(machine []string, results []GPUResult) string {
	var b strings.Builder
	for _, line := range machine {
		fmt.Fprintf(&b, "%s  \n", line)
	}
	fmt.Fprint(&b, "\n| what | by | precision | s a step | captions a s | first step s | device memory | host memory |\n",
		"|---|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		by := "distilvit"
		if r.PyTorch {
			by = "PyTorch"
		}
		if r.Error != "" {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | | | | |\n", r.Part, by, r.Precision, strings.ReplaceAll(r.Error, "|", "/"))
			continue
		}
		m, what := r.Measured, r.Part
		if r.SameBits != nil {
			what += map[bool]string{true: ": **same bits**", false: ": **other bits**"}[*r.SameBits]
		}
		captions := float64(m.Pictures*max(1, m.Captions)) / max(m.Wall, 1e-9)
		fmt.Fprintf(&b, "| %s | %s | %s | %.4g | %.4g | %.4g | %s | %.2f GB |\n", what, by, r.Precision, m.Wall, captions,
			m.First, gigabytes(r.DeviceMemory), float64(m.Peak)/1e9)
	}
	return b.String()
}

func gigabytes(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}
