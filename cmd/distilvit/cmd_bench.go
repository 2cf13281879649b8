package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"

	"distilvit/internal/backend"
	"distilvit/model"
	"distilvit/pipeline"
)

func (a *app) benchCommand() *cobra.Command {
	parent := &cobra.Command{
		Use:   "bench",
		Short: "measure training, captioning, preparing, growth and overhead on this machine",
		Args:  args(1, 1, "train, caption, prepare, scale or overhead"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return usagef("bench %s: use bench train, bench caption, bench prepare, bench scale or bench overhead", args[0])
		},
	}
	parent.AddCommand(a.benchTrainCommand(), a.benchCaptionCommand(), a.benchPrepareCommand(), a.benchScaleCommand(), a.benchOverheadCommand())
	return parent
}

// measurement is what bench says of one kind of work: rounds of the same work in
// one process, of which the first ones, that compile and touch memory, are apart.
type measurement struct {
	Bench    string  `json:"bench"`              // train, caption or prepare
	Work     string  `json:"work"`               // what a round is
	With     string  `json:"with"`               // what computed
	Preset   string  `json:"preset,omitempty"`   // sizes of the network
	Pictures int     `json:"pictures"`           // of a round
	Captions int     `json:"captions,omitempty"` // of a picture
	Tokens   int     `json:"tokens,omitempty"`   // of a caption
	Rounds   int     `json:"rounds"`             // measured
	CPU      float64 `json:"cpu_s"`              // of a round, seconds of user and system time, median
	Wall     float64 `json:"wall_s"`             // of a round, median
	Unit     string  `json:"unit"`               // what per_cpu_s counts
	PerCPU   float64 `json:"per_cpu_s"`          // units of work for a second of CPU time
	FirstCPU float64 `json:"first_cpu_s"`        // of the very first round
	First    float64 `json:"first_wall_s"`       // of the very first round
	MeanCPU  float64 `json:"mean_cpu_s"`         // of a round, mean
	MeanWall float64 `json:"mean_wall_s"`        // of a round, mean
	Peak     int64   `json:"peak_bytes"`         // resident memory of this process, at the most so far
	Bytes    float64 `json:"bytes_per_picture,omitempty"`
}

// roundFlags say how often work is repeated.
type roundFlags struct{ rounds, warmup int }

func (f *roundFlags) add(cmd *cobra.Command, name string, rounds, warmup int) {
	cmd.Flags().IntVar(&f.rounds, name, rounds, name+" to measure, of which the median counts")
	cmd.Flags().IntVar(&f.warmup, "warmup", warmup, name+" before those, at least 1")
}

func (f *roundFlags) check() error {
	if f.rounds < 1 || f.warmup < 1 {
		return usagef("bench needs at least 1 round and 1 round for warming up")
	}
	return nil
}

// measure repeats work and fills m in, whose units are those of one round.
func (f *roundFlags) measure(m *measurement, units int, work func() error) error {
	var cpu, wall []float64
	for i := range f.warmup + f.rounds {
		begun, used := time.Now(), cpuTime()
		if err := work(); err != nil {
			return err
		}
		c, w := (cpuTime() - used).Seconds(), time.Since(begun).Seconds()
		if i == 0 {
			m.FirstCPU, m.First = c, w
		}
		if i >= f.warmup {
			cpu, wall = append(cpu, c), append(wall, w)
		}
	}
	m.Rounds, m.CPU, m.Wall = f.rounds, median(cpu), median(wall)
	m.MeanCPU, m.MeanWall = mean(cpu), mean(wall)
	m.PerCPU = float64(units) / max(m.CPU, 1e-9)
	m.Peak = peakMemory()
	return nil
}

// median of a list that is not empty.
func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// mean of a list that is not empty.
func mean(list []float64) (sum float64) {
	for _, x := range list {
		sum += x
	}
	return sum / float64(len(list))
}

// cpuTime is the user and system time of this process so far.
func cpuTime() time.Duration {
	u := usage()
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakMemory is the most resident memory of this process so far, in bytes.
func peakMemory() int64 { return usage().Maxrss << 10 }

func usage() (u syscall.Rusage) {
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for no process but another
	return u
}

// printMeasurements prints a JSON object a line or a table.
func (a *app) printMeasurements(list ...measurement) error {
	if a.output == "json" {
		for _, m := range list {
			if err := printLine(a.stdout, m); err != nil {
				return err
			}
		}
		return nil
	}
	t := &table{right: true}
	t.add("", "rounds", "CPU s", "wall s", "first CPU s", "per CPU s", "peak memory", "bytes a picture")
	for _, m := range list {
		bytes := ""
		if m.Bytes > 0 {
			bytes = fmt.Sprintf("%.0f", m.Bytes)
		}
		t.add(m.Work+", "+m.With, fmt.Sprint(m.Rounds), fmt.Sprintf("%.4g", m.CPU), fmt.Sprintf("%.4g", m.Wall), fmt.Sprintf("%.4g", m.FirstCPU),
			fmt.Sprintf("%.4g %s", m.PerCPU, m.Unit), bytesText(m.Peak), bytes)
	}
	t.write(a.stdout, "")
	return nil
}

// networkFlags say which network with random weights is measured.
type networkFlags struct {
	preset string
	vocab  int
	seed   uint64
}

func (f *networkFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.preset, "preset", "base", "sizes of the network: tiny, small or base")
	flags.IntVar(&f.vocab, "vocabulary", 0, "tokens of the vocabulary (default: the preset's)")
	flags.Uint64Var(&f.seed, "seed", 1, "of the random weights")
}

// config is the network's; tokens must fit into it.
func (f *networkFlags) config(tokens int) (*model.Config, error) {
	c, ok := model.Preset(f.preset)
	if !ok {
		return nil, usagef("--preset %s: use tiny, small or base", f.preset)
	}
	if f.vocab == 0 {
		f.vocab = f.defaults().Model.VocabSize
	}
	if f.vocab < 2 {
		return nil, usagef("--vocabulary %d: use 2 or more", f.vocab)
	}
	c.Decoder.VocabSize = f.vocab
	c.SetSpecialToken(f.vocab - 1)
	c.EOSTokenID = f.vocab - 2 // a random network repeats the start token, which must not end it
	if tokens < 1 || tokens >= c.Decoder.NPositions {
		return nil, usagef("--tokens %d: use 1 to %d", tokens, c.Decoder.NPositions-1)
	}
	return &c, nil
}

// defaults are those of a run's config with that preset.
func (f *networkFlags) defaults() pipeline.Config {
	c := pipeline.Default()
	c.Model.Preset = f.preset
	return c.Resolve()
}

// openAsTrainer opens a backend with all that a trainer's process has in its
// environment: XLA's memory settings are read when a process starts, so this
// program becomes itself once more, with them.
func openAsTrainer(kind string) (compute.Backend, backend.Choice, error) {
	choice, err := chooseBackend(kind)
	if err != nil {
		return nil, choice, err
	}
	if choice.Kind != backend.Go && os.Getenv(againVariable) == "" {
		return nil, choice, again(append(backend.Env(choice), againVariable+"=1"))
	}
	be, err := backend.Open(choice)
	return be, choice, err
}

// randomPixels are pictures of noise, which cost a network what any others do.
func randomPixels(n int) []uint8 {
	rng := rand.New(rand.NewPCG(1, 2))
	pixels := make([]uint8, n)
	for i := range pixels {
		pixels[i] = uint8(rng.Uint32())
	}
	return pixels
}
