package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"

	"distilvit/internal/backend"
	"distilvit/internal/bench"
	"distilvit/model"
	"distilvit/model/preset"
	"distilvit/report"
)

func (a *app) benchCommand() *cobra.Command {
	parent := &cobra.Command{
		Use:   "bench",
		Short: "measure training, captioning, preparing, growth and overhead on this machine",
		Args:  args(1, 1, "gpu, train, caption, prepare, scale or overhead"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return usagef(
				"bench %s: use bench gpu, bench train, bench caption, bench prepare, bench scale or bench overhead",
				args[0],
			)
		},
	}
	parent.AddCommand(a.benchTrainCommand(), a.benchCaptionCommand(), a.benchPrepareCommand(),
		a.benchScaleCommand(),
		a.benchOverheadCommand(), a.benchGPUCommand())
	return parent
}

// roundFlags adds the flags that say how often work is repeated.
func roundFlags(cmd *cobra.Command, r *bench.Rounds, name string, rounds, warmup int) {
	cmd.Flags().IntVar(&r.Count, name, rounds, name+" to measure, of which the median counts")
	cmd.Flags().IntVar(&r.Warmup, "warmup", warmup, name+" before those, at least 1")
}

func checkRounds(r bench.Rounds) error {
	if r.Count < 1 || r.Warmup < 1 {
		return usagef("bench needs at least 1 round and 1 round for warming up")
	}
	return nil
}

// printMeasurements prints a JSON object a line or a table.
func (a *app) printMeasurements(list ...bench.Measurement) error {
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
		t.add(m.Work+", "+m.With, fmt.Sprint(m.Rounds), fmt.Sprintf("%.4g", m.CPU), fmt.Sprintf("%.4g", m.Wall),
			fmt.Sprintf("%.4g", m.FirstCPU), fmt.Sprintf("%.4g %s", m.PerCPU, m.Unit), report.Bytes(m.Peak), bytes)
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
	flags.StringVar(&f.preset, "preset", "base", "sizes of the network: "+strings.Join(preset.Names(), ", "))
	flags.IntVar(&f.vocab, "vocabulary", 0, "tokens of the vocabulary (default: the preset's)")
	flags.Uint64Var(&f.seed, "seed", 1, "of the random weights")
}

// network is the one that the flags name; captions of so many tokens must fit into it.
func (f *networkFlags) network(tokens int) (bench.Network, error) {
	c, ok := model.Preset(f.preset)
	if !ok {
		return bench.Network{}, usagef("--preset %s: use one of %s", f.preset, strings.Join(preset.Names(), ", "))
	}
	if f.vocab == 0 {
		f.vocab = bench.Defaults(f.preset).Model.VocabSize
	}
	if f.vocab < 2 {
		return bench.Network{}, usagef("--vocabulary %d: use 2 or more", f.vocab)
	}
	if tokens < 1 || tokens >= c.Positions() {
		return bench.Network{}, usagef("--tokens %d: use 1 to %d", tokens, c.Positions()-1)
	}
	return bench.NewNetwork(f.preset, c, f.vocab, f.seed), nil
}

// openAsTrainer opens a backend with all that a trainer's process has in its
// environment: XLA's memory settings are read when a process starts, so this
// program becomes itself once more, with them.
func openAsTrainer(choice backend.Choice) (compute.Backend, error) {
	if choice.Kind != backend.Go && os.Getenv(againVariable) == "" {
		return nil, again(append(backend.Env(choice), againVariable+"=1"))
	}
	return backend.Open(choice)
}
