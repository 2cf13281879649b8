package workflows

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"distilvit/pipeline"
)

// worlds has a world for every run.
type worlds struct {
	mu      sync.Mutex
	of      map[string]*world
	make    func(run string) *world
	reports []pipeline.SweepStatus
}

func newWorlds(make func(run string) *world) *worlds {
	return &worlds{of: map[string]*world{}, make: make}
}

func (ws *worlds) get(run string) *world {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.of[run] == nil {
		ws.of[run] = ws.make(run)
	}
	return ws.of[run]
}

// register puts the activities of every world under their names, each doing what the world of its input's run does.
func (ws *worlds) register(registry interface {
	RegisterActivityWithOptions(any, activity.RegisterOptions)
}) {
	newWorld().register(perRun{ws, registry})
	registry.RegisterActivityWithOptions(func(_ context.Context, in pipeline.ReportSweepInput) (string, error) {
		ws.reports = append(ws.reports, in.Status)
		return "sweeps/" + in.Status.Sweep + "/report.html", nil
	}, activity.RegisterOptions{Name: "ReportSweep"})
}

// perRun registers the method of the run's world in the place of a world's method.
type perRun struct {
	*worlds
	registry interface {
		RegisterActivityWithOptions(any, activity.RegisterOptions)
	}
}

func (p perRun) RegisterActivityWithOptions(do any, o activity.RegisterOptions) {
	p.registry.RegisterActivityWithOptions(reflect.MakeFunc(reflect.TypeOf(do), func(in []reflect.Value) []reflect.Value {
		run := in[1]
		if work := run.FieldByName("Work"); work.IsValid() {
			run = work
		}
		id := run.FieldByName("Run").String()
		return reflect.ValueOf(p.get(id)).MethodByName(o.Name).Call(in)
	}).Interface(), o)
}

func sweepOf(t *testing.T, text string, set ...string) pipeline.Sweep {
	t.Helper()
	s, err := pipeline.DecodeSweep([]byte("run: {dataset: [{kind: shapes}], model: {preset: tiny}, train: {epochs: 4, patience: 0}}\n"+
		text), nil, set...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sweepEnvironment(t *testing.T, ws *worlds) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	env := new(testsuite.WorkflowTestSuite).NewTestWorkflowEnvironment()
	env.SetWorkerOptions(worker.Options{EnableSessionWorker: true, MaxConcurrentSessionExecutionSize: 100})
	env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: "s"})
	Register(env)
	ws.register(env)
	return env
}

func sweepOutcome(t *testing.T, env *testsuite.TestWorkflowEnvironment) (pipeline.SweepStatus, error) {
	t.Helper()
	var status pipeline.SweepStatus
	if !env.IsWorkflowCompleted() {
		t.Fatal("the workflow has not ended")
	}
	if err := env.GetWorkflowError(); err != nil {
		return status, err
	}
	return status, env.GetWorkflowResult(&status)
}

// states are the trials' states, in order.
func states(s pipeline.SweepStatus) string {
	var all []string
	for _, t := range s.Trials {
		all = append(all, t.State)
	}
	return strings.Join(all, " ")
}

// scored is a world whose run ends with these scores, one an epoch.
func scored(scores ...float64) *world {
	w := newWorld()
	w.scores = scores
	return w
}

func TestSweepRunsEveryTrialAndNamesTheBest(t *testing.T) {
	ws := newWorlds(func(run string) *world {
		return map[string]*world{"s-1": scored(10), "s-2": scored(10, 30, 20), "s-3": scored(20)}[run]
	})
	env := sweepEnvironment(t, ws)
	env.ExecuteWorkflow(pipeline.SweepType, sweepOf(t, "parameters: {train.learning_rate: [1e-2, 1e-3, 1e-4]}"))
	s, err := sweepOutcome(t, env)
	if err != nil || states(s) != "done done done" || s.Best != "s-2" || s.Report != "sweeps/s/report.html" {
		t.Fatalf("%v %+v", err, s)
	}
	if best := s.Trials[1]; best.Epoch != 2 || best.Eval.RougeL != 30 || best.Model != "models/s-2/s-2" || best.Test == nil ||
		!slices.Equal(s.Ranking(), []int{1, 2, 0}) || best.Ended.Before(best.Began) {
		t.Errorf("%+v, ranking %v", best, s.Ranking())
	}
	for i, rate := range []float64{1e-2, 1e-3, 1e-4} {
		run := pipeline.TrialRun("s", i+1)
		in := ws.of[run].inputs["Publish"].(pipeline.PublishInput)
		if in.Config.Train.LearningRate != rate || in.Config.Name != run || ws.of[run].count["TrainEpoch"] != 4 {
			t.Errorf("%s: %+v", run, in.Config)
		}
	}
	if len(ws.reports) != 1 || ws.reports[0].Best != "s-2" {
		t.Errorf("reports %+v", ws.reports)
	}
}

// One trial at a time prepares, and so many at once are under way.
func TestTrialsPrepareOneAfterTheOther(t *testing.T) {
	var mu sync.Mutex
	preparing, mostPreparing, open, mostOpen := map[string]bool{}, 0, map[string]bool{}, 0
	ws := newWorlds(func(run string) *world {
		w := newWorld()
		w.during = func(name string, _ int) {
			mu.Lock()
			defer mu.Unlock()
			switch name {
			case "Preflight":
				preparing[run], open[run] = true, true
			case "FinishTokens": // the last of it
				delete(preparing, run)
			case "Publish":
				delete(open, run)
			}
			mostPreparing, mostOpen = max(mostPreparing, len(preparing)), max(mostOpen, len(open))
		}
		return w
	})
	env := sweepEnvironment(t, ws)
	env.ExecuteWorkflow(pipeline.SweepType, sweepOf(t, "concurrency: 3\nparameters: {seed: [1, 2, 3, 4, 5, 6]}"))
	s, err := sweepOutcome(t, env)
	if err != nil || s.Count(pipeline.TrialDone) != 6 || mostPreparing != 1 || mostOpen > 3 || mostOpen < 2 {
		t.Errorf("%v, %s: %d prepared at once, %d were open", err, states(s), mostPreparing, mostOpen)
	}
}

func TestFailedTrialsAreCountedAndOthersGoOn(t *testing.T) {
	ws := newWorlds(func(run string) *world {
		w := newWorld()
		w.fail = func(name string, _ int) error {
			if run == "s-1" && name == "Download" || run == "s-3" && name == "TrainEpoch" {
				return typed(pipeline.InvalidInput, "there is no such file "+strings.Repeat("x", 2000))
			}
			return nil
		}
		return w
	})
	env := sweepEnvironment(t, ws)
	// the second trial's heads do not divide its width
	env.ExecuteWorkflow(pipeline.SweepType, sweepOf(t, "parameters: {model.heads: [2, 5, 3, 4]}", "model.hidden_size=96"))
	s, err := sweepOutcome(t, env)
	if err != nil || states(s) != "failed failed failed done" || s.Best != "s-4" || s.Count(pipeline.TrialFailed) != 3 {
		t.Fatalf("%v %+v", err, s)
	}
	if first, second := s.Trials[0].Error, s.Trials[1].Error; len(first) > longestReason+10 ||
		!strings.Contains(first, "InvalidInput: there is no such file x") || !strings.Contains(second, "model.heads") {
		t.Errorf("%q\n%q", first, second)
	}
	if ws.of["s-2"] != nil {
		t.Error("the impossible trial has done something")
	}
}

func TestSweepWhoseTrialsAllFailFails(t *testing.T) {
	ws := newWorlds(func(run string) *world {
		w := newWorld()
		w.fail = func(string, int) error { return typed(pipeline.InvalidInput, "of "+run) }
		return w
	})
	env := sweepEnvironment(t, ws)
	env.ExecuteWorkflow(pipeline.SweepType, sweepOf(t, "parameters: {seed: [1, 2]}"))
	_, err := sweepOutcome(t, env)
	if errorType(err) != pipeline.TrialsFailed || !strings.Contains(err.Error(), "all 2 trials failed; the first: "+
		"InvalidInput: of s-1") || len(ws.reports) != 1 {
		t.Errorf("%v, reports %+v", err, ws.reports)
	}
}

func TestMistakesOfASweepFailItBeforeAnythingStarts(t *testing.T) {
	for id, s := range map[string]pipeline.Sweep{
		"s":                     {},
		strings.Repeat("a", 60): sweepOf(t, "parameters: {seed: [1]}"),
	} {
		env := sweepEnvironment(t, newWorlds(nil))
		env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: id})
		env.ExecuteWorkflow(pipeline.SweepType, s)
		if _, err := sweepOutcome(t, env); errorType(err) != pipeline.InvalidInput {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// Sweeps that began before their events were counted go on as they began.
func TestSweepsBeyondOneHistoryAreRefusedUnlessTheyHaveBegun(t *testing.T) {
	spec := sweepOf(t, "method: halving\ntrials: 20\nparameters: {train.learning_rate: {min: 1e-6, max: 1, log: true}}")
	spec.Trials, spec.Run.Train.Epochs = 500, 512
	for version, want := range map[workflow.Version]bool{workflow.DefaultVersion: false, 1: true} {
		env := sweepEnvironment(t, newWorlds(func(string) *world {
			w := newWorld()
			w.fail = func(string, int) error { return typed(pipeline.InvalidInput, "no trial is to begin") }
			return w
		}))
		env.OnGetVersion("sweep-bounds", workflow.DefaultVersion, workflow.Version(1)).Return(version)
		env.ExecuteWorkflow(pipeline.SweepType, spec)
		_, err := sweepOutcome(t, env)
		if refused := errorType(err) == pipeline.InvalidInput && strings.Contains(err.Error(), "10000 at most"); refused != want {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// Of eight trials four go on after epoch 1, two after epoch 2, and the better one of them trains to its end as if it
// had been alone: a pause changes no bit. What is stopped publishes the best that it has.
func TestHalvingStopsTheWorseHalfAtEveryRung(t *testing.T) {
	// trial n has n after its first epoch; 5 falls behind in the second, and 6 in the fourth
	scores := map[string][]float64{
		"s-1": {1, 90}, "s-2": {2, 90}, "s-3": {3, 90}, "s-4": {4, 90},
		"s-5": {5, 5, 90}, "s-6": {6, 16, 26, 36, 90}, "s-7": {7, 17, 27, 37, 47, 48, 49, 50}, "s-8": {8, 8, 90},
	}
	ws := newWorlds(func(run string) *world { return scored(scores[run]...) })
	env := sweepEnvironment(t, ws)
	env.ExecuteWorkflow(pipeline.SweepType, sweepOf(t, "method: halving\nconcurrency: 3\n"+
		"parameters: {seed: [1, 2, 3, 4, 5, 6, 7, 8]}", "train.epochs=8"))
	s, err := sweepOutcome(t, env)
	if err != nil || states(s) != "stopped stopped stopped stopped stopped stopped done stopped" || s.Best != "s-7" {
		t.Fatalf("%v %+v", err, s)
	}
	for run, epochs := range map[string]int{
		"s-1": 1, "s-4": 1, "s-5": 2, "s-8": 2, "s-6": 4, "s-7": 8,
	} {
		w := ws.of[run]
		if w.count["TrainEpoch"] != epochs || w.count["Publish"] != 1 {
			t.Errorf("%s: %d epochs, %s", run, w.count["TrainEpoch"], w.without())
		}
	}
	if s.Trials[5].Eval.RougeL != 36 {
		t.Errorf("the second best: %+v", s.Trials[5])
	}
}

// A trial that fails at a rung, or ends before it, does not hold up the others.
func TestHalvingDoesNotWaitForTrialsThatHaveEnded(t *testing.T) {
	ws := newWorlds(func(run string) *world {
		w := scored(map[string]float64{"s-1": 10, "s-2": 20, "s-3": 30, "s-4": 40}[run])
		w.fail = func(name string, call int) error {
			if run == "s-4" && name == "TrainEpoch" && call == 2 {
				return typed(pipeline.Nondeterministic, "step 7")
			}
			return nil
		}
		return w
	})
	env := sweepEnvironment(t, ws)
	// 8,000 pictures in batches of 32: train.max_steps=250 is an epoch
	env.ExecuteWorkflow(pipeline.SweepType, sweepOf(t, "method: halving\nhalving: {epochs: 2, factor: 2}\nconcurrency: 4\n"+
		"parameters: {seed: [1, 2, 3, 4]}", "train.epochs=4"))
	s, err := sweepOutcome(t, env)
	if err != nil || states(s) != "stopped done done failed" || s.Best != "s-3" {
		t.Errorf("%v %+v", err, s)
	}
	ws = newWorlds(func(run string) *world { return scored(10) })
	env = sweepEnvironment(t, ws)
	env.ExecuteWorkflow(pipeline.SweepType, sweepOf(t, "method: halving\nhalving: {epochs: 2, factor: 2}\n"+
		"parameters: {seed: [1, 2]}", "train.max_steps=250"))
	if s, err = sweepOutcome(t, env); err != nil || states(s) != "done done" {
		t.Errorf("%v %+v", err, s)
	}
}

func TestStoppedSweepBeginsNoMoreTrialsAndPublishesThoseUnderWay(t *testing.T) {
	var env *testsuite.TestWorkflowEnvironment
	ws := newWorlds(func(run string) *world {
		w := newWorld()
		w.during = func(name string, call int) {
			if run == "s-1" && name == "TrainEpoch" && call == 2 {
				env.SignalWorkflow(pipeline.StopRequest, pipeline.Stop{})
			}
		}
		return w
	})
	env = sweepEnvironment(t, ws)
	env.ExecuteWorkflow(pipeline.SweepType, sweepOf(t, "concurrency: 1\nparameters: {seed: [1, 2, 3]}"))
	s, err := sweepOutcome(t, env)
	if err != nil || states(s) != "stopped skipped skipped" || !s.Stopping || ws.of["s-1"].count["TrainEpoch"] != 2 {
		t.Errorf("%v %+v", err, s)
	}
}

func TestStoppedSweepFreesTrialsThatWaitAtARung(t *testing.T) {
	var env *testsuite.TestWorkflowEnvironment
	ws := newWorlds(func(run string) *world {
		w := newWorld()
		w.during = func(name string, call int) {
			if run == "s-2" && name == "TrainEpoch" && call == 1 { // the first has come to its rung
				env.SignalWorkflow(pipeline.StopRequest, pipeline.Stop{Now: true})
			}
		}
		return w
	})
	env = sweepEnvironment(t, ws)
	env.ExecuteWorkflow(pipeline.SweepType, sweepOf(t, "method: halving\nconcurrency: 1\nparameters: {seed: [1, 2, 3]}"))
	s, err := sweepOutcome(t, env)
	if err != nil || states(s) != "stopped stopped skipped" || ws.of["s-1"].count["TrainEpoch"] != 1 {
		t.Errorf("%v %+v", err, s)
	}
}

// The status is there while the sweep goes on.
func TestStatusOfASweepTellsWhatItsTrialsDo(t *testing.T) {
	var env *testsuite.TestWorkflowEnvironment
	var seen pipeline.SweepStatus
	ws := newWorlds(func(run string) *world {
		w := newWorld()
		w.during = func(name string, call int) {
			if run == "s-2" && name == "TrainEpoch" && call == 1 {
				answer, err := env.QueryWorkflow(pipeline.StatusQuery)
				if err == nil {
					err = answer.Get(&seen)
				}
				if err != nil {
					t.Error(err)
				}
			}
		}
		return w
	})
	env = sweepEnvironment(t, ws)
	env.ExecuteWorkflow(pipeline.SweepType, sweepOf(t, "method: halving\nconcurrency: 1\nparameters: {seed: [1, 2]}"))
	if _, err := sweepOutcome(t, env); err != nil {
		t.Fatal(err)
	}
	first := seen.Trials[0]
	if states(seen) != "waiting running" || seen.Best != "s-1" || first.Rung != 1 || first.Epoch != 1 ||
		fmt.Sprint(first.Settings) != "[seed=1]" {
		t.Errorf("%+v", seen)
	}
}

// People may pause a run after an epoch, too.
func TestRunPausesAfterTheEpochThatWasAskedFor(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	var refused, again *answer
	w.during = func(name string, call int) {
		if name == "TrainEpoch" && call == 1 {
			env.SignalWorkflow(pipeline.PauseRequest, pipeline.Pause{AfterEpoch: 2})
			refused = ask(env, pipeline.PauseRequest, pipeline.Pause{AfterEpoch: -1})
		}
	}
	epochs := 0
	env.RegisterDelayedCallback(func() {
		epochs = w.count["TrainEpoch"]
		again = ask(env, pipeline.ResumeRequest)
	}, 24*60*60*1e9)
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t))
	result, err := outcome(t, env)
	if err != nil || result.Epoch != 3 || epochs != 2 || again.refused != nil ||
		!strings.Contains(refused.refusal(), "after_epoch is -1") {
		t.Errorf("%v %+v: paused after %d epochs; %v, %v", err, result, epochs, refused.refused, again)
	}
}
