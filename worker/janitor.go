package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"distilvit/pipeline"
)

// JanitorSchedule is the id of the Temporal schedule that sweeps the bucket.
const JanitorSchedule = "distilvit-janitor"

const janitorEvery = 24 * time.Hour

// scheduleJanitor makes the schedule, or leaves the one that is there. How often
// it runs and whether it is paused is a person's to change; what it starts is
// ours. A server that has no schedules is no reason not to work.
func scheduleJanitor(ctx context.Context, o Options) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := ensureJanitor(ctx, o.Client.ScheduleClient()); err != nil &&
		context.Cause(ctx) != context.Canceled {
		o.Log.Warn("the Janitor is not scheduled; distilvit janitor runs it", "error", err)
	}
}

func ensureJanitor(ctx context.Context, schedules client.ScheduleClient) error {
	action := &client.ScheduleWorkflowAction{
		ID: JanitorSchedule, Workflow: pipeline.JanitorType, Args: []any{pipeline.JanitorInput{}},
		TaskQueue:     pipeline.TaskQueue,
		StaticSummary: "remove what nothing refers to",
	}
	_, err := schedules.Create(ctx, client.ScheduleOptions{
		ID:   JanitorSchedule,
		Spec: client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: janitorEvery}}},
		// One at a time, and one for all that fell due while nothing was up.
		Overlap:       enums.SCHEDULE_OVERLAP_POLICY_SKIP,
		CatchupWindow: janitorEvery,
		Action:        action,
	})
	if !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return err
	}
	return schedules.GetHandle(ctx, JanitorSchedule).Update(ctx, client.ScheduleUpdateOptions{
		DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			there, ok := in.Description.Schedule.Action.(*client.ScheduleWorkflowAction)
			if ok && there.Workflow == action.Workflow && there.TaskQueue == action.TaskQueue {
				return nil, temporal.ErrSkipScheduleUpdate
			}
			schedule := in.Description.Schedule
			schedule.Action = action
			return &client.ScheduleUpdate{Schedule: &schedule}, nil
		},
	})
}

// Open tells whether a run's workflow is open. Unlike a listing of workflows the
// answer is never behind.
func Open(ctx context.Context, c client.Client, run string) (bool, error) {
	described, err := c.DescribeWorkflowExecution(ctx, run, "")
	var notFound *serviceerror.NotFound
	if errors.As(err, &notFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("is run %s open: %w", run, err)
	}
	switch described.GetWorkflowExecutionInfo().GetStatus() {
	case enums.WORKFLOW_EXECUTION_STATUS_RUNNING, enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW,
		enums.WORKFLOW_EXECUTION_STATUS_PAUSED:
		return true, nil
	}
	return false, nil
}
