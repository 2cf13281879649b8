package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/mocks"
	"google.golang.org/protobuf/types/known/timestamppb"

	"distilvit/pipeline"
)

// Temporal gives two turns that begin in one second the same workflow id: each keeps its own outcome.
func TestTurnsOfOneSecondAreToldApart(t *testing.T) {
	c := mocks.NewClient(t)
	executed := func(run string) *workflowservice.DescribeWorkflowExecutionResponse {
		return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: &workflow.WorkflowExecutionInfo{
			Execution: &common.WorkflowExecution{WorkflowId: "turn", RunId: run}, FirstRunId: "first of " + run,
			Status:    enums.WORKFLOW_EXECUTION_STATUS_COMPLETED,
			StartTime: timestamppb.Now(), CloseTime: timestamppb.Now(),
		}}
	}
	c.On("DescribeWorkflowExecution", mock.Anything, "turn", "").Return(executed("newer"), nil)
	c.On("DescribeWorkflowExecution", mock.Anything, "turn", "first of older").Return(executed("older"), nil)
	for run, outcome := range map[string]string{"newer": pipeline.TurnPublished, "older": pipeline.TurnUnchanged} {
		ended := mocks.NewWorkflowRun(t)
		ended.On("Get", mock.Anything, mock.Anything).Run(func(args mock.Arguments) {
			args.Get(1).(*pipeline.Turn).Outcome = outcome
		}).Return(nil)
		c.On("GetWorkflow", mock.Anything, "turn", run).Return(ended)
		turn := turnInfo{Workflow: "turn", First: "first of " + run, Began: time.Now()}
		require.NoError(t, findTurn(context.Background(), c, &turn, true))
		require.Equal(t, outcome, turn.Status, run)
	}
}
