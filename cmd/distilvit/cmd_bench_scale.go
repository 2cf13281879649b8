package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"distilvit/internal/bench"
	"distilvit/internal/devstack"
	"distilvit/internal/retry"
	"distilvit/pipeline"
	"distilvit/report"
	"distilvit/storage/layout"
)

// benchScaleOptions are the flags of bench scale.
type benchScaleOptions struct {
	pictures, workers []int
	bench.ScaleOptions
}

func (a *app) benchScaleCommand() *cobra.Command {
	var o benchScaleOptions
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "measure how memory and time grow with pictures and workers",
		Long: `Prepare generated datasets of several sizes with the real pipeline and train a few
steps on each: for every number of pictures and of workers a fresh Temporal, object
store and workers, each a process of its own, in a directory that is removed
afterwards. Peak memory is reported by process, for stage prepare and for the epoch's
first --steps steps apart: resident (-o json), and anonymous, which leaves out pages of
the program's file that the kernel keeps or not. CPU time is that of stage prepare.

Source coco is an annotation file of five captions a picture and a zip of small JPEGs
(the same 256 over again, under names of their own); shapes is drawn as it is
prepared. Several workers have directories of their own, as on several machines.`,
		Example: `  distilvit bench scale --pictures 1000,10000,100000
  distilvit bench scale --pictures 20000 --workers 1,2 --steps 0 -o json
  distilvit bench scale --source shapes --pictures 1000 --backend go --steps 2`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.benchScale(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.IntSliceVar(&o.pictures, "pictures", []int{1000, 10000, 100000}, "pictures of the datasets")
	flags.IntSliceVar(&o.workers, "workers", []int{1}, "worker processes")
	flags.StringVar(&o.Source, "source", pipeline.KindCOCO, "coco or shapes")
	flags.StringVar(&o.Preset, "preset", "tiny", "sizes of the network: tiny, small or base")
	flags.IntVar(&o.Side, "side", 0, "pixels of the prepared pictures' sides (default: the preset's)")
	flags.IntVar(&o.ShardRows, "shard-rows", 0, "prepare.shard_rows (default: a config's)")
	flags.IntVar(&o.Steps, "steps", 20, "training steps; 0: prepare only")
	backendFlag(cmd, &o.Backend)
	return cmd
}

func (o *benchScaleOptions) check() error {
	if len(o.pictures) == 0 || len(o.workers) == 0 || o.Steps < 0 {
		return usagef("--pictures and --workers need numbers, --steps cannot be negative")
	}
	for _, n := range o.pictures {
		if n < 10 {
			return usagef("--pictures %d: use 10 or more, of which some are held out", n)
		}
	}
	for _, n := range o.workers {
		if n < 1 {
			return usagef("--workers %d: use 1 or more", n)
		}
	}
	if o.Source != pipeline.KindCOCO && o.Source != pipeline.KindShapes {
		return usagef("--source %s: use %s or %s", o.Source, pipeline.KindCOCO, pipeline.KindShapes)
	}
	return nil
}

func (a *app) benchScale(ctx context.Context, o benchScaleOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	ctx, stop := a.interruptible(ctx, "")
	defer stop()
	var list []bench.ScaleMeasurement
	for _, pictures := range o.pictures {
		for _, workers := range o.workers {
			m, err := a.measureScale(ctx, o, pictures, workers)
			if err != nil {
				return fmt.Errorf("%d pictures, %d workers: %w", pictures, workers, err)
			}
			list = append(list, m)
			if a.output == "json" {
				if err := printLine(a.stdout, m); err != nil {
					return err
				}
			}
		}
	}
	if a.output != "json" {
		printScale(a, list)
	}
	return nil
}

// printScale prints a line for each measurement, anonymous memory as of prepare / epoch.
func printScale(a *app, list []bench.ScaleMeasurement) {
	t := &table{right: true}
	t.add("pictures", "workers", "CPU ms a picture", "stack's", "wall s", "stored", "events", "worker",
		"trainer", "Temporal", "S3")
	for _, m := range list {
		peak := func(role string) string {
			text := []string{}
			for _, p := range []map[string]bench.Memory{m.Peak, m.EpochPeak} {
				if p[role].Anonymous > 0 {
					text = append(text, report.Bytes(p[role].Anonymous))
				}
			}
			return strings.Join(text, " / ")
		}
		t.add(fmt.Sprintf("%d, %s", m.Pictures, m.Source), fmt.Sprint(m.Workers),
			fmt.Sprintf("%.3f", m.PerPicture), fmt.Sprintf("%.3f", 1000*m.StackCPU/float64(m.Pictures)),
			fmt.Sprintf("%.1f", m.Wall), report.Bytes(m.Stored), fmt.Sprint(m.Events),
			peak(bench.RoleWorker), peak(bench.RoleTrainer), peak(bench.RoleTemporal), peak(bench.RoleS3))
	}
	t.write(a.stdout, "")
}

// measureScale hosts a stack, starts the workers and follows one run.
func (a *app) measureScale(
	ctx context.Context, o benchScaleOptions, pictures, workers int,
) (m bench.ScaleMeasurement, err error) {
	dir, err := os.MkdirTemp("", "distilvit-scale-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	cfg, err := o.Config(dir, pictures)
	if err != nil {
		return m, err
	}
	debug.FreeOSMemory() // what drawing took is not Temporal's
	embedded := *a
	embedded.dataFlag, embedded.env = filepath.Join(dir, "stack"), withoutExternal(a.env)
	s, err := embedded.openSite(ctx, devstack.Options{})
	if err != nil {
		return m, err
	}
	defer s.close()
	for i := range workers {
		stop, err := bench.StartWorker(s.hosted.Addresses(), bucket, filepath.Join(dir, "worker-"+strconv.Itoa(i)))
		if err != nil {
			return m, err
		}
		defer stop()
	}
	if err := awaitWorkers(ctx, s); err != nil {
		return m, err
	}
	m = bench.ScaleMeasurement{Bench: "scale", Source: o.Source, Pictures: pictures, Workers: workers}
	if err := startRun(ctx, s.client, bench.ScaleID, cfg); err != nil {
		return m, err
	}
	if err := m.Follow(ctx, o.Steps, s.shown(a, fmt.Sprintf("%d pictures, %d workers", pictures, workers))); err != nil {
		return m, err
	}
	for _, prefix := range []string{layout.Datasets + "/", layout.Tokens + "/"} {
		for e, err := range s.store.Entries(ctx, prefix) {
			if err != nil {
				return m, err
			}
			m.Stored += e.Size
		}
	}
	return m, s.client.TerminateWorkflow(ctx, bench.ScaleID, "", "measured")
}

func awaitWorkers(ctx context.Context, s *site) error {
	const limit = 2 * time.Minute
	for begun := time.Now(); ; {
		missing, err := queuesWithoutWorkers(ctx, s)
		if err == nil && len(missing) == 0 {
			return nil
		}
		if time.Since(begun) > limit {
			return errors.Join(err, errors.New("the workers did not start"))
		}
		if err := retry.Pause(ctx, bench.ScalePoll); err != nil {
			return err
		}
	}
}

// shown is glance that tells now and then how far the run is: preparing a million pictures takes an hour.
func (s *site) shown(a *app, heading string) func(context.Context) (bench.Glance, error) {
	const pause = 10 * time.Second // a question costs what is measured
	p, asked := newProgress(a.stderr), time.Now()
	return func(ctx context.Context) (bench.Glance, error) {
		g, err := s.glance(ctx)
		if err != nil || time.Since(asked) < pause {
			return g, err
		}
		asked = time.Now()
		if status, err := queryStatus(ctx, s.client, bench.ScaleID); err == nil {
			p.show(heading, status.Done, status.Total, g.Stage, status.Detail)
		}
		return g, nil
	}
}

// glance is where the measured run stands; an error when it is over.
func (s *site) glance(ctx context.Context) (g bench.Glance, err error) {
	run, described, err := describeRun(ctx, s.client, bench.ScaleID)
	if err != nil {
		return g, err
	}
	if !run.open() {
		_, err := result(ctx, s.client, bench.ScaleID)
		return g, fmt.Errorf("the run %s before it was measured: %w", run.Status, err)
	}
	info := described.WorkflowExecutionInfo
	g = bench.Glance{Stage: run.Stage, Events: info.GetHistoryLength(), History: info.GetHistorySizeBytes()}
	for _, activity := range heartbeats(described) {
		if activity.Beat != nil {
			g.Step = max(g.Step, activity.Beat.Step)
		}
	}
	if g.Step > 0 || !slices.Contains([]string{pipeline.StageEvaluate, pipeline.StageExport}, g.Stage) {
		return g, nil
	}
	// An epoch shorter than the pause between two heartbeats tells its steps in the status alone.
	status, err := queryStatus(ctx, s.client, bench.ScaleID)
	if err == nil {
		g.Step = status.Step
	}
	return g, err
}
