package workflows

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

func TestBestIsChosenByTheConfigsMetric(t *testing.T) {
	w := newWorld()
	w.scores, w.losses = []float64{40, 30, 20, 10}, []float64{3, 2, 1, 1}
	result, err := start(t, w, config(t, "train.epochs=4", "train.metric_for_best_model=eval_loss"))
	if err != nil || result.Epoch != 3 {
		t.Errorf("%v %+v", err, result)
	}
	if best := w.inputs["Publish"].(pipeline.PublishInput).Best; best.By != record.MetricLoss {
		t.Errorf("published by %q", best.By)
	}
}

// 400 pictures with Chinese captions scored 0 in every epoch, and the first was published.
func TestScoreThatSaysNothingLeavesTheChoiceToTheLoss(t *testing.T) {
	w := newWorld()
	w.scores, w.losses = []float64{0, 0, 0, 0, 0, 0}, []float64{6, 5, 4, 4.5, 4, 4.2}
	result, err := start(t, w, config(t, "train.epochs=9", "train.patience=3"))
	if err != nil || result.Epoch != 3 || w.count["TrainEpoch"] != 6 {
		t.Errorf("%v %+v after %d epochs", err, result, w.count["TrainEpoch"])
	}
	published := w.inputs["Publish"].(pipeline.PublishInput)
	said := slices.DeleteFunc(
		published.Warnings, func(s string) bool { return !strings.Contains(s, "eval_rougeL") },
	)
	if len(said) != 1 || !strings.Contains(said[0], "lowest eval_loss") ||
		published.Best.By != record.MetricLoss {
		t.Errorf("%q, best by %q", said, published.Best.By)
	}

	w = newWorld()
	w.scores, w.losses = []float64{0, 0, 7, 5, 6, 6}, []float64{3, 2, 9, 1, 1, 1}
	result, err = start(t, w, config(t, "train.epochs=9", "train.patience=3"))
	if err != nil || result.Epoch != 3 || w.count["TrainEpoch"] != 7 {
		t.Errorf("a score that begins to say something: %v %+v after %d epochs",
			err, result, w.count["TrainEpoch"])
	}
}

// The score of a captioner that says the same of most pictures scores that sentence: the loss chooses, but for
// compat: seed.
func TestScoreOfOneSentenceLeavesTheChoiceToTheLoss(t *testing.T) {
	for compat, epoch := range map[string]int{"": 3, pipeline.CompatSeed: 1} {
		w := newWorld()
		w.same = 63
		w.scores, w.losses = []float64{54, 50, 49}, []float64{3, 2, 1}
		result, err := start(t, w, config(t, "train.epochs=3", "compat="+compat, "model.positions=128"))
		if err != nil || result.Epoch != epoch {
			t.Errorf("compat %q: %v %+v", compat, err, result)
		}
		said := strings.Join(w.inputs["Publish"].(pipeline.PublishInput).Warnings, "\n")
		if warned := strings.Contains(said, "eval_rougeL says nothing of epoch 1: the captioner says the same of 63% "+
			"of the 100 validation pictures"); warned != (compat == "") {
			t.Errorf("compat %q: %q", compat, said)
		}
	}
}

func TestValidationThatFallsApartFromTrainingIsWarnedOfOnce(t *testing.T) {
	for _, c := range []struct {
		losses []float64
		want   int
	}{{[]float64{3, 2, 2.1, 2.19}, 0}, {[]float64{3, 2, 2.21, 2.5}, 1}} {
		w := newWorld()
		w.losses = c.losses
		if _, err := start(t, w, config(t, "train.epochs=4")); err != nil {
			t.Fatal(err)
		}
		said := 0
		for _, warning := range w.inputs["Publish"].(pipeline.PublishInput).Warnings {
			if strings.Contains(warning, "eval_loss was lowest after epoch 2 (2.0000) and has risen") {
				said++
			}
		}
		if said != c.want {
			t.Errorf("losses %v: said %d times", c.losses, said)
		}
	}
}

func TestPatienceCountsAcrossAPauseAndAContinuation(t *testing.T) {
	w := newWorld()
	w.scores = []float64{50, 20, 30, 40, 45}
	env := environment(t, w)
	w.during = func(name string, call int) {
		if name == "TrainEpoch" && call == 2 {
			env.SignalWorkflow(pipeline.PauseRequest, nil)
			env.SignalWorkflow(pipeline.ResumeRequest, nil)
		}
		if name == "Evaluate" && call == 2 {
			env.SetContinueAsNewSuggested(true)
		}
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t, "train.epochs=9", "train.patience=3"))
	_, err := outcome(t, env)
	var again *workflow.ContinueAsNewError
	if !errors.As(err, &again) {
		t.Fatalf("%v", err)
	}
	var cfg pipeline.Config
	var state State
	if err := unpack(again, &cfg, &state); err != nil {
		t.Fatal(err)
	}
	w.during = nil
	next := environment(t, w)
	next.ExecuteWorkflow(pipeline.WorkflowType, cfg, &state)
	result, err := outcome(t, next)
	if published := w.inputs["Publish"].(pipeline.PublishInput); err != nil || result.Epoch != 1 ||
		len(published.History) != 4 {
		t.Errorf("%v %+v after %d epochs", err, result, len(published.History))
	}
}

// An extension's epochs are asked for by a person: patience counts them from its beginning, and
// what was best before stays so.
func TestPatienceCountsAnExtensionFromItsBeginning(t *testing.T) {
	w := newWorld()
	w.scores = []float64{50, 20, 30, 40, 45, 46}
	env := environment(t, w)
	w.during = func(name string, call int) {
		if name == "TrainEpoch" && call == 1 {
			env.SignalWorkflow(pipeline.ExtendRequest, record.Extend{Epochs: 5})
		}
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t, "train.epochs=9", "train.patience=2"))
	result, err := outcome(t, env)
	published := w.inputs["Publish"].(pipeline.PublishInput)
	if err != nil || result.Epoch != 1 || len(published.History) != 5 || published.Branch != 2 {
		t.Errorf("%v %+v after %d epochs", err, result, len(published.History))
	}
}

func TestWordsAreDecidedOnceARun(t *testing.T) {
	w := newWorld()
	w.rule = pipeline.WordsUnicode
	if _, err := start(t, w, config(t)); err != nil {
		t.Fatal(err)
	}
	var asked []string
	for _, e := range w.evals {
		asked = append(asked, e.Evaluate.Words)
	}
	u := pipeline.WordsUnicode
	if !slices.Equal(asked, []string{"", u, u, u}) {
		t.Errorf("evaluations were asked for words %q", asked)
	}
	published := w.inputs["Publish"].(pipeline.PublishInput)
	said := slices.DeleteFunc(
		published.Warnings, func(s string) bool { return !strings.HasPrefix(s, "scored on") },
	)
	if len(said) != 1 || published.Test.Metrics.Words != u {
		t.Errorf("%q, published with words %q", said, published.Test.Metrics.Words)
	}
	if w.rule = ""; w.records[2].Words != u {
		t.Errorf("recorded: %q", w.records[2].Words)
	}

	w = newWorld()
	w.records = []record.Progress{{Branch: 1, Epochs: []record.EpochRecord{{Epoch: 1}},
		Best: &record.Best{Epoch: 1}, Last: &record.CheckpointRef{Branch: 1, Epoch: 1, Step: 100}}}
	w.rule = u
	if _, err := start(t, w, config(t)); err != nil {
		t.Fatal(err)
	}
	for _, e := range w.evals {
		if e.Evaluate.Words != pipeline.WordsRougeScore {
			t.Errorf("a run that began without a choice is evaluated on words %q", e.Evaluate.Words)
		}
	}
}

func TestFewPicturesForRandomWeightsAreSaidAtOnce(t *testing.T) {
	for _, c := range []struct {
		rows int
		set  string
		said bool
	}{{4999, "seed=1", true}, {5000, "seed=1", false}, {300, "model={\"weights\":\"hf:a/b\"}", false}} {
		w := newWorld()
		w.rows = c.rows
		if _, err := start(t, w, config(t, c.set)); err != nil {
			t.Fatal(err)
		}
		published := w.inputs["Publish"].(pipeline.PublishInput)
		said := slices.ContainsFunc(
			published.Warnings, func(s string) bool { return strings.Contains(s, "are few") },
		)
		if said != c.said {
			t.Errorf("%d pictures, %s: warnings %q", c.rows, c.set, published.Warnings)
		}
	}
}

func TestCaptionerThatSaysTheSameOfMostPicturesIsWarnedOf(t *testing.T) {
	for same, want := range map[float64]bool{51: true, 50: false, 0: false} {
		w := newWorld()
		w.same = same
		if _, err := start(t, w, config(t)); err != nil {
			t.Fatal(err)
		}
		published := w.inputs["Publish"].(pipeline.PublishInput)
		said := slices.ContainsFunc(published.Warnings, func(s string) bool {
			return strings.Contains(s, "says the same of 51% of the 100 test pictures")
		})
		if said != want {
			t.Errorf("%v %%: warnings %q", same, published.Warnings)
		}
	}
}

// What needs no model is scored once on each set; a captioner below it is warned of, with what to try.
func TestScoresBelowWhatNeedsNoModelAreWarnedOf(t *testing.T) {
	for nearest, warned := range map[float64]bool{30: false, 30.5: true} {
		w := newWorld()
		w.base = &record.Baselines{Nearest: record.Scores{RougeL: nearest}}
		if _, err := start(t, w, config(t)); err != nil {
			t.Fatal(err)
		}
		var asked []string
		for _, in := range w.evals {
			if in.Baselines {
				asked = append(asked, in.Split)
			}
		}
		if !slices.Equal(asked, []string{"validation", "test"}) || len(w.evals) != 4 {
			t.Errorf("baselines asked for of %v in %d evaluations", asked, len(w.evals))
		}
		warnings := strings.Join(w.inputs["Publish"].(pipeline.PublishInput).Warnings, "\n")
		said := strings.Contains(warnings, "below what needs no model: rougeL 30.00 (nearest picture's 30.50). Try weights")
		if said != warned {
			t.Errorf("nearest %v: %q", nearest, warnings)
		}
	}
}

func TestDetailsSayWhatNeedsNoModel(t *testing.T) {
	base := &record.Baselines{Nearest: record.Scores{RougeL: 30.5}}
	text := details(pipeline.Status{Epoch: 1, History: []record.EpochRecord{
		{Epoch: 1, Eval: record.Metrics{Baselines: base}},
	}})
	if !strings.Contains(text, "without a model, nearest picture's: eval_rougeL 30.50") {
		t.Error(text)
	}
}

// 8,000 pictures in batches of 32 are 250 steps an epoch.
func TestValidationsWithinAnEpochChooseTheBestAndCountForPatience(t *testing.T) {
	w := newWorld()
	w.byStep = map[int64]float64{100: 1, 200: 2, 250: 3, 300: 9, 400: 8, 500: 7, 600: 6}
	result, err := start(t, w, config(t, "train.epochs=9", "train.eval_steps=100", "train.patience=3"))
	if err != nil || result.Epoch != 2 || result.Step != 300 {
		t.Fatalf("%v %+v", err, result)
	}
	var parts []part
	for _, e := range w.epochs {
		parts = append(parts, part{e.Epoch, e.Until})
	}
	want := []part{{0, 100}, {0, 200}, {0, 0}, {1, 50}, {1, 150}, {1, 0}, {2, 100}}
	if !slices.Equal(parts, want) {
		t.Errorf("trained %v, want %v", parts, want)
	}
	published := w.inputs["Publish"].(pipeline.PublishInput)
	if best := published.Best; best.Name() != "step 300 in epoch 2" || best.Eval.RougeL != 9 {
		t.Errorf("best is %+v", best)
	}
	if last := published.History[6]; len(published.History) != 7 || last.Name() != "step 600 in epoch 3" {
		t.Errorf("the last of %d is %+v", len(published.History), last)
	}
}

func TestRunGoesOnWithinAnEpochAndIsExtended(t *testing.T) {
	w := newWorld()
	w.byStep = map[int64]float64{}
	w.records = []record.Progress{{Branch: 1, Best: &record.Best{Epoch: 1}, Epochs: []record.EpochRecord{
		{Epoch: 1, Step: 250}, {Epoch: 2, Step: 300, EpochStep: 50},
	}, Last: &record.CheckpointRef{Branch: 1, Epoch: 1, Step: 300, EpochStep: 50}}}
	env := environment(t, w)
	w.during = func(name string, call int) {
		if name == "TrainEpoch" && call == 1 {
			env.SignalWorkflow(pipeline.ExtendRequest, record.Extend{Epochs: 1})
		}
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t, "train.max_steps=420", "train.eval_steps=100"))
	if _, err := outcome(t, env); err != nil {
		t.Fatal(err)
	}
	var parts []part
	for _, e := range w.epochs {
		parts = append(parts, part{e.Epoch, e.Until})
	}
	// The second epoch is cut short at 420 steps, the extension's is whole again.
	want := []part{{1, 150}, {1, 0}, {2, 80}, {2, 180}, {2, 0}}
	if !slices.Equal(parts, want) {
		t.Errorf("trained %v, want %v", parts, want)
	}
	if last := w.records[len(w.records)-1]; last.Extension.After != 2 || last.Last.Step != 670 {
		t.Errorf("ended with %+v", last)
	}
}
