package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// OverheadOptions say what is trained, with the pipeline and without.
type OverheadOptions struct {
	Network  Network
	Backend  string
	Pictures int     // of a step
	Captions int     // of a picture
	Tokens   int     // that a caption is cut at and padded to
	Epochs   int     // of the run
	Minutes  float64 // how long the training is to be, by the bare loop's first steps; used where Steps is 0
	Steps    int     // of the training; rounded down to a multiple of Epochs
}

// OverheadVocabulary is enough for the captions of drawn pictures.
const OverheadVocabulary = 300

// Overhead measures a whole run between two halves of the bare loop. run runs a config to its published model
// and answers what each stage cost and the times of its epochs.
func Overhead(
	ctx context.Context, o OverheadOptions,
	run func(pipeline.Config) ([]StageCost, []record.EpochRecord, error),
) (r OverheadReport, err error) {
	if o.Steps == 0 {
		first, err := o.bare(ctx, 20)
		if err != nil {
			return r, err
		}
		o.Steps = int(o.Minutes * 60 / first.MeanWall)
	}
	o.Steps = max(1, o.Steps/o.Epochs) * o.Epochs
	before, err := o.bare(ctx, (o.Steps+1)/2)
	if err != nil {
		return r, err
	}
	r = OverheadReport{
		Bench: "overhead", With: before.With, Preset: o.Network.Preset, Pictures: o.Pictures,
		Captions: o.Captions, Tokens: o.Tokens, Steps: o.Steps, Epochs: o.Epochs,
	}
	stages, epochs, err := run(o.config())
	if err != nil {
		return r, err
	}
	after, err := o.bare(ctx, (o.Steps+1)/2)
	if err != nil {
		return r, err
	}
	r.Stages, r.Bare = stages, []BareLoop{bareOf(before), bareOf(after)}
	for _, e := range epochs {
		addTimes(&r.Loop, e.Times)
	}
	r.sum()
	return r, nil
}

// config trains on drawn pictures, so many that an epoch has its steps.
func (o OverheadOptions) config() pipeline.Config {
	c := pipeline.Default()
	c.Name, c.Backend = "bench-overhead", o.Backend
	held := min(100, max(8, o.Steps*o.Pictures/20)) // pictures of each evaluation
	c.Dataset = []pipeline.SourceConfig{{Kind: pipeline.KindShapes, Shapes: pipeline.ShapesConfig{
		Train: o.Steps / o.Epochs * o.Pictures, Validation: held, Test: held, MaxObjects: 3,
		ImageSize: o.Network.side(),
	}}}
	c.Model.Preset, c.Model.VocabSize = o.Network.Preset, o.Network.Config.VocabSize()
	c.Train.Epochs, c.Train.Patience = o.Epochs, 0
	c.Train.BatchSize, c.Train.CaptionsPerPicture, c.Train.MaxLength = o.Pictures, o.Captions, o.Tokens
	c.Export.MaxRougeDrop = 100 // of no interest here
	return c
}

// bare runs training steps in a process of their own.
func (o OverheadOptions) bare(ctx context.Context, steps int) (m Measurement, err error) {
	exe, err := os.Executable()
	if err != nil {
		return m, err
	}
	cmd := exec.CommandContext(ctx, exe, "bench", "train", "-o", "json", "--backend", o.Backend,
		"--preset", o.Network.Preset, "--vocabulary", strconv.Itoa(o.Network.Config.VocabSize()),
		"--pictures", strconv.Itoa(o.Pictures), "--captions", strconv.Itoa(o.Captions),
		"--tokens", strconv.Itoa(o.Tokens), "--steps", strconv.Itoa(steps))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return m, fmt.Errorf("bench train: %w", err)
	}
	return m, json.Unmarshal(out, &m)
}

// OverheadReport is what Overhead found. Times are seconds.
type OverheadReport struct {
	Bench    string       `json:"bench"`
	With     string       `json:"with"`   // what computed
	Preset   string       `json:"preset"` // sizes of the network
	Pictures int          `json:"pictures"`
	Captions int          `json:"captions"`
	Tokens   int          `json:"tokens"`
	Steps    int          `json:"steps"` // of the run, and of both bare loops together
	Epochs   int          `json:"epochs"`
	Bare     []BareLoop   `json:"bare"` // before and after the run
	Stages   []StageCost  `json:"stages"`
	Loop     record.Times `json:"loop"` // of all epochs

	Training OverheadOf `json:"training"` // all that the epochs took but the bare loop's steps
	// all that the epochs took but their own steps, with their compiling and batches
	Seen  OverheadOf `json:"seen"`
	Whole OverheadOf `json:"whole"` // all that the run took but the bare loop's steps
}

// BareLoop is a training step whose batch lies in memory, without a pipeline around it: the mean of many.
type BareLoop struct {
	CPU      float64 `json:"cpu_s"`
	Wall     float64 `json:"wall_s"`
	FirstCPU float64 `json:"first_cpu_s"`  // of the first step, which compiles
	First    float64 `json:"first_wall_s"` // of the first step
}

func bareOf(m Measurement) BareLoop { return BareLoop{m.MeanCPU, m.MeanWall, m.FirstCPU, m.First} }

// took is what so many steps take, the first of which compiles.
func (b BareLoop) took(steps float64) (cpu, wall float64) {
	return b.CPU*(steps-1) + b.FirstCPU, b.Wall*(steps-1) + b.First
}

// StageCost is what a stage took, in seconds.
type StageCost struct {
	Stage   string  `json:"stage"`
	Wall    float64 `json:"wall_s"`
	Program float64 `json:"program_cpu_s"` // Temporal, worker and command
	Store   float64 `json:"store_cpu_s"`   // object store
	Trainer float64 `json:"trainer_cpu_s"` // trainers and exports
}

// CPU is the seconds of all processes together.
func (c StageCost) CPU() float64 { return c.Program + c.Store + c.Trainer }

func (c *StageCost) add(more StageCost) {
	c.Wall += more.Wall
	c.Program += more.Program
	c.Store += more.Store
	c.Trainer += more.Trainer
}

// addTimes adds those of an epoch's loop to a sum.
func addTimes(t *record.Times, e record.Times) {
	t.Loop += e.Loop
	t.CPU += e.CPU
	t.Input += e.Input
	t.Compile += e.Compile
	t.Checkpoint += e.Checkpoint
	t.CompileCPU += e.CompileCPU
	t.CheckpointCPU += e.CheckpointCPU
	t.Pictures += e.Pictures
	t.PeakBytes = max(t.PeakBytes, e.PeakBytes)
}

// OverheadOf is what something took beside training steps, and its share of theirs.
type OverheadOf struct {
	CPU         float64 `json:"cpu_s"`
	Wall        float64 `json:"wall_s"`
	CPUPercent  float64 `json:"cpu_percent"`
	WallPercent float64 `json:"wall_percent"`
}

func newOverhead(cpu, wall, stepsCPU, stepsWall float64) OverheadOf {
	return OverheadOf{
		CPU: cpu, Wall: wall, CPUPercent: 100 * cpu / stepsCPU, WallPercent: 100 * wall / stepsWall,
	}
}

// sum fills in the overheads.
func (r *OverheadReport) sum() {
	var cpu, wall float64 // what the bare loop takes for as many steps: the mean of both measurements
	for _, b := range r.Bare {
		c, w := b.took(float64(r.Steps))
		cpu, wall = cpu+c/float64(len(r.Bare)), wall+w/float64(len(r.Bare))
	}
	var train, all StageCost
	for _, c := range r.Stages {
		all.add(c)
		if c.Stage == pipeline.StageTrain {
			train.add(c)
		}
	}
	r.Training = newOverhead(train.CPU()-cpu, train.Wall-wall, cpu, wall)
	r.Whole = newOverhead(all.CPU()-cpu, all.Wall-wall, cpu, wall)
	l := r.Loop
	cpu, wall = l.CPU-l.CheckpointCPU, l.Loop-l.Checkpoint-l.Input
	r.Seen = newOverhead(train.CPU()-cpu, train.Wall-wall, cpu, wall)
}
