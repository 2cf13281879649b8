package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

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
	ID       string    `json:"id"`
	Status   string    `json:"status"` // running, completed, failed, canceled, terminated or timed out
	Stage    string    `json:"stage,omitempty"`
	Model    string    `json:"model,omitempty"`
	Started  time.Time `json:"started"`
	Closed   time.Time `json:"closed,omitzero"`
	Seconds  float64   `json:"seconds"`
	firstRun string
}

func (r *runInfo) open() bool { return r.Status == "running" }

// errNoRun is the answer for an id no workflow has.
var errNoRun = errors.New("no such run")

// describeRun is the newest execution of a run with what its activities report.
func describeRun(ctx context.Context, c client.Client, id string) (*runInfo, *workflowservice.DescribeWorkflowExecutionResponse, error) {
	described, err := c.DescribeWorkflowExecution(ctx, id, "")
	var notFound *serviceerror.NotFound
	if errors.As(err, &notFound) {
		return nil, nil, fmt.Errorf("%w: %s (distilvit list shows them)", errNoRun, id)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("describe run %s: %w", id, err)
	}
	info := described.WorkflowExecutionInfo
	run := newRunInfo(info.GetExecution().GetWorkflowId(), info.GetStatus(), info.GetStartTime().AsTime())
	run.firstRun = info.GetFirstRunId()
	if info.CloseTime != nil {
		run.close(info.CloseTime.AsTime())
	}
	attributes := info.GetSearchAttributes().GetIndexedFields()
	run.Stage = attributeText(attributes[pipeline.SearchStage])
	run.Model = attributeText(attributes[pipeline.SearchModel])
	return run, described, nil
}

func newRunInfo(id string, status enums.WorkflowExecutionStatus, started time.Time) *runInfo {
	return &runInfo{
		ID:      id,
		Status:  statusText(status),
		Started: started,
		Seconds: time.Since(started).Seconds(),
	}
}

func (r *runInfo) close(at time.Time) {
	r.Closed = at
	r.Seconds = at.Sub(r.Started).Seconds()
}

func statusText(status enums.WorkflowExecutionStatus) string {
	switch status {
	case enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		return "timed out"
	case enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
		return "running"
	default:
		return strings.ToLower(status.String())
	}
}

// listRuns is every run, newest first.
func listRuns(ctx context.Context, c client.Client) ([]*runInfo, error) {
	runs := []*runInfo{}
	var page []byte
	for {
		answer, err := c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query:         fmt.Sprintf("WorkflowType = %q AND ExecutionStatus != 'ContinuedAsNew'", pipeline.WorkflowType),
			NextPageToken: page,
		})
		if err != nil {
			return nil, fmt.Errorf("list runs: %w", err)
		}
		for _, info := range answer.Executions {
			run := newRunInfo(info.GetExecution().GetWorkflowId(), info.GetStatus(), info.GetStartTime().AsTime())
			if info.CloseTime != nil {
				run.close(info.CloseTime.AsTime())
			}
			attributes := info.GetSearchAttributes().GetIndexedFields()
			run.Stage = attributeText(attributes[pipeline.SearchStage])
			run.Model = attributeText(attributes[pipeline.SearchModel])
			runs = append(runs, run)
		}
		if page = answer.NextPageToken; len(page) == 0 {
			return runs, nil
		}
	}
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
	history := c.GetWorkflowHistory(ctx, run.ID, run.firstRun, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	if !history.HasNext() {
		return cfg, fmt.Errorf("read how run %s was started: empty history", run.ID)
	}
	event, err := history.Next()
	if err != nil {
		return cfg, fmt.Errorf("read how run %s was started: %w", run.ID, err)
	}
	input := event.GetWorkflowExecutionStartedEventAttributes().GetInput()
	if len(input.GetPayloads()) == 0 {
		return cfg, fmt.Errorf("run %s was started without a config", run.ID)
	}
	var raw json.RawMessage
	if err := converter.GetDefaultDataConverter().FromPayload(input.Payloads[0], &raw); err != nil {
		return cfg, fmt.Errorf("read the config of run %s: %w", run.ID, err)
	}
	return pipeline.Decode(raw)
}

// sameConfig compares two configs with every default filled in.
func sameConfig(a, b pipeline.Config, run string) (bool, error) {
	inA, errA := resolved(a, run)
	inB, errB := resolved(b, run)
	return bytes.Equal(inA, inB), errors.Join(errA, errB)
}

// result is what a finished run left.
func result(ctx context.Context, c client.Client, id string) (*pipeline.Result, error) {
	var result pipeline.Result
	if err := c.GetWorkflow(ctx, id, "").Get(ctx, &result); err != nil {
		return nil, err
	}
	return &result, nil
}

// queryStatus asks the run's workflow where it stands; a worker must be up.
func queryStatus(ctx context.Context, c client.Client, id string) (*pipeline.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.QueryWorkflow(ctx, id, "", pipeline.StatusQuery)
	if err != nil {
		return nil, err
	}
	var status pipeline.Status
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
			if converter.GetDefaultDataConverter().FromPayload(payloads.Payloads[0], &beat) == nil && beat.Phase != "" {
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
	if kind := application.Type(); kind != "" && kind != pipeline.InvalidInput && !strings.HasPrefix(application.Message(), kind) {
		return kind + ": " + application.Message()
	}
	return application.Message()
}
