package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/pipeline"
)

// Sweep tries a config with several values of some keys: each trial is a Pipeline of its own, a child named after the
// sweep and its number. One trial at a time prepares its data, so that the others find it. With method halving trials
// pause after some epochs, and only the best part of them goes on; the others are stopped and publish what they have.
// A trial that fails is counted; the sweep fails only if none is left.
func Sweep(ctx workflow.Context, spec pipeline.Sweep) (*pipeline.SweepStatus, error) {
	s := &sweep{id: workflow.GetInfo(ctx).WorkflowExecution.ID, spec: spec}
	if err := s.setup(ctx); err != nil {
		return nil, err
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	s.writeReport(ctx)
	if s.status.Count(pipeline.TrialFailed) == len(s.trials) {
		return nil, temporal.NewNonRetryableApplicationError(fmt.Sprintf("all %d trials failed; the first: %s",
			len(s.trials), s.trials[0].Error), pipeline.TrialsFailed, nil)
	}
	return &s.status, nil
}

// sweep is the workflow's state.
type sweep struct {
	id     string
	spec   pipeline.Sweep
	status pipeline.SweepStatus
	trials []*trial

	open      int                         // trials that use one of spec.Concurrency
	preparing *trial                      // the one that others wait for; nil: none
	kept      map[int]map[*trial]struct{} // by rung: the trials that go on
}

// trial is one of the sweep's, with its place in the status.
type trial struct {
	*pipeline.TrialStatus
	config pipeline.Config
	child  workflow.ChildWorkflowFuture
	closed bool // its run has ended
	cut    bool // stopped at a rung, or by somebody
}

func (s *sweep) setup(ctx workflow.Context) error {
	if err := pipeline.CheckSweepID(s.id); err != nil {
		return invalid(err)
	}
	if err := s.validate(ctx); err != nil {
		return invalid(err)
	}
	s.status = pipeline.SweepStatus{Sweep: s.id, Method: s.spec.Method, Metric: s.spec.MetricForBestTrial()}
	s.kept = map[int]map[*trial]struct{}{}
	for i, settings := range s.spec.Settings() {
		s.status.Trials = append(s.status.Trials, pipeline.TrialStatus{
			Run: pipeline.TrialRun(s.id, i+1), Settings: settings, State: pipeline.TrialQueued,
		})
	}
	for i := range s.status.Trials {
		t := &trial{TrialStatus: &s.status.Trials[i]}
		var err error
		if t.config, err = s.spec.TrialConfig(t.Run, t.Settings); err != nil {
			return invalid(err)
		}
		s.trials = append(s.trials, t)
	}
	err := workflow.SetQueryHandler(
		ctx, pipeline.StatusQuery, func() (pipeline.SweepStatus, error) { return s.status, nil },
	)
	s.hearTrials(ctx)
	return errors.Join(err, serve(ctx, s, pipeline.StopRequest, "begin no more trials, and end training of the open ones",
		func(pipeline.Stop) error { return nil }, s.stop))
}

// validate refuses what cannot be, and since version 1 what one history cannot hold.
func (s *sweep) validate(ctx workflow.Context) error {
	if workflow.GetVersion(ctx, "sweep-bounds", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return s.spec.ValidateUnbounded()
	}
	return s.spec.Validate()
}

func (s *sweep) run(ctx workflow.Context) error {
	for _, t := range s.trials {
		err := workflow.Await(ctx, func() bool { return s.status.Stopping || s.preparing == nil && s.hasRoom() })
		if err != nil {
			return err
		}
		if s.status.Stopping {
			t.State = pipeline.TrialSkipped
			t.closed = true
			continue
		}
		s.open++
		s.preparing = t
		workflow.GoNamed(ctx, t.Run, func(ctx workflow.Context) { s.try(ctx, t) })
	}
	return workflow.Await(ctx, func() bool {
		return !slices.ContainsFunc(s.trials, func(t *trial) bool { return !t.closed })
	})
}

func (s *sweep) hasRoom() bool { return s.open < s.spec.Concurrency }

// try runs a trial to its end.
func (s *sweep) try(ctx workflow.Context, t *trial) {
	t.State, t.Began = pipeline.TrialRunning, workflow.Now(ctx)
	s.refresh(ctx)
	if err := s.start(ctx, t); err != nil {
		s.end(ctx, t, nil, err)
		return
	}
	workflow.GoNamed(ctx, t.Run+"-end", func(ctx workflow.Context) { s.awaitEnd(ctx, t) })
	if s.status.Stopping { // since it was about to begin
		t.cut = true
		s.ask(ctx, t, pipeline.StopRequest, pipeline.Stop{})
	}
	s.climb(ctx, t)
}

// climb takes a trial from rung to rung, as far as it goes.
func (s *sweep) climb(ctx workflow.Context, t *trial) {
	for i, rung := range s.spec.Rungs() {
		s.ask(ctx, t, pipeline.PauseRequest, pipeline.Pause{AfterEpoch: rung})
		if i > 0 {
			s.ask(ctx, t, pipeline.ResumeRequest, nil)
		}
		if !s.passes(ctx, t, rung) {
			return
		}
	}
	if len(s.spec.Rungs()) > 0 {
		s.ask(ctx, t, pipeline.ResumeRequest, nil)
	}
}

// start begins the trial's run.
func (s *sweep) start(ctx workflow.Context, t *trial) error {
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: t.Run, TaskQueue: pipeline.TaskQueue, WaitForCancellation: true,
		WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		StaticSummary:         pipeline.SettingsText(t.Settings),
		Priority:              temporal.Priority{PriorityKey: t.config.Priority},
	})
	var err error
	t.child, err = beginChild(ctx, pipeline.WorkflowType, t.config)
	return err
}

// passes waits until a trial has come to a rung, and until all others have. It is false where the trial does not go
// on: it has ended, or is told to stop.
func (s *sweep) passes(ctx workflow.Context, t *trial, rung int) bool {
	if workflow.Await(ctx, func() bool { return t.closed || t.Rung >= rung }) != nil || t.closed {
		return false
	}
	t.State = pipeline.TrialWaiting
	s.open--
	s.refresh(ctx)
	err := workflow.Await(ctx, func() bool { return t.closed || t.cut || s.decided(rung) && s.hasRoom() })
	s.open++
	if err != nil || t.closed {
		return false
	}
	t.State = pipeline.TrialRunning
	if _, goesOn := s.kept[rung][t]; !goesOn && !t.cut {
		t.cut = true
		s.ask(ctx, t, pipeline.StopRequest, pipeline.Stop{Now: true})
	}
	s.refresh(ctx)
	return !t.cut
}

// decided says that every trial has come to the rung or has ended, and then which of them go on.
func (s *sweep) decided(rung int) bool {
	if s.kept[rung] != nil {
		return true
	}
	var there []*trial
	for _, t := range s.trials {
		switch {
		case !t.closed && !t.cut && t.Rung < rung:
			return false
		case t.State == pipeline.TrialDone, t.Rung >= rung && t.State != pipeline.TrialFailed:
			there = append(there, t)
		}
	}
	slices.SortStableFunc(there, func(a, b *trial) int {
		return pipeline.CompareTrials(*a.TrialStatus, *b.TrialStatus, s.status.Metric)
	})
	s.kept[rung] = map[*trial]struct{}{}
	for _, t := range there[:s.spec.Keep(len(there))] {
		s.kept[rung][t] = struct{}{}
	}
	return true
}

// ask puts a request to a trial's run. One that has just ended does not hear it.
func (s *sweep) ask(ctx workflow.Context, t *trial, request string, argument any) {
	if err := t.child.SignalChildWorkflow(ctx, request, argument).Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Warn("a trial is not asked", "run", t.Run, "request", request, "error", err)
	}
}

// hearTrials takes what trials tell of themselves.
func (s *sweep) hearTrials(ctx workflow.Context) {
	told := workflow.GetSignalChannelWithOptions(ctx, pipeline.TrialSignal, workflow.SignalChannelOptions{
		Description: "what a trial's run tells",
	})
	workflow.GoNamed(ctx, pipeline.TrialSignal, func(ctx workflow.Context) {
		for {
			var what pipeline.TrialTold
			if !told.Receive(ctx, &what) {
				return
			}
			at := slices.IndexFunc(s.trials, func(t *trial) bool { return t.Run == what.Run && t.child != nil })
			if at < 0 {
				continue
			}
			t := s.trials[at]
			s.prepared(t)
			if what.Epoch > 0 && !t.closed {
				t.Rung, t.Epoch, t.Eval = what.Epoch, what.Best, what.Eval
			}
			s.refresh(ctx)
		}
	})
}

// prepared lets the next trial begin.
func (s *sweep) prepared(t *trial) {
	if s.preparing == t {
		s.preparing = nil
	}
}

func (s *sweep) awaitEnd(ctx workflow.Context, t *trial) {
	var result pipeline.Result
	err := t.child.Get(ctx, &result)
	s.end(ctx, t, &result, err)
}

// longestReason bounds what a failed trial tells, in bytes: all of them stand in one history.
const longestReason = 1000

// end notes what became of a trial.
func (s *sweep) end(ctx workflow.Context, t *trial, result *pipeline.Result, err error) {
	t.Ended, t.closed = workflow.Now(ctx), true
	s.open--
	s.prepared(t)
	switch {
	case err != nil:
		t.State, t.Error = pipeline.TrialFailed, reason(err)
		if len(t.Error) > longestReason {
			t.Error = strings.ToValidUTF8(t.Error[:longestReason], "") + "…"
		}
	case t.cut:
		t.State = pipeline.TrialStopped
	default:
		t.State = pipeline.TrialDone
	}
	if err == nil {
		t.Epoch, t.Eval, t.Test, t.Model = result.Epoch, brief(&result.Eval), brief(&result.Test), result.Model
	}
	s.refresh(ctx)
}

// stop begins no more trials, and ends the training of those under way.
func (s *sweep) stop(ctx workflow.Context, asked pipeline.Stop) {
	s.status.Stopping = true
	for _, t := range s.trials {
		if t.child == nil || t.closed {
			continue
		}
		t.cut = true
		s.ask(ctx, t, pipeline.StopRequest, pipeline.Stop{})
		if asked.Now {
			s.ask(ctx, t, pipeline.StopRequest, asked) // refused before the first epoch is finished
		}
	}
}

// writeReport stores the sweep's page. A sweep without one is complete all the same.
func (s *sweep) writeReport(ctx workflow.Context) {
	nobody := &run{spent: spentIDs{}} // no run is paused here
	key, err := call[string](ctx, nobody, reportSweep, "report", "table and curves of all trials",
		pipeline.ReportSweepInput{Status: s.status})
	if err != nil {
		s.status.Warnings = append(s.status.Warnings, "no report is written: "+reason(err))
		return
	}
	s.status.Report = key
}

// Status is the whole state of the sweep as people see it.
func (s *sweep) Status() pipeline.SweepStatus { return s.status }

// refresh finds the best trial anew, and shows all of them in the Temporal UI.
func (s *sweep) refresh(ctx workflow.Context) {
	if best := s.status.Trials[s.status.Ranking()[0]]; best.Eval != nil {
		s.status.Best = best.Run
	}
	workflow.SetCurrentDetails(ctx, sweepDetails(s.status))
}

// sweepDetails is the status as Markdown; of many trials those under way and the best.
func sweepDetails(s pipeline.SweepStatus) string {
	text := fmt.Sprintf("%d of %d trials have ended, %d of them failed\n\n| trial | | %s | settings |\n|---|---|--:|---|\n",
		s.Count(pipeline.TrialDone, pipeline.TrialStopped, pipeline.TrialFailed), len(s.Trials),
		s.Count(pipeline.TrialFailed), s.Metric)
	const most = 20
	shown := 0
	for _, i := range s.Ranking() {
		t := s.Trials[i]
		if shown >= most && t.State != pipeline.TrialRunning {
			continue
		}
		shown++
		score := ""
		if t.Eval != nil {
			_, score, _ = strings.Cut(t.Eval.Shown(s.Metric), " ")
		}
		text += fmt.Sprintf("| %s | %s | %s | %s |\n", t.Run, t.State, score, pipeline.SettingsText(t.Settings))
	}
	for _, w := range s.Warnings {
		text += "\n- ⚠ " + w
	}
	return text
}
