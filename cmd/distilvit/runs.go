package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"distilvit/internal/encryption"
	"distilvit/pipeline"
)

// checkRunID refuses what cannot name a run.
func checkRunID(id string) error {
	if err := pipeline.CheckRunID(id); err != nil {
		return &usageError{err: err}
	}
	return nil
}

// runInfo is one run as Temporal knows it.
type runInfo struct {
	ID      string    `json:"id"`
	Status  string    `json:"status"` // one of the constants below, or Temporal's word of a run that has ended
	Stage   string    `json:"stage,omitempty"`
	Model   string    `json:"model,omitempty"`
	Started time.Time `json:"started"`
	Closed  time.Time `json:"closed,omitzero"`
	Seconds float64   `json:"seconds"`
	// the history is lost and this is what the store tells: if not completed, the status is recovered
	Recovered bool   `json:"recovered,omitempty"`
	Sweep     string `json:"sweep,omitempty"`  // that the run is a trial of
	Trials    int    `json:"trials,omitempty"` // that a sweep has begun; of a run 0
	kind      string // workflow type
	parent    string // workflow that began it; empty: none
	firstRun  string
	isOpen    bool
}

func (r *runInfo) open() bool { return r.isOpen }

// errNoRun is the answer for an id no workflow has.
var errNoRun = errors.New("no such run")

// describeRun is the newest execution of a run with what its activities report.
func describeRun(
	ctx context.Context, c client.Client, id string,
) (*runInfo, *workflowservice.DescribeWorkflowExecutionResponse, error) {
	return describeExecution(ctx, c, id, "")
}

// describeExecution is describeRun of one execution; "": the newest.
func describeExecution(
	ctx context.Context, c client.Client, id, execution string,
) (*runInfo, *workflowservice.DescribeWorkflowExecutionResponse, error) {
	described, err := c.DescribeWorkflowExecution(ctx, id, execution)
	var notFound *serviceerror.NotFound
	if errors.As(err, &notFound) {
		return nil, nil, fmt.Errorf("%w: %s", errNoRun, id)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("describe run %s: %w", id, err)
	}
	return newRunInfo(described.WorkflowExecutionInfo), described, nil
}

func newRunInfo(info *workflow.WorkflowExecutionInfo) *runInfo {
	attributes := info.GetSearchAttributes().GetIndexedFields()
	run := &runInfo{
		ID:        info.GetExecution().GetWorkflowId(),
		Status:    statusText(info.GetStatus()),
		isOpen:    statusText(info.GetStatus()) == statusRunning,
		Stage:     attributeText(attributes[pipeline.SearchStage]),
		Model:     attributeText(attributes[pipeline.SearchModel]),
		Started:   info.GetStartTime().AsTime(),
		Recovered: info.GetMemo().GetFields()[pipeline.RecoveredMemo] != nil,
		kind:      info.GetType().GetName(),
		parent:    info.GetParentExecution().GetWorkflowId(),
		firstRun:  info.GetFirstRunId(),
	}
	end := time.Now()
	if info.CloseTime != nil {
		run.Closed = info.CloseTime.AsTime()
		end = run.Closed
	}
	run.Seconds = end.Sub(run.Started).Seconds()
	switch {
	case !run.isOpen && run.Stage == pipeline.StageRejected:
		run.Status = statusRejected
	case run.Recovered && info.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_FAILED:
		run.Status = statusRecovered
	}
	return run
}

// What an open run's status may be; Temporal itself calls all of them running.
const (
	statusRunning     = "running"
	statusWaiting     = "waiting"     // its activities are queued: for a device, a worker, or another attempt
	statusPaused      = "paused"      // until somebody resumes it
	statusInterrupted = "interrupted" // no worker is up
)

// What a run that failed may be besides.
const (
	statusRejected  = "rejected"  // somebody rejected its model
	statusRecovered = "recovered" // its history is lost; it can go on
)

func statusText(status enums.WorkflowExecutionStatus) string {
	switch status {
	case enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		return "timed out"
	case enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
		return statusRunning
	default:
		return strings.ToLower(status.String())
	}
}

// listRuns is every run, newest first.
func listRuns(ctx context.Context, c client.Client) ([]*runInfo, error) {
	return listOf(ctx, c, pipeline.WorkflowType)
}

// listOf is every workflow of a type, newest first.
func listOf(ctx context.Context, c client.Client, kind string) ([]*runInfo, error) {
	runs := []*runInfo{}
	var page []byte
	for {
		answer, err := c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query:         fmt.Sprintf("WorkflowType = %q AND ExecutionStatus != 'ContinuedAsNew'", kind),
			NextPageToken: page,
		})
		if err != nil {
			return nil, fmt.Errorf("list runs: %w", err)
		}
		for _, info := range answer.Executions {
			runs = append(runs, newRunInfo(info))
		}
		if page = answer.NextPageToken; len(page) == 0 {
			return runs, nil
		}
	}
}

// find is describeRun for who asks for a run that should be there.
func (s *site) find(ctx context.Context, id string) (
	*runInfo, *workflowservice.DescribeWorkflowExecutionResponse, error,
) {
	run, described, err := describeRun(ctx, s.client, id)
	if errors.Is(err, errNoRun) {
		err = s.noRun(id)
	}
	return run, described, err
}

func (s *site) noRun(id string) error {
	return fmt.Errorf("%w: %s %s (distilvit list shows those there)", errNoRun, id, s.place())
}

// standings tells open runs apart: those that somebody works on, and others.
func (s *site) standings(ctx context.Context, runs []*runInfo) error {
	if !slices.ContainsFunc(runs, (*runInfo).open) {
		return nil
	}
	working, err := s.hasWorkflowWorker(ctx)
	if err != nil {
		return err
	}
	for _, run := range runs {
		if !run.open() {
			continue
		}
		_, described, err := describeRun(ctx, s.client, run.ID)
		if errors.Is(err, errNoRun) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		var status *pipeline.Status
		if working && run.kind == pipeline.WorkflowType {
			status, _ = queryStatus(ctx, s.client, run.ID) // absent where its worker is just gone
		}
		run.Status = standing(working, status, described)
	}
	return nil
}

// hasWorkflowWorker says whether somebody goes on with open runs.
func (s *site) hasWorkflowWorker(ctx context.Context) (bool, error) {
	if s.hosted != nil {
		return false, nil // this process hosts the stack for a moment
	}
	missing, err := queuesWithoutWorkers(ctx, s)
	return !slices.Contains(missing, pipeline.TaskQueue), err
}

// standing is the status of an open run: with a worker that goes on with it or not, with what
// its workflow answered (nil: nothing), and with what it waits for.
func standing(working bool, status *pipeline.Status, described *workflowservice.DescribeWorkflowExecutionResponse) string {
	queued, begun := 0, 0
	for _, activity := range described.GetPendingActivities() {
		if activity.GetState() == enums.PENDING_ACTIVITY_STATE_STARTED {
			begun++
		} else {
			queued++
		}
	}
	switch {
	case !working:
		return statusInterrupted
	case status != nil && status.Paused:
		return statusPaused
	case status != nil && status.Asked != nil, queued > 0 && begun == 0:
		return statusWaiting
	}
	return statusRunning
}

// attributeText is a keyword search attribute; empty when it is not set.
func attributeText(payload *common.Payload) string {
	var text string
	if payload == nil || converter.GetDefaultDataConverter().FromPayload(payload, &text) != nil {
		return ""
	}
	return text
}

// startRun starts the workflow unless it is open; a run that failed goes on from
// its checkpoints in a new execution.
func startRun(ctx context.Context, c client.Client, id string, cfg pipeline.Config) error {
	_, err := c.ExecuteWorkflow(ctx, startOptions(id, cfg), pipeline.WorkflowType, cfg)
	if err != nil {
		return fmt.Errorf("start run %s: %w", id, err)
	}
	return nil
}

// startedConfig is the config a run was started with: the argument of its first
// execution, whatever continued from it.
func startedConfig(ctx context.Context, c client.Client, run *runInfo) (pipeline.Config, error) {
	var cfg pipeline.Config
	raw, err := startedWith(ctx, c, run)
	if err != nil {
		return cfg, err
	}
	return pipeline.Decode(raw)
}

// startedWith is the first argument of the first execution of a run or sweep, as JSON.
func startedWith(ctx context.Context, c client.Client, run *runInfo) (json.RawMessage, error) {
	history := c.GetWorkflowHistory(ctx, run.ID, run.firstRun, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	if !history.HasNext() {
		return nil, fmt.Errorf("read how run %s was started: empty history", run.ID)
	}
	event, err := history.Next()
	if err != nil {
		return nil, fmt.Errorf("read how run %s was started: %w", run.ID, lostHistory(err))
	}
	input := event.GetWorkflowExecutionStartedEventAttributes().GetInput()
	if len(input.GetPayloads()) == 0 {
		return nil, fmt.Errorf("run %s was started without a config", run.ID)
	}
	var raw json.RawMessage
	if err := encryption.DataConverter().FromPayload(input.Payloads[0], &raw); err != nil {
		return nil, fmt.Errorf("read the config of run %s: %w", run.ID, err)
	}
	return raw, nil
}

// result is what a finished run left.
func result(ctx context.Context, c client.Client, id string) (*pipeline.Result, error) {
	return resultOf[pipeline.Result](ctx, c, id, "")
}

// resultOf is what a finished workflow answered.
func resultOf[T any](ctx context.Context, c client.Client, id, execution string) (*T, error) {
	var result T
	if err := c.GetWorkflow(ctx, id, execution).Get(ctx, &result); err != nil {
		return nil, lostHistory(err)
	}
	return &result, nil
}

// errLostHistory is a run that Temporal lists, but tells nothing more of.
var errLostHistory = errors.New("its history is lost: the database is damaged; distilvit recover rebuilds the run " +
	"from the object store")

// lostHistory is errLostHistory for what Temporal says of one, err otherwise.
func lostHistory(err error) error {
	var lost *serviceerror.DataLoss
	var notFound *serviceerror.NotFound
	if errors.As(err, &lost) || errors.As(err, &notFound) {
		return fmt.Errorf("%w (%v)", errLostHistory, err)
	}
	return err
}

// queryStatus asks the run's workflow where it stands; a worker must be up.
func queryStatus(ctx context.Context, c client.Client, id string) (*pipeline.Status, error) {
	return query[pipeline.Status](ctx, c, id, "")
}

// query asks a run or sweep for its status.
func query[T any](ctx context.Context, c client.Client, id, execution string) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.QueryWorkflow(ctx, id, execution, pipeline.StatusQuery)
	if err != nil {
		return nil, err
	}
	var status T
	if err := answer.Get(&status); err != nil {
		return nil, err
	}
	return &status, nil
}

const queryTimeout = 5 * time.Second

// heartbeats are the newest details of the run's open activities.
func heartbeats(described *workflowservice.DescribeWorkflowExecutionResponse) []activityState {
	var states []activityState
	for _, pending := range described.GetPendingActivities() {
		if strings.HasPrefix(pending.GetActivityType().GetName(), "internalSession") {
			continue // the SDK's own, which holds the device
		}
		state := activityState{
			ID:      pending.GetActivityId(),
			Type:    pending.GetActivityType().GetName(),
			Attempt: pending.GetAttempt(),
		}
		if failure := pending.GetLastFailure(); failure != nil {
			err := temporal.GetDefaultFailureConverter().FailureToError(failure)
			state.Failure = failureText(err)
		}
		if payloads := pending.GetHeartbeatDetails(); payloads != nil && len(payloads.Payloads) > 0 {
			var beat pipeline.Heartbeat
			if encryption.DataConverter().FromPayload(payloads.Payloads[0], &beat) == nil &&
				beat.Phase != "" {
				state.Beat = &beat
			}
		}
		states = append(states, state)
	}
	return states
}

// activityState is one open activity of a run.
type activityState struct {
	ID      string              `json:"id"`
	Type    string              `json:"type"`
	Attempt int32               `json:"attempt"`
	Failure string              `json:"last_failure,omitempty"`
	Beat    *pipeline.Heartbeat `json:"heartbeat,omitempty"`
}

// failureText is what a person needs of an error that came through Temporal: the
// innermost application error with its type, without the wrapping of attempts.
func failureText(err error) string {
	var application *temporal.ApplicationError
	if !errors.As(err, &application) {
		var canceled *temporal.CanceledError
		var terminated *temporal.TerminatedError
		var timeout *temporal.TimeoutError
		switch {
		case errors.As(err, &terminated):
			return "the run was terminated"
		case errors.As(err, &canceled):
			return "the run was canceled"
		case errors.As(err, &timeout):
			return timeout.Error()
		}
		return err.Error()
	}
	for {
		var inner *temporal.ApplicationError
		if !errors.As(errors.Unwrap(application), &inner) || inner.Type() == "" {
			break
		}
		application = inner
	}
	if kind := application.Type(); kind != "" && kind != pipeline.InvalidInput && kind != pipeline.RecoveredRun &&
		!strings.HasPrefix(application.Message(), kind) {
		return kind + ": " + application.Message()
	}
	return application.Message()
}
