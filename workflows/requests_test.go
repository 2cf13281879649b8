package workflows

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// answer is what an update came to, once the run has ended.
type answer struct {
	status  pipeline.Status
	refused error
}

// ask sends an update.
func ask(env *testsuite.TestWorkflowEnvironment, request string, args ...any) *answer {
	a := &answer{}
	env.UpdateWorkflow(request, "", &testsuite.TestUpdateCallback{
		OnAccept: func() {},
		OnReject: func(err error) { a.refused = err },
		OnComplete: func(got any, err error) {
			if a.refused = err; err == nil {
				a.status = got.(pipeline.Status)
			}
		},
	}, args...)
	return a
}

// refusal is the reason an update was refused for.
func (a *answer) refusal() string {
	if a == nil || a.refused == nil {
		return ""
	}
	return a.refused.Error()
}

// A paused run leaves its device, waits as long as it takes, and goes on in a
// session of its own with the epoch it was in.
func TestPauseGivesTheDeviceBackAndResumeGoesOnWithTheEpoch(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	var paused, again, resumed *answer
	closedMeanwhile := 0
	w.during = func(name string, call int) {
		if name == "TrainEpoch" && call == 2 {
			paused = ask(env, pipeline.PauseRequest)
			env.RegisterDelayedCallback(func() {
				closedMeanwhile = len(w.closed)
				again, resumed = ask(env, pipeline.PauseRequest), ask(env, pipeline.ResumeRequest)
			}, 30*24*time.Hour)
		}
	}
	w.fail = func(name string, call int) error { // as the real one, it ends with the cancellation
		if name == "TrainEpoch" && call == 2 {
			return temporal.NewCanceledError()
		}
		return nil
	}
	began := env.Now()
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t))
	result, err := outcome(t, env)
	if err != nil || result.Epoch != 3 {
		t.Fatalf("%v %+v", err, result)
	}
	if waited := env.Now().Sub(began); waited < 30*24*time.Hour {
		t.Errorf("waited %v", waited)
	}
	if !paused.status.Paused || again.refusal() != "run r is paused already" || resumed.refused != nil ||
		resumed.status.Paused || closedMeanwhile != 1 {
		t.Errorf("pause %+v, again %v, resume %+v, %d trainers closed meanwhile", paused, again.refused,
			resumed, closedMeanwhile)
	}
	if w.count["TrainEpoch"] != 4 || w.epochs[1].Epoch != 1 || w.epochs[2].Epoch != 1 || len(w.closed) != 2 {
		t.Errorf("%d epochs, %d trainers closed: %s", w.count["TrainEpoch"], len(w.closed), w.without())
	}
	if n := w.count["FindProgress"]; n != 1 {
		t.Errorf("a pause counts as %d failures", n-1)
	}
}

func TestPauseBeforeTrainingHoldsTheStageAndACancelEndsIt(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	w.during = func(name string, call int) {
		if name == "PlanPrepare" {
			env.RegisterDelayedCallback(func() { env.SignalWorkflow(pipeline.PauseRequest, nil) }, 0)
			env.RegisterDelayedCallback(env.CancelWorkflow, 48*time.Hour)
		}
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t))
	if _, err := outcome(t, env); !temporal.IsCanceledError(err) || w.count["TrainEpoch"] > 0 ||
		w.count["BuildModel"] > 0 {
		t.Errorf("%v: %s", err, w.without())
	}
}

func TestStopNowBreaksTheEpochOffAndPublishesTheBest(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	var early, stopped *answer
	w.during = func(name string, call int) {
		switch {
		case name == "TrainEpoch" && call == 1:
			early = ask(env, pipeline.StopRequest, pipeline.Stop{Now: true})
		case name == "TrainEpoch" && call == 2:
			stopped = ask(env, pipeline.StopRequest, pipeline.Stop{Now: true})
		}
	}
	w.fail = func(name string, call int) error {
		if name == "TrainEpoch" && call == 2 {
			return temporal.NewCanceledError()
		}
		return nil
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t, "train.epochs=9"))
	result, err := outcome(t, env)
	if err != nil || result.Epoch != 1 || w.count["TrainEpoch"] != 2 || w.count["Publish"] != 1 {
		t.Errorf("%v %+v: %s", err, result, w.without())
	}
	if !stopped.status.Stopping || !strings.Contains(early.refusal(), "first epoch") {
		t.Errorf("stopped %+v, before the first epoch: %v", stopped, early.refused)
	}
}

func TestExtendTrainsOnInABranchOfItsOwnWithAConstantRate(t *testing.T) {
	w := newWorld()
	w.scores = []float64{10, 20, 30, 25, 40}
	env := environment(t, w)
	var mistake, late *answer
	w.during = func(name string, call int) {
		switch {
		case name == "TrainEpoch" && call == 1:
			mistake = ask(env, pipeline.ExtendRequest)
			env.SignalWorkflow(pipeline.ExtendRequest, record.Extend{Epochs: 1})
			env.SignalWorkflow(pipeline.ExtendRequest, record.Extend{Epochs: 1, LearningRate: 1e-4})
		case name == "Export":
			late = ask(env, pipeline.ExtendRequest, record.Extend{Epochs: 1})
		}
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t))
	result, err := outcome(t, env)
	if err != nil || result.Epoch != 5 || result.Eval.RougeL != 40 {
		t.Fatalf("%v %+v", err, result)
	}
	want := []record.Extension{
		{After: 3, Epochs: 1, Step: 300}, {After: 4, Epochs: 1, Step: 400, LearningRate: 1e-4},
	}
	for i, e := range w.epochs[3:] {
		if e.Work.Branch != i+2 || e.From == nil || e.From.Step != want[i].Step || e.Work.Extension == nil ||
			*e.Work.Extension != want[i] {
			t.Errorf("extension %d: branch %d from %+v: %+v", i+1, e.Work.Branch, e.From, e.Work.Extension)
		}
	}
	if w.epochs[2].Work.Extension != nil || w.epochs[2].Work.Train.Epochs != 3 ||
		w.epochs[4].Work.Train.Epochs != 3 {
		t.Errorf("the schedule moved: %+v", w.epochs[4].Work)
	}
	if !strings.Contains(mistake.refusal(), "epochs is 0") ||
		!strings.Contains(late.refusal(), "once it has ended") {
		t.Errorf("no epochs: %v; late: %v", mistake.refused, late.refused)
	}
}

// A complete run is extended in a new execution, which finds its progress.
func TestExtendOfACompleteRunGoesOnFromItsLastEpoch(t *testing.T) {
	w := newWorld()
	if _, err := start(t, w, config(t)); err != nil {
		t.Fatal(err)
	}
	env := environment(t, w)
	env.RegisterDelayedCallback(
		func() { env.SignalWorkflow(pipeline.ExtendRequest, record.Extend{Epochs: 2}) }, 0,
	)
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t))
	if _, err := outcome(t, env); err != nil || w.count["TrainEpoch"] != 5 {
		t.Fatalf("%v after %d epochs", err, w.count["TrainEpoch"])
	}
	last := w.epochs[4]
	if last.Epoch != 4 || last.Work.Branch != 2 ||
		*last.Work.Extension != (record.Extension{After: 3, Epochs: 2, Step: 300}) {
		t.Errorf("%+v, %+v", last, last.Work.Extension)
	}
	if published := w.inputs["Publish"].(pipeline.PublishInput); published.Branch != 2 ||
		len(published.History) != 5 {
		t.Errorf("%+v", published)
	}
}

func TestWhatWasAskedForIsCarriedIntoTheContinuation(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	env.SetContinueAsNewSuggested(true)
	w.during = func(name string, call int) {
		if name == "FindProgress" {
			env.SignalWorkflow(pipeline.ExtendRequest, record.Extend{Epochs: 4})
		}
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t))
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
	if len(state.Progress.Extends) != 1 || state.Progress.Extends[0].Epochs != 4 {
		t.Errorf("%+v", state.Progress)
	}
}

// A run that has failed and only tells so takes nothing: it would be forgotten with it.
func TestFailedRunRefusesWhatItCannotDoAnyMore(t *testing.T) {
	for stage, set := range map[string]string{pipeline.StageTrain: "seed=1", pipeline.StageRejected: "publish.approve=true"} {
		w := newWorld()
		env := environment(t, w)
		w.fail = func(name string, _ int) error {
			if stage == pipeline.StageTrain && name == "TrainEpoch" {
				return temporal.NewNonRetryableApplicationError("no such plugin", pipeline.InvalidInput, nil)
			}
			return nil
		}
		if stage == pipeline.StageRejected {
			atApproval(env, w, func() { env.SignalWorkflow(pipeline.RejectRequest, record.Decision{}) })
		}
		asked := map[string]*answer{}
		known := w.during
		w.during = func(name string, call int) {
			if known != nil {
				known(name, call)
			}
			if name == "Notify" && w.events[len(w.events)-1].Event.Type != pipeline.EventApproval {
				asked["extend"] = ask(env, pipeline.ExtendRequest, record.Extend{Epochs: 1})
				asked["pause"] = ask(env, pipeline.PauseRequest)
				asked["stop"] = ask(env, pipeline.StopRequest)
			}
		}
		env.ExecuteWorkflow(pipeline.WorkflowType, config(t, set, hook))
		if _, err := outcome(t, env); err == nil || len(asked) != 3 {
			t.Fatalf("%s: %v, asked %d", stage, err, len(asked))
		}
		for request, a := range asked {
			if !strings.Contains(a.refusal(), "run r has failed, at stage "+stage) {
				t.Errorf("%s: %s is answered %q", stage, request, a.refusal())
			}
		}
	}
}
