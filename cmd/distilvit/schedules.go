package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"distilvit/internal/encryption"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// scheduleInfo is a schedule as Temporal knows it.
type scheduleInfo struct {
	Name     string      `json:"name"`
	Model    string      `json:"model"` // models/<name>
	Cron     string      `json:"cron"`
	TimeZone string      `json:"time_zone"`
	Paused   bool        `json:"paused"`
	Note     string      `json:"note,omitempty"` // of who paused it
	Next     []time.Time `json:"next"`           // turns, the soonest first
	Begun    int         `json:"begun"`          // turns so far
	Skipped  int         `json:"skipped"`        // since the one before was under way
	Missed   int         `json:"missed"`         // longer ago than is made up for
	Turns    []turnInfo  `json:"turns"`          // the last ones, newest first
}

// turnInfo is a turn of a schedule.
type turnInfo struct {
	Workflow string    `json:"workflow"` // two turns of one second have the same
	First    string    `json:"first_execution"`
	Began    time.Time `json:"began"`
	Status   string    `json:"status"` // running, failed or another of a workflow's that did not complete, or Turn's outcome
	Left     bool      `json:"left"`   // its run published nothing and is stored still
	pipeline.Turn

	schedule string
}

// retrains says whether a schedule is one of ours.
func retrains(action client.ScheduleAction) bool {
	w, ok := action.(*client.ScheduleWorkflowAction)
	return ok && w.Workflow == pipeline.RetrainType
}

// scheduleInfo describes a schedule, without what became of its turns.
func (s *site) scheduleInfo(ctx context.Context, name string) (*scheduleInfo, error) {
	described, in, err := s.describeSchedule(ctx, name)
	if errors.Is(err, errNoSchedule) {
		return nil, fmt.Errorf("no such schedule: %s %s (distilvit schedule list shows those there)", name, s.place())
	}
	if err != nil {
		return nil, err
	}
	info := &scheduleInfo{
		Name: name, Next: described.Info.NextActionTimes, Begun: described.Info.NumActions,
		Skipped: described.Info.NumActionsSkippedOverlap, Missed: described.Info.NumActionsMissedCatchupWindow,
		Paused: described.Schedule.State.Paused, Note: described.Schedule.State.Note, Turns: []turnInfo{},
	}
	info.Model, info.Cron, info.TimeZone = in.Published(), in.Cron, in.TimeZone
	for _, action := range slices.Backward(described.Info.RecentActions) {
		if w := action.StartWorkflowResult; w != nil {
			info.Turns = append(info.Turns, turnInfo{
				Workflow: w.WorkflowID, First: w.FirstExecutionRunID, Began: action.ActualTime, schedule: name,
			})
		}
	}
	return info, nil
}

// errNoSchedule is the answer for a name that no schedule of ours has.
var errNoSchedule = errors.New("no such schedule")

// describeSchedule is one of our schedules as Temporal knows it, and what it starts its turns with.
func (s *site) describeSchedule(
	ctx context.Context, name string,
) (described *client.ScheduleDescription, in pipeline.Retrain, err error) {
	described, err = s.client.ScheduleClient().GetHandle(ctx, name).Describe(ctx)
	var notFound *serviceerror.NotFound
	switch {
	case errors.As(err, &notFound) || err == nil && !retrains(described.Schedule.Action):
		return nil, in, errNoSchedule
	case err != nil:
		return nil, in, fmt.Errorf("describe schedule %s: %w", name, err)
	}
	if in, err = retrainOf(described.Schedule.Action); err != nil {
		return nil, in, fmt.Errorf("read schedule %s: %w", name, err)
	}
	return described, in, nil
}

// retrainOf is what a schedule starts its turns with.
func retrainOf(action client.ScheduleAction) (in pipeline.Retrain, err error) {
	payload, ok := action.(*client.ScheduleWorkflowAction).Args[0].(*common.Payload)
	if !ok {
		return in, errors.New("its argument is none that was stored")
	}
	return in, encryption.DataConverter().FromPayload(payload, &in)
}

// findTurn asks what became of a turn.
func findTurn(ctx context.Context, c client.Client, t *turnInfo, working bool) error {
	run, execution, err := describeTurn(ctx, c, t)
	if errors.Is(err, errNoRun) {
		t.Status, t.Detail = "gone", "Temporal keeps its history no longer"
		return nil
	}
	if err != nil {
		return err
	}
	var turn *pipeline.Turn
	switch {
	case run.open() && !working:
		t.Status, t.Detail = statusInterrupted, "no worker is up; distilvit up goes on with it"
		return nil
	case run.open():
		t.Status = run.Status
		turn, err = query[pipeline.Turn](ctx, c, t.Workflow, execution)
		if err != nil {
			t.Detail = "not known: its worker does not answer"
			return nil
		}
	default:
		t.Status = run.Status
		if turn, err = resultOf[pipeline.Turn](ctx, c, t.Workflow, execution); err != nil {
			t.Detail = failureText(err)
			return findFailedRun(ctx, c, t, run)
		}
		t.Status = turn.Outcome
	}
	t.Turn = *turn
	return nil
}

// findFailedRun finds the run of a turn that has failed and so tells of none. One that failed before had none.
func findFailedRun(ctx context.Context, c client.Client, t *turnInfo, turn *runInfo) error {
	id := pipeline.Retrain{Schedule: t.schedule}.RunOf(turn.Started)
	_, _, err := describeRun(ctx, c, id)
	if err == nil {
		t.Run = id
	} else if errors.Is(err, errNoRun) {
		err = nil
	}
	return err
}

// findLeft finds out whether the run of a turn that has ended without publishing is stored still.
func (s *site) findLeft(ctx context.Context, t *turnInfo) error {
	if t.Run == "" || slices.Contains(turnsWithoutLeftovers, t.Status) {
		return nil
	}
	for _, err := range s.store.List(ctx, layout.Run(t.Run).Group()+"/") {
		t.Left = err == nil
		return err
	}
	return nil
}

// turnsWithoutLeftovers are what becomes of turns whose run is to stay, goes on, or is another turn's.
var turnsWithoutLeftovers = []string{
	pipeline.TurnPublished, pipeline.TurnUnchanged, statusRunning, statusInterrupted,
}

// describeTurn finds the execution that a turn is now. Temporal names turns after the second in which they begin: the
// newest execution of that name may be another turn, or this one after a reset.
func describeTurn(ctx context.Context, c client.Client, t *turnInfo) (run *runInfo, execution string, err error) {
	run, described, err := describeRun(ctx, c, t.Workflow)
	if err == nil && run.firstRun != t.First {
		run, described, err = describeExecution(ctx, c, t.Workflow, t.First)
	}
	if err != nil {
		return nil, "", err
	}
	return run, described.WorkflowExecutionInfo.GetExecution().GetRunId(), nil
}

func (a *app) listSchedules(ctx context.Context, s *site) error {
	names, err := s.scheduleNames(ctx)
	if err != nil {
		return err
	}
	infos := []*scheduleInfo{}
	for _, name := range names {
		info, err := s.scheduleInfo(ctx, name)
		if err != nil {
			return err
		}
		infos = append(infos, info)
	}
	if a.output == "json" {
		return printJSON(a.stdout, infos)
	}
	if len(infos) == 0 {
		fmt.Fprintf(a.stdout, "no schedules %s; distilvit schedule NAME -f FILE --cron EXPRESSION makes one\n", s.place())
		return nil
	}
	t := &table{}
	t.add("SCHEDULE", "MODEL", "CRON", "NEXT", "TURNS", "SKIPPED")
	for _, i := range infos {
		next := strings.TrimPrefix(nextText(*i), nextTurn)
		t.add(i.Name, i.Model, i.Cron+" "+i.TimeZone, next, fmt.Sprint(i.Begun), fmt.Sprint(i.Skipped))
	}
	t.write(a.stdout, "")
	return nil
}

// nextText says when the next turn is.
func nextText(i scheduleInfo) string {
	switch {
	case i.Paused:
		return "paused"
	case len(i.Next) == 0:
		return "no turn follows"
	}
	return nextTurn + timeText(i.Next[0])
}

const nextTurn = "next turn "

func timeText(t time.Time) string { return t.Local().Format("2006-01-02 15:04 MST") }

func (a *app) showSchedule(ctx context.Context, s *site, name string) error {
	info, err := s.scheduleInfo(ctx, name)
	if err != nil {
		return err
	}
	working, err := s.hasWorkflowWorker(ctx)
	if err != nil {
		return err
	}
	for i := range info.Turns {
		if err := findTurn(ctx, s.client, &info.Turns[i], working); err != nil {
			return err
		}
		if err := s.findLeft(ctx, &info.Turns[i]); err != nil {
			return err
		}
	}
	if a.output == "json" {
		return printJSON(a.stdout, info)
	}
	t := &table{}
	t.add("schedule", info.Name)
	t.add("model", info.Model)
	t.add("cron", info.Cron+" "+info.TimeZone)
	t.add("status", nextText(*info))
	if info.Paused && info.Note != "" {
		t.add("note", info.Note)
	}
	t.add("turns", fmt.Sprintf("%d begun, %d skipped since the one before was under way, %d missed while the stack was down",
		info.Begun, info.Skipped, info.Missed))
	t.write(a.stdout, "")
	if len(info.Turns) == 0 {
		return nil
	}
	fmt.Fprintln(a.stdout)
	turns := &table{}
	turns.add("BEGAN", "OUTCOME", "RUN", "")
	var left []string
	for _, t := range info.Turns {
		turns.add(timeText(t.Began), t.Status, t.Run, t.Detail)
		if t.Left {
			left = append(left, t.Run)
		}
	}
	turns.write(a.stdout, "")
	if len(left) > 0 {
		fmt.Fprintf(a.stdout, "\nstored still, though nothing was published: %s\n  distilvit logs RUN tells more of one, distilvit rm RUN "+
			"removes it\n", strings.Join(left, ", "))
	}
	return nil
}
