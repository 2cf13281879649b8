package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	reference "distilvit/bench"
	"distilvit/internal/backend"
	"distilvit/internal/bench"
	"distilvit/internal/version"
	"distilvit/model"
	"distilvit/model/train"
)

// benchGPUOptions are the flags of bench gpu.
type benchGPUOptions struct {
	bench.GPUOptions
	limit  time.Duration
	python string
	out    string
}

func (a *app) benchGPUCommand() *cobra.Command {
	var o benchGPUOptions
	cmd := &cobra.Command{
		Use:   "gpu",
		Short: "measure all that a GPU is asked first, in minutes and without a network",
		Long: `Measure what a new GPU is asked first, each in a process of its own: training steps
of five captions a picture and of the Python recipe's form in float32, tf32 and bf16,
captions, device memory, and whether two processes end with the same bits, with
train.deterministic and without. With --python the recipe in PyTorch, eager and compiled,
stands beside it. bench/gpu.md says how to bring program and plugin to a machine without
a network.

What does not fit into --limit is left out and said; the most telling comes first.
Prints a table in Markdown, or with -o json an object a line; --out writes both.`,
		Example: `  distilvit bench gpu --out results
  distilvit bench gpu --python /opt/venv/bin/python --limit 9m
  distilvit bench gpu --backend xla --preset tiny --pictures 2 --steps 2   # to try it without a GPU`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.benchGPU(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Preset, "preset", "base", "sizes of the network: tiny, small or base")
	flags.IntVar(&o.Pictures, "pictures", 8, "pictures of a step of five captions; the recipe's has five times as many")
	flags.IntVar(&o.Steps, "steps", 20, "steps and batches to measure, of which the median counts")
	flags.IntVar(&o.Repeat, "repeat", 50, "steps after which two processes compare their weights")
	flags.IntVar(&o.Batch, "batch", 64, "pictures that are captioned at once")
	flags.DurationVar(&o.limit, "limit", 9*time.Minute, "time for all of it")
	flags.StringVar(&o.python, "python", "", "a Python with torch and transformers to measure beside; default: none")
	flags.StringVar(&o.out, "out", "", "folder for bench-gpu.json and bench-gpu.md; default: none")
	flags.StringVar(&o.Backend, "backend", backend.CUDA, "cuda; xla or go to try it without a GPU")
	return cmd
}

func (a *app) benchGPU(ctx context.Context, o benchGPUOptions) error {
	if o.Pictures < 1 || o.Steps < 1 || o.Repeat < 2 || o.Batch < 1 {
		return usagef("--pictures, --steps and --batch must be at least 1, --repeat at least 2")
	}
	choice, err := chooseBackend(o.Backend)
	if err != nil {
		return err
	}
	o.Precisions = map[string][]string{
		backend.CUDA: {train.Float32, train.TF32, train.BF16},
		backend.XLA:  {train.Float32, train.BF16},
	}[choice.Kind]
	if o.Precisions == nil {
		o.Precisions = []string{train.Float32}
	}
	preset, ok := model.Preset(o.Preset)
	if !ok {
		return usagef("--preset %s: use tiny, small or base", o.Preset)
	}
	o.Tokens = min(128, preset.Positions()-1)
	dir, err := os.MkdirTemp("", "distilvit-gpu-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	script := filepath.Join(dir, "reference.py")
	if err := os.WriteFile(script, reference.Reference, 0o644); err != nil {
		return err
	}
	var results []bench.GPUResult
	deadline, longest := time.Now().Add(o.limit), time.Duration(0)
	parts := o.Parts(o.python != "")
	for i, p := range parts {
		fmt.Fprintf(a.stderr, "%d of %d: %s, %s\n", i+1, len(parts), p.What, p.Precision)
		begun := time.Now()
		r := a.gpuPart(ctx, p, o.python, script, min(longest, time.Until(deadline)/2), deadline)
		if p.Twin && r.Error == "" && results[i-1].Error == "" {
			same := r.Measured.Weights == results[i-1].Measured.Weights
			r.SameBits = &same
		}
		if results = append(results, r); r.Error != "" {
			fmt.Fprintf(a.stderr, "  %s\n", r.Error)
		}
		longest = max(longest, time.Since(begun))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err := a.printGPU(o.out, gpuMachine(choice), results); err != nil {
		return err
	}
	if !slices.ContainsFunc(results, func(r bench.GPUResult) bool { return r.Error == "" }) {
		return fmt.Errorf("nothing could be measured; the first part says: %s", results[0].Error)
	}
	return nil
}

// gpuMachine says in lines what was measured.
func gpuMachine(c backend.Choice) []string {
	f := backend.Fingerprint(c)
	return []string{
		"distilvit " + version.Program() + ", " + c.String(),
		cmp.Or(f["gpu"], "no GPU"), "plugin SHA-256 " + cmp.Or(c.PluginSHA256, "none"),
		time.Now().UTC().Format(time.DateOnly),
	}
}

// gpuPart runs one process; it is left out where the time left is less than need.
func (a *app) gpuPart(
	ctx context.Context, p bench.GPUPart, python, script string, need time.Duration, deadline time.Time,
) bench.GPUResult {
	r := bench.GPUResult{Part: p.What, Precision: p.Precision, PyTorch: p.Python}
	if time.Until(deadline) <= need {
		r.Error = "left out: no time left"
		return r
	}
	ctx, cancel := context.WithDeadlineCause(ctx, deadline, errors.New("left out: the time was over"))
	defer cancel()
	exe, err := os.Executable()
	if err != nil {
		r.Error = err.Error()
		return r
	}
	args := append([]string{"bench", "-o", "json"}, p.Args...)
	if p.Python {
		exe, args = python, append([]string{script}, p.Args...)
	}
	r.Measured, r.DeviceMemory, err = measuredBy(ctx, exe, args)
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// measuredBy is the measurement that a command prints, and the most memory of the devices meanwhile.
func measuredBy(ctx context.Context, exe string, args []string) (m bench.Measurement, memory int64, err error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, 5*time.Second
	watching, stop := context.WithCancel(ctx)
	used := make(chan int64, 1)
	go func() { used <- deviceMemory(watching) }()
	err = cmd.Run()
	stop()
	memory = <-used
	if cause := context.Cause(ctx); cause != nil {
		return m, memory, cause
	}
	if err != nil {
		return m, memory, fmt.Errorf("%w: %s", err, lastLine(stderr.String()))
	}
	line := lastLine(stdout.String())
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		return m, memory, fmt.Errorf("printed %q: %w", line, err)
	}
	return m, memory, nil
}

// deviceMemory watches the memory in use on all NVIDIA devices until ctx ends: the most that was seen, in bytes, or
// 0 where nvidia-smi does not say.
func deviceMemory(ctx context.Context) (most int64) {
	for ctx.Err() == nil {
		out, err := exec.CommandContext(
			ctx, "nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits",
		).Output()
		if err != nil {
			return most
		}
		var sum int64
		for _, field := range strings.Fields(string(out)) {
			mib, _ := strconv.ParseInt(field, 10, 64) // [N/A] counts as none
			sum += mib << 20
		}
		most = max(most, sum)
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return most
}

// printGPU prints the table or the results, and writes both into the folder out; empty: does not.
func (a *app) printGPU(out string, machine []string, results []bench.GPUResult) error {
	text := bench.GPUTable(machine, results)
	var lines bytes.Buffer
	for _, r := range results {
		if err := printLine(&lines, r); err != nil {
			return err
		}
	}
	if out != "" {
		if err := os.MkdirAll(out, 0o755); err != nil {
			return err
		}
		for name, content := range map[string][]byte{"bench-gpu.json": lines.Bytes(), "bench-gpu.md": []byte(text)} {
			if err := os.WriteFile(filepath.Join(out, name), content, 0o644); err != nil {
				return err
			}
		}
	}
	if a.output == "json" {
		_, err := a.stdout.Write(lines.Bytes())
		return err
	}
	fmt.Fprint(a.stdout, text)
	return nil
}
