package train

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/compute"

	"distilvit/artifact/record"
	"distilvit/internal/backend/backendtest"
	"distilvit/model"
)

const trainerDir = "../testdata/trainer"

// trainerRun is what Hugging Face's Trainer did, see ../testdata/make_trainer.py.
type trainerRun struct {
	Scheduler      string    `json:"lr_scheduler_type"`
	WarmupSteps    int64     `json:"warmup_steps"`
	LabelSmoothing float64   `json:"label_smoothing_factor"`
	EMA            float64   `json:"ema"`
	LearningRate   []float64 `json:"learning_rate"` // by step, as the others
	Loss           []float64 `json:"loss"`
	GradNorm       []float64 `json:"grad_norm"`
}

// trainerRuns are all runs, of total steps; of the one with an average, the weights after steps are stored.
func trainerRuns(t *testing.T) (runs []trainerRun, total, steps int64) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(trainerDir, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Total int64        `json:"total_steps"`
		Steps int64        `json:"steps"`
		Runs  []trainerRun `json:"runs"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	return file.Runs, file.Total, file.Steps
}

func (r trainerRun) config(g golden, total int64) Config {
	c := goldenConfig(g)
	c.LearningRate, c.Scheduler, c.WarmupSteps, c.TotalSteps = 1e-3, r.Scheduler, r.WarmupSteps, total
	c.LabelSmoothing, c.EMA = r.LabelSmoothing, r.EMA
	return c
}

func TestLearningRateIsTrainersAtEachOf200Steps(t *testing.T) {
	g, _, _, _, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	runs, total, _ := trainerRuns(t)
	var seen []string
	for _, run := range runs {
		c := run.config(g, total)
		for step, want := range run.LearningRate {
			if got := c.RateAfter(int64(step)); math.Abs(got-want) > 1e-15*c.LearningRate+1e-12*want {
				t.Errorf("%s, warm-up %d, step %d: %v instead of %v", run.Scheduler, run.WarmupSteps, step, got, want)
			}
		}
		seen = append(seen, run.Scheduler)
	}
	for _, name := range Schedulers {
		if !slices.Contains(seen, name) {
			t.Errorf("no run with schedule %s", name)
		}
	}
	c := Config{LearningRate: 1, TotalSteps: 10, Scheduler: Cosine}
	if got := c.RateAfter(12); got != 0 {
		t.Errorf("cosine rises again after its end: %g", got)
	}
}

// TestStepsEqualTrainers follows loss and gradient norm over all 200 steps of two runs, and the beginning of the
// others, which is where a schedule that differs shows: towards the end all have learnt the one batch.
func TestStepsEqualTrainers(t *testing.T) {
	g, b, c, w, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	runs, total, _ := trainerRuns(t)
	for _, run := range runs {
		t.Run(fmt.Sprint(run.Scheduler, run.WarmupSteps), func(t *testing.T) {
			tr, err := New(backendtest.Open(t, "go"), c, w, run.config(g, total))
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			last := total
			if run.WarmupSteps != 20 {
				last = 60
			}
			for i := range last {
				r, err := tr.Step(b)
				if err != nil {
					t.Fatal(err)
				}
				loss := r.LossSum / float64(r.Tokens)
				if math.Abs(loss-run.Loss[i]) > 2e-4*run.Loss[i] {
					t.Fatalf("step %d: loss %g instead of %g", i, loss, run.Loss[i])
				}
				if math.Abs(r.GradNorm-run.GradNorm[i]) > 5e-3*run.GradNorm[i]+2e-3 {
					t.Fatalf("step %d: norm %g instead of %g", i, r.GradNorm, run.GradNorm[i])
				}
			}
		})
	}
}

func averaged(t *testing.T) (run trainerRun, total, steps int64) {
	t.Helper()
	runs, total, steps := trainerRuns(t)
	i := slices.IndexFunc(runs, func(r trainerRun) bool { return r.EMA > 0 })
	return runs[i], total, steps
}

// What is evaluated and published is the average; what is trained goes on beside it.
func TestSmoothedStepsAndTheirAverageEqualTrainers(t *testing.T) {
	g, b, c, w, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	run, total, steps := averaged(t)
	want := tensorsOf(t, filepath.Join(trainerDir, "golden.safetensors"))
	backendtest.Each(t, func(t *testing.T, be compute.Backend) {
		tr, err := New(be, c, w, run.config(g, total))
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		for range steps {
			if _, err := tr.Step(b); err != nil {
				t.Fatal(err)
			}
		}
		average, err := tr.Weights()
		if err != nil {
			t.Fatal(err)
		}
		trained, err := tr.download(tr.names, tr.weights)
		if err != nil {
			t.Fatal(err)
		}
		for prefix, found := range map[string]model.Weights{"average.": average, "after.": trained} {
			wantTensors(t, found, want, prefix, 2e-5, 40*1e-3)
		}
	})
}

func TestLabelSmoothingIsOfTrainingAlone(t *testing.T) {
	plain, step := newTrainer(t, nil)
	smooth, smoothStep := newTrainer(t, func(c *Config, _ model.Weights) { c.LabelSmoothing = 0.3 })
	_, b, _, _, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := plain.Loss(b)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := smooth.Loss(b)
	if err != nil || got != want {
		t.Errorf("loss %g instead of %g: %v", got, want, err)
	}
	a, err := step()
	if err != nil {
		t.Fatal(err)
	}
	if s, err := smoothStep(); err != nil || s.LossSum == a.LossSum {
		t.Errorf("a smoothed step's loss is %g, too: %v", s.LossSum, err)
	}
}

func TestCheckpointWithAnAverageGoesOnBitForBit(t *testing.T) {
	change := func(c *Config, _ model.Weights) { c.EMA, c.Scheduler, c.Dropout = 0.9, Cosine, 0.1 }
	tr, step := newTrainer(t, change)
	dir, end := filepath.Join(t.TempDir(), "middle"), filepath.Join(t.TempDir(), "end")
	for range 3 {
		if _, err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.Save(dir, record.State{}); err != nil {
		t.Fatal(err)
	}
	// The model in a checkpoint is the average, as a captioner reads it.
	saved, err := model.ReadWeights(dir, tr.model)
	if err != nil {
		t.Fatal(err)
	}
	average, err := tr.download(tr.names, tr.average)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range average {
		if !slices.Equal(saved[name].Data, x.Data) {
			t.Fatalf("%s of the checkpoint is not the average", name)
		}
	}
	again, stepAgain := newTrainer(t, change)
	if _, err := again.Load(dir); err != nil {
		t.Fatal(err)
	}
	wantAlike(t, end, tr, again, step, stepAgain)
	// One without an average has no weights to go on with.
	plain, _ := newTrainer(t, nil)
	if _, err := plain.Save(dir, record.State{}); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Load(dir); err == nil {
		t.Error("a checkpoint without an average was taken")
	}
}
