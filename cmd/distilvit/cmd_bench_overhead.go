package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/interceptor"

	"distilvit/artifact/record"
	"distilvit/internal/bench"
	"distilvit/internal/devstack"
	"distilvit/pipeline"
)

// benchOverheadOptions are the flags of bench overhead.
type benchOverheadOptions struct {
	network networkFlags
	bench.OverheadOptions
}

func (a *app) benchOverheadCommand() *cobra.Command {
	var o benchOverheadOptions
	cmd := &cobra.Command{
		Use:   "overhead",
		Short: "measure what a pipeline costs beside its training steps",
		Long: `Measure a whole run, from config to published model, with the embedded Temporal and
object store in a temporary directory, against the bare loop: as many training steps of
the same size with their batch in memory, in a process of their own (bench train), half
of them before the run and half after it. The pictures are drawn ones.

A run's cost is counted in CPU seconds by process (this one with Temporal and the
worker, the object store, trainers) and in wall seconds, by stage. Overhead is everything
but the steps at the price they have in the bare loop, which compiles its step as well:

  training  of the epochs: opening the trainer, shards, batches, checkpoints and their
            upload, heartbeats, Temporal and the object store meanwhile
  whole     of all stages: preparing, validation, evaluation, export, publishing, too`,
		Example: `  distilvit bench overhead --preset small --minutes 10
  distilvit bench overhead --preset tiny --steps 2000 --epochs 4 -o json`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.benchOverhead(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	o.network.add(cmd)
	flags.IntVar(&o.Pictures, "pictures", 32, "pictures a step")
	flags.IntVar(&o.Captions, "captions", 1, "captions a picture")
	flags.IntVar(&o.Tokens, "tokens", 16, "tokens that a caption is cut at and padded to, 8 or 16")
	flags.IntVar(&o.Epochs, "epochs", 5, "epochs of the run")
	flags.Float64Var(&o.Minutes, "minutes", 10, "length of the training by the bare loop's first steps")
	flags.IntVar(&o.Steps, "steps", 0, "steps of the training, instead of --minutes")
	backendFlag(cmd, &o.Backend)
	cobra.CheckErr(flags.Lookup("preset").Value.Set("small"))
	flags.Lookup("preset").DefValue = "small"
	return cmd
}

func (a *app) benchOverhead(ctx context.Context, o benchOverheadOptions) error {
	if o.Pictures < 1 || o.Captions < 1 || o.Epochs < 1 || o.Steps < 0 || !(o.Minutes > 0) {
		return usagef("--pictures, --captions, --epochs and --minutes must be above 0")
	}
	if o.Tokens != 8 && o.Tokens != 16 {
		return usagef("--tokens %d: use 8 or 16, which every batch of drawn pictures fills", o.Tokens)
	}
	if o.network.vocab == 0 {
		o.network.vocab = bench.OverheadVocabulary
	}
	var err error
	if o.Network, err = o.network.network(o.Tokens); err != nil {
		return err
	}
	if external, err := a.external(); err != nil || external {
		return errors.Join(
			err, usagef("bench overhead measures the embedded stack: unset TEMPORAL_ADDRESS and S3_ENDPOINT"),
		)
	}
	r, err := bench.Overhead(ctx, o.OverheadOptions,
		func(cfg pipeline.Config) ([]bench.StageCost, []record.EpochRecord, error) {
			return a.measureRun(ctx, cfg)
		})
	if err != nil {
		return err
	}
	return a.printOverhead(r)
}

// measureRun runs a config to its published model in this process, as run does, and says what each stage
// took.
func (a *app) measureRun(
	ctx context.Context, cfg pipeline.Config,
) (stages []bench.StageCost, epochs []record.EpochRecord, err error) {
	dir, err := os.MkdirTemp("", "distilvit-bench-")
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	in := *a
	in.dataFlag = dir
	ctx, stop := in.interruptible(ctx, "")
	defer stop()

	m := bench.NewMeter("start of the stack")
	s, err := in.openWorkingSite(ctx, devstack.Options{})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	m.Enter(pipeline.StagePreflight)
	workers := startWorkers(s, workerOptions{
		slots: [][]int{{0}}, needDevice: true, trainer: in.trainerArgs(),
		interceptors: []interceptor.WorkerInterceptor{m},
	})
	defer func() { err = errors.Join(err, workers.stop()) }()
	if err := startRun(ctx, s.client, cfg.Name, cfg); err != nil {
		return nil, nil, err
	}
	f := newFollower(s.client, cfg.Name, newProgress(a.stderr))
	followed := func(ctx context.Context) error {
		_, err := f.follow(ctx)
		return err
	}
	if err := followWithWorkers(ctx, s, workers, followed); err != nil {
		return nil, nil, runFailed(cfg.Name, err)
	}
	m.Enter(pipeline.StageDone)
	return m.Stages(), f.status.History, nil
}

func (a *app) printOverhead(r bench.OverheadReport) error {
	if a.output == "json" {
		return printLine(a.stdout, r)
	}
	fmt.Fprintf(a.stdout, "%d steps of %d pictures × %d captions of %d tokens in %d epochs, %s, %s\n\n",
		r.Steps, r.Pictures, r.Captions, r.Tokens, r.Epochs, r.Preset, r.With)
	seconds := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	t := &table{right: true}
	t.add("", "wall s", "CPU s", "Temporal and worker", "object store", "trainers")
	for _, c := range r.Stages {
		t.add(c.Stage, seconds(c.Wall), seconds(c.CPU()), seconds(c.Program), seconds(c.Store),
			seconds(c.Trainer))
	}
	l := r.Loop
	t.add("of train: epochs' loops", seconds(l.Loop), seconds(l.CPU))
	t.add("  of that: compiling steps", seconds(l.Compile), seconds(l.CompileCPU))
	t.add("  of that: saving checkpoints", seconds(l.Checkpoint), seconds(l.CheckpointCPU))
	t.add("  of that: waiting for batches", seconds(l.Input))
	t.write(a.stdout, "")
	fmt.Fprintln(a.stdout)
	t = &table{right: true}
	t.add("bare loop", "wall s a step", "CPU s a step", "first step, CPU s")
	for i, b := range r.Bare {
		t.add([]string{"before", "after"}[i], fmt.Sprintf("%.4f", b.Wall), fmt.Sprintf("%.4f", b.CPU),
			seconds(b.FirstCPU))
	}
	t.write(a.stdout, "")
	fmt.Fprintln(a.stdout)
	t = &table{right: true}
	t.add("overhead", "wall s", "%", "CPU s", "%")
	for _, o := range []struct {
		name string
		of   bench.OverheadOf
	}{
		{"training, against the bare loop", r.Training},
		{"training, as seen beside the run's own steps", r.Seen},
		{"the whole run, against the bare loop", r.Whole},
	} {
		t.add(o.name, seconds(o.of.Wall), seconds(o.of.WallPercent), seconds(o.of.CPU), seconds(o.of.CPUPercent))
	}
	t.write(a.stdout, "")
	return nil
}
