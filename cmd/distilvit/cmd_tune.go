package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// tuneOptions are the flags of tune.
type tuneOptions struct {
	sweepOptions
	epochs     int
	steps      int
	batchSizes []int
}

func (a *app) tuneCommand() *cobra.Command {
	var o tuneOptions
	cmd := &cobra.Command{
		Use:   "tune -f CONFIG [--id NAME] [--set key=value]",
		Short: "find a learning rate for a run's config by a few short runs",
		Long: `Train a run's config for an epoch with learning rates around its own, a tenth, a third, as it
is, three and ten times as much, and say which lowers the loss of the validation pictures
most. It is a sweep: a table while it goes on, Ctrl-C and the same command again goes on,
distilvit sweep --id NAME shows it.

The rate stays constant after its warm-up, so that few steps tell; batch sizes can be tried
with it. What is printed goes into the config. The best rate of a short training is an upper
bound for a long one, more often than not: where both are close, take the smaller.`,
		Example: `  distilvit tune -f config.yaml
  distilvit tune -f config.yaml --max-steps 200 --batch-sizes 16,64
  distilvit tune -f config.yaml --set train.learning_rate=0.001   # around another one`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.tune(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.file, "file", "f", "", "run's config, YAML or JSON; - is stdin")
	flags.StringVar(&o.id, "id", "", "name of the sweep (default: from the file's name and the time)")
	flags.StringArrayVar(&o.sets, "set", nil, "set a key of the config, as train.learning_rate=0.001; may be repeated")
	flags.IntVar(&o.epochs, "epochs", 1, "epochs of each training")
	flags.IntVar(&o.steps, "max-steps", 0, "steps of each training at most (default: those of its epochs)")
	flags.IntSliceVar(&o.batchSizes, "batch-sizes", nil, "values of train.batch_size to try, each with every rate")
	flags.BoolVar(&o.dryRun, "dry-run", false, "only print the trials")
	stackFlags(cmd, &o.stack)
	o.devices.add(cmd, nil, 0)
	return cmd
}

func (a *app) tune(ctx context.Context, o tuneOptions) error {
	if o.file == "" {
		return usagef("tune needs -f CONFIG, the config of a run")
	}
	cfg, err := readConfig(o.file, o.sets, a.stdin)
	if err != nil {
		return err
	}
	spec, err := tuning(cfg, o)
	if err != nil {
		return err
	}
	if o.id == "" {
		o.id = newRunID("tune-"+nameOf(o.file), time.Now())
	}
	o.after = func(s *pipeline.SweepStatus) error { return a.printTuned(spec, s) }
	return a.startSweep(ctx, o.sweepOptions, spec)
}

const rateKey = "train.learning_rate"

// around are the factors by which a learning rate is tried.
var around = []float64{0.1, 0.3, 1, 3, 10}

// tuning is the sweep that finds a learning rate for a run's config.
func tuning(cfg pipeline.Config, o tuneOptions) (pipeline.Sweep, error) {
	t := &cfg.Train
	t.Epochs, t.MaxSteps, t.Patience = o.epochs, o.steps, 0
	t.LRSchedulerType, t.WarmupSteps = pipeline.ConstantAfterWarmup, 0
	cfg.Export.Dtypes = []string{pipeline.DtypeFP32} // a trial is a run, and a run has an export
	cfg.Export.Calibrate, cfg.Export.Mixed, cfg.Export.MaxSizeMiB = 0, false, 0
	cfg.Publish.Push, cfg.Publish.Approve = "", false

	spec := pipeline.SweepDefault()
	spec.Run, spec.Metric = cfg, record.MetricLoss
	var rates, sizes []json.RawMessage
	for _, factor := range around {
		rates = append(rates, json.RawMessage(strconv.FormatFloat(factor*t.LearningRate, 'g', 3, 64)))
	}
	spec.Parameters = map[string]pipeline.Parameter{rateKey: {Values: rates}}
	for _, size := range o.batchSizes {
		sizes = append(sizes, json.RawMessage(strconv.Itoa(size)))
	}
	if len(sizes) > 0 {
		spec.Parameters["train.batch_size"] = pipeline.Parameter{Values: sizes}
	}
	return spec, spec.Validate()
}

// printTuned shows what goes into the config, and whether to look further.
func (a *app) printTuned(spec pipeline.Sweep, s *pipeline.SweepStatus) error {
	fmt.Fprint(a.stdout, "\nfor the config:\n  train:\n")
	for _, setting := range s.Trials[s.Ranking()[0]].Settings {
		fmt.Fprintf(a.stdout, "    %s: %s\n", strings.TrimPrefix(setting.Key, "train."), setting.Text())
	}
	if rate, edge := edgeOf(spec, s); edge {
		fmt.Fprintf(a.stdout, "the rate is at the edge of what was tried; look further with --set %s\n", rate)
	}
	return nil
}

// edgeOf is the best trial's learning rate, and whether none that was tried lies beyond it.
func edgeOf(spec pipeline.Sweep, s *pipeline.SweepStatus) (rate pipeline.Setting, edge bool) {
	for _, rate = range s.Trials[s.Ranking()[0]].Settings {
		if tried := spec.Parameters[rate.Key].Values; rate.Key == rateKey {
			return rate, string(rate.Value) == string(tried[0]) || string(rate.Value) == string(tried[len(tried)-1])
		}
	}
	return rate, false
}
