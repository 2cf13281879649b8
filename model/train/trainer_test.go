package train

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact/record"
	"distilvit/internal/backend"
	"distilvit/internal/backend/backendtest"
	"distilvit/model"
)

func TestLearningRateIsHuggingFacesLinearSchedule(t *testing.T) {
	c := Config{LearningRate: 1, WarmupSteps: 4, TotalSteps: 12}
	for step, want := range map[int64]float64{0: 0, 1: 0.25, 3: 0.75, 4: 1, 8: 0.5, 11: 0.125, 12: 0, 20: 0} {
		if got := c.RateAfter(step); math.Abs(got-want) > 1e-15 {
			t.Errorf("step %d: %g instead of %g", step, got, want)
		}
	}
	c.WarmupSteps = 0
	if got := c.RateAfter(0); got != 1 {
		t.Errorf("without warm-up the first rate is %g", got)
	}
}

// newTrainer is a trainer of the golden model on the Go backend.
func newTrainer(t *testing.T, change func(*Config, model.Weights)) (*Trainer, func() (StepResult, error)) {
	t.Helper()
	g, b, c, w, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	config := goldenConfig(g)
	if change != nil {
		change(&config, w)
	}
	tr, err := New(backendtest.Open(t, backend.Go), c, w, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return tr, func() (StepResult, error) { return tr.Step(b) }
}

// wantAlike lets a trainer, and another that was loaded from its checkpoint, do three more steps: they have to save
// the same files, at end.
func wantAlike(t *testing.T, end string, tr, again *Trainer, step, stepAgain func() (StepResult, error)) {
	t.Helper()
	for range 3 {
		if _, err := step(); err != nil {
			t.Fatal(err)
		}
		if _, err := stepAgain(); err != nil {
			t.Fatal(err)
		}
	}
	straight, err := tr.Save(end, record.State{})
	if err != nil {
		t.Fatal(err)
	}
	resumed, err := again.Save(end, record.State{})
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range straight {
		if resumed[name] != o {
			t.Errorf("%s differs after going on", name)
		}
	}
}

func TestDivergedStepNamesItsExamplesAndIsNeverSaved(t *testing.T) {
	tr, step := newTrainer(t, func(_ *Config, w model.Weights) {
		w["decoder.transformer.ln_f.weight"].Data[0] = float32(math.Inf(1))
	})
	_, err := step()
	var diverged *DivergedError
	if !errors.As(err, &diverged) || diverged.Step != 1 ||
		!slices.Equal(diverged.IDs, []string{"0", "1", "2"}) {
		t.Fatalf("got %v", err)
	}
	dir := filepath.Join(t.TempDir(), "checkpoint")
	if _, err := tr.Save(dir, record.State{}); !errors.As(err, &diverged) {
		t.Errorf("save after divergence: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a diverged state was saved")
	}
}

func TestDivergedTrainerGoesOnFromACheckpoint(t *testing.T) {
	tr, step := newTrainer(t, nil)
	dir := filepath.Join(t.TempDir(), "checkpoint")
	if _, err := step(); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Save(dir, record.State{Epoch: 2, EpochStep: 1}); err != nil {
		t.Fatal(err)
	}
	tr.broken = &DivergedError{Step: 2}
	if _, err := step(); err == nil {
		t.Fatal("a broken trainer went on")
	}
	st, err := tr.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if st.Step != 1 || st.Epoch != 2 || st.EpochStep != 1 {
		t.Errorf("state is %+v", st)
	}
	if r, err := step(); err != nil || r.Step != 2 {
		t.Errorf("step after load: %+v, %v", r, err)
	}
}

func TestDamagedCheckpointsAreRefusedAndLeaveTheTrainerAsItWas(t *testing.T) {
	tr, step := newTrainer(t, nil)
	if _, err := step(); err != nil {
		t.Fatal(err)
	}
	before, err := tr.Weights()
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(dir string) error{
		"no state":    func(dir string) error { return os.Remove(filepath.Join(dir, stateFile)) },
		"no moments":  func(dir string) error { return os.Remove(filepath.Join(dir, momentsFile)) },
		"cut weights": func(dir string) error { return os.Truncate(filepath.Join(dir, weightsFile), 9000) },
		"cut moments": func(dir string) error { return os.Truncate(filepath.Join(dir, momentsFile), 9000) },
		"other's state": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, stateFile), []byte(`{"step": 9}`), 0o644)
		},
	} {
		dir := filepath.Join(t.TempDir(), "checkpoint")
		if _, err := tr.Save(dir, record.State{}); err != nil {
			t.Fatal(err)
		}
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Load(dir); err == nil {
			t.Errorf("%s: loaded", name)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %v", name, err)
		}
	}
	after, err := tr.Weights()
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range before {
		if !slices.Equal(x.Data, after[name].Data) {
			t.Fatalf("%s changed", name)
		}
	}
	if tr.step != 1 {
		t.Errorf("step is %d", tr.step)
	}
}

func TestCaptionerFollowsTheTrainersWeights(t *testing.T) {
	tr, step := newTrainer(t, func(c *Config, _ model.Weights) { c.LearningRate = 0.1 })
	_, b, _, _, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	picture := b.Pixels[:len(b.Pixels)/b.N]
	logits := func() []float32 {
		g, err := tr.Captioner()
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close() // must leave the trainer's own in order
		x, err := g.Logits(picture, []int32{39, 1, 2})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	first := logits()
	if !slices.Equal(logits(), first) {
		t.Error("logits changed without a step")
	}
	for range 2 { // the first step of a warm-up has rate 0
		if _, err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if slices.Equal(logits(), first) {
		t.Error("logits are those of the old weights")
	}
}

func TestBatchesThatDoNotFitAreErrors(t *testing.T) {
	tr, _ := newTrainer(t, nil)
	_, good, _, _, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	label := slices.Clone(good.Labels)
	label[3] = 4000
	for want, change := range map[string]func(){
		"bytes of pixels": func() { good.Pixels = good.Pixels[1:] },
		"labels for":      func() { good.Labels = good.Labels[1:] },
		"label 4000":      func() { good.Labels = label },
		"row numbers":     func() { good.Rows = good.Rows[1:] },
	} {
		saved := *good
		change()
		if _, err := tr.Step(good); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %s, got %v", want, err)
		}
		*good = saved
	}
}

func TestConfigMistakesAreReportedTogether(t *testing.T) {
	g, _, c, w, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	config := goldenConfig(g)
	config.Beta2, config.MicroBatchSize, config.Dropout = 1, 2, -1
	_, err = New(backendtest.Open(t, backend.Go), c, w, config)
	for _, part := range []string{"beta2 is 1", "micro_batch_size is 2", "dropout is -1"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not say %q", err, part)
		}
	}
}

func TestSaveTellsWhatItWrote(t *testing.T) {
	tr, step := newTrainer(t, nil)
	if _, err := step(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "checkpoint")
	files, err := tr.Save(dir, record.State{})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(files) {
		t.Fatalf("%d files stand there, %d were told: %v", len(entries), len(files), err)
	}
	for name, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if sum := fmt.Sprintf("%x", sha256.Sum256(b)); f.Size != int64(len(b)) || f.SHA256 != sum {
			t.Errorf("%s: %d bytes, sha256 %s; told %+v", name, len(b), sum, f)
		}
	}
}
