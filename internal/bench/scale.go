package bench

import (
	"cmp"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"distilvit/internal/devstack"
	"distilvit/pipeline"
)

// ScaleOptions say which datasets are prepared and what is trained on each.
type ScaleOptions struct {
	Source  string // pipeline.KindCOCO or pipeline.KindShapes
	Preset  string // sizes of the network: tiny, small or base
	Backend string
	Side    int // pixels of a prepared picture's sides; 0: the preset's
	Steps   int // of training; 0: prepare only

	ShardRows int // prepare.shard_rows; 0: the default
}

// ScaleMeasurement is what was found of one dataset with one number of workers.
type ScaleMeasurement struct {
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
	Peak       map[string]Memory `json:"prepare_peak_bytes"` // by process
	Steps      int64             `json:"steps"`
	EpochPeak  map[string]Memory `json:"epoch_peak_bytes,omitempty"` // the same while training
}

// ScaleID is the run's id, and its model's name.
const ScaleID = "scale"

// Config is that of a run on so many generated pictures, whose files are written into dir.
func (o ScaleOptions) Config(dir string, pictures int) (pipeline.Config, error) {
	cfg := pipeline.Default()
	cfg.Name, cfg.Backend, cfg.Model.Preset = ScaleID, o.Backend, o.Preset
	cfg.Model.ImageSize = o.Side
	cfg.Train.Epochs = 1
	cfg.Prepare.ShardRows = cmp.Or(o.ShardRows, cfg.Prepare.ShardRows)
	if o.Source == pipeline.KindShapes {
		held := pictures / 20
		cfg.Dataset = []pipeline.SourceConfig{{Kind: o.Source, Shapes: pipeline.ShapesConfig{
			Train: pictures - 2*held, Validation: held, Test: held, MaxObjects: 3,
		}}}
		return cfg, nil
	}
	side := o.Side
	if side == 0 {
		side = cfg.Resolve().Model.ImageSize
	}
	captions, images := filepath.Join(dir, "captions.json"), filepath.Join(dir, "images.zip")
	cfg.Dataset = []pipeline.SourceConfig{
		{Kind: o.Source, Captions: captions, Images: pipeline.Paths{images}},
	}
	return cfg, writeScaleSource(captions, images, pictures, side)
}

// StartWorker starts this program once more, as a worker of the stack, with a data directory of its own. stop
// kills it: when the measured run is over there is nothing to save.
func StartWorker(to devstack.Addresses, bucket, data string) (stop func(), err error) {
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
	cmd := exec.Command(exe, RoleWorker, "--data", data)
	cmd.Env = append(os.Environ(), "TEMPORAL_ADDRESS="+to.Temporal, "TEMPORAL_NAMESPACE="+to.Namespace,
		"S3_ENDPOINT="+to.S3, "S3_BUCKET="+bucket, "S3_SECURE=false",
		"S3_ACCESS_KEY="+to.AccessKey, "S3_SECRET_KEY="+to.SecretKey)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}, nil
}

// ScalePoll is how often processes and the run are looked at.
const ScalePoll = 200 * time.Millisecond

// Glance is where a run stands at one moment.
type Glance struct {
	Stage   string
	Step    int64 // of the epoch under way; 0: none yet
	Events  int64 // of the history
	History int64 // of it, bytes
}

// Follow watches the processes of a run from the beginning of stage prepare to the epoch's first steps (none:
// to the end of prepare) and fills in what they took. look says where the run stands, and fails when it is
// over.
func (m *ScaleMeasurement) Follow(
	ctx context.Context, steps int, look func(context.Context) (Glance, error),
) error {
	r := &scaleRun{steps: int64(steps), m: m, seen: newWatched()}
	tick := time.NewTicker(ScalePoll)
	defer tick.Stop()
	for {
		r.seen.look()
		now, err := look(ctx)
		if err != nil || r.at(now) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// scaleRun is a run that is followed.
type scaleRun struct {
	steps int64
	m     *ScaleMeasurement
	seen  *watched

	began   time.Time     // of stage prepare; zero: not yet
	cpu     time.Duration // of the workers when it began
	stack   time.Duration // of Temporal and the object store when it began
	trained bool          // stage train has begun
}

// at notes what a stage's beginning or the epoch's steps tell; done: all is measured.
func (r *scaleRun) at(now Glance) (done bool) {
	m := r.m
	switch {
	case now.Stage == pipeline.StagePrepare && r.began.IsZero():
		r.seen.reset()
		r.began, r.cpu, r.stack = time.Now(), r.seen.workers(), r.seen.stack()
	case now.Stage == pipeline.StageTrain && !r.trained:
		r.trained = true
		m.CPU, m.StackCPU = (r.seen.workers() - r.cpu).Seconds(), (r.seen.stack() - r.stack).Seconds()
		m.PerPicture, m.Wall = 1000*m.CPU/float64(m.Pictures), time.Since(r.began).Seconds()
		m.Events, m.History = now.Events, now.History
		m.Peak = maps.Clone(r.seen.peak)
		r.seen.reset()
	}
	if !r.trained || r.steps == 0 {
		return r.trained
	}
	m.Steps = max(m.Steps, now.Step)
	if m.Steps < r.steps && now.Stage == pipeline.StageTrain {
		return false
	}
	r.seen.look()
	m.EpochPeak = maps.Clone(r.seen.peak)
	return true
}
