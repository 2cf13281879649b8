package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/interceptor"

	"distilvit/internal/devstack"
	"distilvit/pipeline"
)

// benchOverheadOptions are the flags of bench overhead.
type benchOverheadOptions struct {
	network                           networkFlags
	backend                           string
	pictures, captions, tokens, epoch int
	minutes                           float64
	steps                             int
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
	flags.IntVar(&o.pictures, "pictures", 32, "pictures a step")
	flags.IntVar(&o.captions, "captions", 1, "captions a picture")
	flags.IntVar(&o.tokens, "tokens", 16, "tokens that a caption is cut at and padded to, 8 or 16")
	flags.IntVar(&o.epoch, "epochs", 5, "epochs of the run")
	flags.Float64Var(&o.minutes, "minutes", 10, "length of the training by the bare loop's first steps")
	flags.IntVar(&o.steps, "steps", 0, "steps of the training, instead of --minutes")
	backendFlag(cmd, &o.backend)
	cobra.CheckErr(flags.Lookup("preset").Value.Set("small"))
	flags.Lookup("preset").DefValue = "small"
	return cmd
}

// benchVocabulary is what the drawn pictures' captions are enough for.
const benchVocabulary = 300

func (a *app) benchOverhead(ctx context.Context, o benchOverheadOptions) error {
	if o.pictures < 1 || o.captions < 1 || o.epoch < 1 || o.steps < 0 || !(o.minutes > 0) {
		return usagef("--pictures, --captions, --epochs and --minutes must be above 0")
	}
	if o.tokens != 8 && o.tokens != 16 {
		return usagef("--tokens %d: use 8 or 16, which every batch of drawn pictures fills", o.tokens)
	}
	if o.network.vocab == 0 {
		o.network.vocab = benchVocabulary
	}
	c, err := o.network.config(o.tokens)
	if err != nil {
		return err
	}
	if external, err := a.external(); err != nil || external {
		return errors.Join(err, usagef("bench overhead measures the embedded stack: unset TEMPORAL_ADDRESS and S3_ENDPOINT"))
	}
	if o.steps == 0 {
		first, err := o.bare(ctx, 20)
		if err != nil {
			return err
		}
		o.steps = int(o.minutes * 60 / first.MeanWall)
	}
	o.steps = max(1, o.steps/o.epoch) * o.epoch
	before, err := o.bare(ctx, (o.steps+1)/2)
	if err != nil {
		return err
	}
	r := overheadReport{
		Bench: "overhead", With: before.With, Preset: o.network.preset, Pictures: o.pictures, Captions: o.captions, Tokens: o.tokens,
		Steps: o.steps, Epochs: o.epoch,
	}
	if err := a.measureRun(ctx, o.config(c.Encoder.ImageSize), &r); err != nil {
		return err
	}
	after, err := o.bare(ctx, (o.steps+1)/2)
	if err != nil {
		return err
	}
	r.Bare = []bareLoop{bareOf(before), bareOf(after)}
	r.sum()
	return a.printOverhead(r)
}

// config trains on drawn pictures, so many that an epoch has its steps.
func (o *benchOverheadOptions) config(side int) pipeline.Config {
	c := pipeline.Default()
	c.Name, c.Backend = "bench-overhead", o.backend
	held := min(100, max(8, o.steps*o.pictures/20)) // pictures of each evaluation
	c.Dataset = []pipeline.SourceConfig{{Kind: pipeline.KindShapes, Shapes: pipeline.ShapesConfig{
		Train: o.steps / o.epoch * o.pictures, Validation: held, Test: held, MaxObjects: 3, ImageSize: side,
	}}}
	c.Model.Preset, c.Model.VocabSize = o.network.preset, o.network.vocab
	c.Train.Epochs, c.Train.BatchSize, c.Train.CaptionsPerPicture, c.Train.MaxLength = o.epoch, o.pictures, o.captions, o.tokens
	c.Train.Patience = 0
	c.Export.MaxRougeDrop = 100 // of no interest here
	return c
}

// bare runs training steps in a process of their own.
func (o *benchOverheadOptions) bare(ctx context.Context, steps int) (m measurement, err error) {
	exe, err := os.Executable()
	if err != nil {
		return m, err
	}
	cmd := exec.CommandContext(ctx, exe, "bench", "train", "-o", "json", "--backend", o.backend, "--preset", o.network.preset,
		"--vocabulary", strconv.Itoa(o.network.vocab), "--pictures", strconv.Itoa(o.pictures), "--captions", strconv.Itoa(o.captions),
		"--tokens", strconv.Itoa(o.tokens), "--steps", strconv.Itoa(steps))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return m, fmt.Errorf("bench train: %w", err)
	}
	return m, json.Unmarshal(out, &m)
}

// measureRun runs a config to its published model in this process, as run does.
func (a *app) measureRun(ctx context.Context, cfg pipeline.Config, r *overheadReport) (err error) {
	dir, err := os.MkdirTemp("", "distilvit-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	in := *a
	in.dataFlag = dir
	ctx, stop := in.interruptible(ctx, "")
	defer stop()

	m := newMeter("start of the stack")
	s, err := in.openWorkingSite(ctx, devstack.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	m.enter(pipeline.StagePreflight)
	workers := startWorkers(s, workerOptions{
		slots: [][]int{{0}}, needDevice: true, trainer: in.trainerArgs(), interceptors: []interceptor.WorkerInterceptor{m},
	})
	defer func() { err = errors.Join(err, workers.stop()) }()
	if err := startRun(ctx, s.client, cfg.Name, cfg); err != nil {
		return err
	}
	f := newFollower(s.client, cfg.Name, newProgress(a.stderr))
	if _, err := followWithWorkers(ctx, s, workers, f); err != nil {
		return runFailed(cfg.Name, err)
	}
	m.enter(pipeline.StageDone)
	r.Stages = m.stages
	for _, e := range f.status.History {
		r.Loop.add(e.Times)
	}
	return nil
}
