package worker

import (
	"context"
	"errors"
	"testing"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"distilvit/pipeline"
)

// schedules is a server's one schedule.
type schedules struct {
	client.ScheduleClient
	client.ScheduleHandle
	there   *client.Schedule
	updates int
}

func (s *schedules) Create(_ context.Context, o client.ScheduleOptions) (client.ScheduleHandle, error) {
	if s.there != nil {
		return nil, temporal.ErrScheduleAlreadyRunning
	}
	s.there = &client.Schedule{
		Action: o.Action, Spec: &o.Spec,
		Policy: &client.SchedulePolicies{Overlap: o.Overlap, CatchupWindow: o.CatchupWindow},
	}
	return s, nil
}

func (s *schedules) GetHandle(_ context.Context, id string) client.ScheduleHandle { return s }

func (s *schedules) Update(_ context.Context, o client.ScheduleUpdateOptions) error {
	update, err := o.DoUpdate(
		client.ScheduleUpdateInput{Description: client.ScheduleDescription{Schedule: *s.there}},
	)
	if errors.Is(err, temporal.ErrSkipScheduleUpdate) {
		return nil
	}
	if err == nil {
		s.updates++
		s.there = update.Schedule
	}
	return err
}

func TestJanitorIsScheduledOnceAndAPersonsChangesStay(t *testing.T) {
	s := &schedules{}
	for range 3 {
		if err := ensureJanitor(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	action := s.there.Action.(*client.ScheduleWorkflowAction)
	if s.updates != 0 ||
		action.Workflow != pipeline.JanitorType || s.there.Spec.Intervals[0].Every != janitorEvery ||
		s.there.Policy.Overlap != enums.SCHEDULE_OVERLAP_POLICY_SKIP {
		t.Errorf("%d updates, %+v", s.updates, s.there)
	}
	// Another version started something else; a person made it hourly and paused it.
	s.there.Action = &client.ScheduleWorkflowAction{Workflow: "Cleaner", TaskQueue: pipeline.TaskQueue}
	s.there.Spec.Intervals[0].Every /= 24
	s.there.State = &client.ScheduleState{Paused: true}
	if err := ensureJanitor(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	action = s.there.Action.(*client.ScheduleWorkflowAction)
	if s.updates != 1 || action.Workflow != pipeline.JanitorType ||
		s.there.Spec.Intervals[0].Every != janitorEvery/24 || !s.there.State.Paused {
		t.Errorf("%d updates, %+v", s.updates, s.there)
	}
}

// one answers for one workflow.
type one struct {
	client.Client
	status enums.WorkflowExecutionStatus
	err    error
}

func (o one) DescribeWorkflowExecution(
	context.Context, string, string,
) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	return &workflowservice.DescribeWorkflowExecutionResponse{
		WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{Status: o.status},
	}, o.err
}

func TestRunIsOpenUnlessItsWorkflowHasEndedOrIsUnknown(t *testing.T) {
	for _, c := range []struct {
		one
		open, fails bool
	}{
		{one{status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING}, true, false},
		{one{status: enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW}, true, false},
		{one{status: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED}, false, false},
		{one{status: enums.WORKFLOW_EXECUTION_STATUS_TERMINATED}, false, false},
		{one{err: serviceerror.NewNotFound("no such workflow")}, false, false},
		{one{err: serviceerror.NewUnavailable("no server")}, false, true},
	} {
		open, err := Open(t.Context(), c.one, "r")
		if open != c.open || (err != nil) != c.fails {
			t.Errorf("%v, %v: %v, %v", c.status, c.err, open, err)
		}
	}
}
