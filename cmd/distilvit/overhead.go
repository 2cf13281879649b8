package main

import (
	"fmt"

	"distilvit/pipeline"
)

// overheadReport is what bench overhead found. Times are seconds.
type overheadReport struct {
	Bench    string      `json:"bench"`
	With     string      `json:"with"`   // what computed
	Preset   string      `json:"preset"` // sizes of the network
	Pictures int         `json:"pictures"`
	Captions int         `json:"captions"`
	Tokens   int         `json:"tokens"`
	Steps    int         `json:"steps"` // of the run, and of both bare loops together
	Epochs   int         `json:"epochs"`
	Bare     []bareLoop  `json:"bare"` // before and after the run
	Stages   []stageCost `json:"stages"`
	Loop     epochTimes  `json:"loop"` // of all epochs

	Training overheadOf `json:"training"` // of the epochs against the bare loop
	Seen     overheadOf `json:"seen"`     // of the epochs against their own steps, compiling and batches being made included
	Whole    overheadOf `json:"whole"`    // of the run against the bare loop
}

// bareLoop is a step with its batch in memory, in the mean.
type bareLoop struct {
	CPU      float64 `json:"cpu_s"`
	Wall     float64 `json:"wall_s"`
	FirstCPU float64 `json:"first_cpu_s"`  // of the first step, which compiles
	First    float64 `json:"first_wall_s"` // of the first step
}

func bareOf(m measurement) bareLoop { return bareLoop{m.MeanCPU, m.MeanWall, m.FirstCPU, m.First} }

// took is what so many steps take, the first of which compiles.
func (b bareLoop) took(steps float64) (cpu, wall float64) {
	return b.CPU*(steps-1) + b.FirstCPU, b.Wall*(steps-1) + b.First
}

// stageCost is what a stage took.
type stageCost struct {
	Stage   string  `json:"stage"`
	Wall    float64 `json:"wall_s"`
	Program float64 `json:"program_cpu_s"` // Temporal, worker and command
	Store   float64 `json:"store_cpu_s"`   // object store
	Trainer float64 `json:"trainer_cpu_s"` // trainers and exports
}

func (c stageCost) cpu() float64 { return c.Program + c.Store + c.Trainer }

func (c *stageCost) add(more stageCost) {
	c.Wall += more.Wall
	c.Program += more.Program
	c.Store += more.Store
	c.Trainer += more.Trainer
}

// epochTimes is the sum of several epochs' loops.
type epochTimes struct{ pipeline.Times }

func (t *epochTimes) add(e pipeline.Times) {
	t.Loop += e.Loop
	t.CPU += e.CPU
	t.Input += e.Input
	t.Compile += e.Compile
	t.Checkpoint += e.Checkpoint
	t.CompileCPU += e.CompileCPU
	t.CheckpointCPU += e.CheckpointCPU
}

// overheadOf is what something took beside training steps, and its share of theirs.
type overheadOf struct {
	CPU         float64 `json:"cpu_s"`
	Wall        float64 `json:"wall_s"`
	CPUPercent  float64 `json:"cpu_percent"`
	WallPercent float64 `json:"wall_percent"`
}

func newOverhead(cpu, wall, stepsCPU, stepsWall float64) overheadOf {
	return overheadOf{CPU: cpu, Wall: wall, CPUPercent: 100 * cpu / stepsCPU, WallPercent: 100 * wall / stepsWall}
}

// sum fills in the overheads.
func (r *overheadReport) sum() {
	var cpu, wall float64      // of the bare loop, of as many steps
	for _, b := range r.Bare { // the mean of what each would take
		c, w := b.took(float64(r.Steps))
		cpu, wall = cpu+c/float64(len(r.Bare)), wall+w/float64(len(r.Bare))
	}
	var train, all stageCost
	for _, c := range r.Stages {
		all.add(c)
		if c.Stage == pipeline.StageTrain {
			train.add(c)
		}
	}
	r.Training = newOverhead(train.cpu()-cpu, train.Wall-wall, cpu, wall)
	r.Whole = newOverhead(all.cpu()-cpu, all.Wall-wall, cpu, wall)
	l := r.Loop
	cpu, wall = l.CPU-l.CheckpointCPU, l.Loop-l.Checkpoint-l.Input
	r.Seen = newOverhead(train.cpu()-cpu, train.Wall-wall, cpu, wall)
}

func (a *app) printOverhead(r overheadReport) error {
	if a.output == "json" {
		return printLine(a.stdout, r)
	}
	fmt.Fprintf(a.stdout, "%d steps of %d pictures × %d captions of %d tokens in %d epochs, %s, %s\n\n", r.Steps, r.Pictures, r.Captions, r.Tokens, r.Epochs, r.Preset, r.With)
	seconds := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	t := &table{right: true}
	t.add("", "wall s", "CPU s", "Temporal and worker", "object store", "trainers")
	for _, c := range r.Stages {
		t.add(c.Stage, seconds(c.Wall), seconds(c.cpu()), seconds(c.Program), seconds(c.Store), seconds(c.Trainer))
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
		t.add([]string{"before", "after"}[i], fmt.Sprintf("%.4f", b.Wall), fmt.Sprintf("%.4f", b.CPU), seconds(b.FirstCPU))
	}
	t.write(a.stdout, "")
	fmt.Fprintln(a.stdout)
	t = &table{right: true}
	t.add("overhead", "wall s", "%", "CPU s", "%")
	for _, o := range []struct {
		name string
		of   overheadOf
	}{
		{"training, against the bare loop", r.Training}, {"training, as seen beside the run's own steps", r.Seen}, {"the whole run, against the bare loop", r.Whole},
	} {
		t.add(o.name, seconds(o.of.Wall), seconds(o.of.WallPercent), seconds(o.of.CPU), seconds(o.of.CPUPercent))
	}
	t.write(a.stdout, "")
	return nil
}
