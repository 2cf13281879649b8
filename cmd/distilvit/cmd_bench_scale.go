package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/workflowservice/v1"

	"distilvit/internal/devstack"
	"distilvit/pipeline"
)

// benchScaleOptions are the flags of bench scale.
type benchScaleOptions struct {
	pictures, workers []int
	source            string
	preset, backend   string
	side, steps       int
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
	flags.StringVar(&o.source, "source", pipeline.KindCOCO, "coco or shapes")
	flags.StringVar(&o.preset, "preset", "tiny", "sizes of the network: tiny, small or base")
	flags.IntVar(&o.side, "side", 0, "pixels of the prepared pictures' sides (default: the preset's)")
	flags.IntVar(&o.steps, "steps", 20, "training steps; 0: prepare only")
	backendFlag(cmd, &o.backend)
	return cmd
}

// scaleMeasurement is what bench scale says of one dataset and number of workers.
type scaleMeasurement struct {
	Bench      string            `json:"bench"` // scale
	Source     string            `json:"source"`
	Pictures   int               `json:"pictures"`
	Workers    int               `json:"workers"`
	CPU        float64           `json:"cpu_s"` // of the workers in stage prepare, user and system time
	PerPicture float64           `json:"cpu_ms_per_picture"`
	StackCPU   float64           `json:"stack_cpu_s"` // of Temporal and the object store meanwhile
	Wall       float64           `json:"wall_s"`      // of stage prepare
	Stored     int64             `json:"stored_bytes"`
	Events     int64             `json:"history_events"`
	History    int64             `json:"history_bytes"`
	Peak       map[string]memory `json:"prepare_peak_bytes"` // by process
	Steps      int64             `json:"steps"`
	EpochPeak  map[string]memory `json:"epoch_peak_bytes,omitempty"` // the same while training
}

func (o *benchScaleOptions) check() error {
	if len(o.pictures) == 0 || len(o.workers) == 0 || o.steps < 0 {
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
	if o.source != pipeline.KindCOCO && o.source != pipeline.KindShapes {
		return usagef("--source %s: use %s or %s", o.source, pipeline.KindCOCO, pipeline.KindShapes)
	}
	return nil
}

func (a *app) benchScale(ctx context.Context, o benchScaleOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	ctx, stop := a.interruptible(ctx, "")
	defer stop()
	var list []scaleMeasurement
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
func printScale(a *app, list []scaleMeasurement) {
	t := &table{right: true}
	t.add("pictures", "workers", "CPU ms a picture", "stack's", "wall s", "stored", "events", "worker", "trainer", "Temporal", "S3")
	for _, m := range list {
		peak := func(role string) string {
			text := []string{}
			for _, p := range []map[string]memory{m.Peak, m.EpochPeak} {
				if p[role].Anonymous > 0 {
					text = append(text, bytesText(p[role].Anonymous))
				}
			}
			return strings.Join(text, " / ")
		}
		t.add(fmt.Sprintf("%d, %s", m.Pictures, m.Source), fmt.Sprint(m.Workers), fmt.Sprintf("%.3f", m.PerPicture),
			fmt.Sprintf("%.3f", 1000*m.StackCPU/float64(m.Pictures)), fmt.Sprintf("%.1f", m.Wall), bytesText(m.Stored), fmt.Sprint(m.Events),
			peak(roleWorker), peak(roleTrainer), peak(roleTemporal), peak(roleS3))
	}
	t.write(a.stdout, "")
}

// measureScale hosts a stack, starts the workers and follows one run.
func (a *app) measureScale(ctx context.Context, o benchScaleOptions, pictures, workers int) (m scaleMeasurement, err error) {
	dir, err := os.MkdirTemp("", "distilvit-scale-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	cfg, err := o.config(dir, pictures)
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
		stop, err := startScaleWorker(s.hosted.Addresses(), filepath.Join(dir, "worker-"+strconv.Itoa(i)))
		if err != nil {
			return m, err
		}
		defer stop()
	}
	if err := awaitWorkers(ctx, s); err != nil {
		return m, err
	}
	m = scaleMeasurement{Bench: "scale", Source: o.source, Pictures: pictures, Workers: workers}
	r := &scaleRun{site: s, steps: int64(o.steps), m: &m, seen: newWatched()}
	if err := startRun(ctx, s.client, scaleID, cfg); err != nil {
		return m, err
	}
	if err := r.follow(ctx); err != nil {
		return m, err
	}
	for _, prefix := range []string{"datasets/", "tokens/"} {
		for e, err := range s.store.Entries(ctx, prefix) {
			if err != nil {
				return m, err
			}
			m.Stored += e.Size
		}
	}
	return m, s.client.TerminateWorkflow(ctx, scaleID, "", "measured")
}

const scaleID = "scale"

func (o *benchScaleOptions) config(dir string, pictures int) (pipeline.Config, error) {
	cfg := pipeline.Default()
	cfg.Name, cfg.Backend, cfg.Model.Preset = scaleID, o.backend, o.preset
	cfg.Model.ImageSize = o.side
	cfg.Train.Epochs = 1
	if o.source == pipeline.KindShapes {
		held := pictures / 20
		cfg.Dataset = []pipeline.SourceConfig{{Kind: o.source, Shapes: pipeline.ShapesConfig{
			Train: pictures - 2*held, Validation: held, Test: held, MaxObjects: 3,
		}}}
		return cfg, nil
	}
	side := o.side
	if side == 0 {
		side = cfg.Resolve().Model.ImageSize
	}
	captions, images := filepath.Join(dir, "captions.json"), filepath.Join(dir, "images.zip")
	cfg.Dataset = []pipeline.SourceConfig{{Kind: o.source, Captions: captions, Images: pipeline.Paths{images}}}
	return cfg, writeScaleSource(captions, images, pictures, side)
}

// startScaleWorker starts a worker process with a directory of its own.
func startScaleWorker(to devstack.Addresses, data string) (stop func(), err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	said, err := os.Create(filepath.Join(data, "worker.log"))
	if err != nil {
		return nil, err
	}
	defer said.Close()
	cmd := exec.Command(exe, roleWorker, "--data", data)
	cmd.Env = append(os.Environ(), "TEMPORAL_ADDRESS="+to.Temporal, "TEMPORAL_NAMESPACE="+to.Namespace, "S3_ENDPOINT="+to.S3,
		"S3_ACCESS_KEY="+to.AccessKey, "S3_SECRET_KEY="+to.SecretKey, "S3_BUCKET="+bucket, "S3_SECURE=false")
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() { // the run is over, so there is nothing to save
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}, nil
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
		if err := wait(ctx, scalePoll); err != nil {
			return err
		}
	}
}

// scalePoll is how often processes and the run are looked at.
const scalePoll = 200 * time.Millisecond

// scaleRun follows a run through prepare and the first steps of its epoch.
type scaleRun struct {
	site  *site
	steps int64
	m     *scaleMeasurement
	seen  *watched

	began   time.Time     // of stage prepare; zero: not yet
	cpu     time.Duration // of the workers when it began
	stack   time.Duration
	trained bool // stage train has begun
}

func (r *scaleRun) follow(ctx context.Context) error {
	for {
		r.seen.look()
		run, described, err := describeRun(ctx, r.site.client, scaleID)
		if err != nil {
			return err
		}
		if done := r.at(run, described); done {
			return nil
		}
		if !run.open() {
			_, err := result(ctx, r.site.client, scaleID)
			return fmt.Errorf("the run %s before it was measured: %w", run.Status, err)
		}
		if err := wait(ctx, scalePoll); err != nil {
			return err
		}
	}
}

// at notes what a stage's beginning or the epoch's steps tell; done: all is measured.
func (r *scaleRun) at(run *runInfo, described *workflowservice.DescribeWorkflowExecutionResponse) (done bool) {
	switch {
	case run.Stage == pipeline.StagePrepare && r.began.IsZero():
		r.seen.reset()
		r.began, r.cpu, r.stack = time.Now(), r.seen.workers(), r.seen.stack()
	case run.Stage == pipeline.StageTrain && !r.trained:
		r.trained = true
		m, info := r.m, described.WorkflowExecutionInfo
		m.CPU, m.StackCPU = (r.seen.workers() - r.cpu).Seconds(), (r.seen.stack() - r.stack).Seconds()
		m.PerPicture, m.Wall = 1000*m.CPU/float64(m.Pictures), time.Since(r.began).Seconds()
		m.Events, m.History = info.GetHistoryLength(), info.GetHistorySizeBytes()
		m.Peak = maps.Clone(r.seen.peak)
		r.seen.reset()
	}
	if !r.trained || r.steps == 0 {
		return r.trained
	}
	for _, activity := range heartbeats(described) {
		if activity.Beat != nil {
			r.m.Steps = max(r.m.Steps, activity.Beat.Step)
		}
	}
	if r.m.Steps < r.steps && run.Stage == pipeline.StageTrain {
		return false
	}
	r.seen.look()
	r.m.EpochPeak = maps.Clone(r.seen.peak)
	return true
}
