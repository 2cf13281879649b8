package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"

	"distilvit/pipeline"
)

func decodeConfig(t *testing.T, sets ...string) pipeline.Config {
	t.Helper()
	cfg, err := pipeline.Decode([]byte("dataset: [{kind: shapes}]\nmodel: {preset: tiny}\n"), sets...)
	require.NoError(t, err)
	return cfg
}

func TestAnotherConfigUnderAnOldIDIsRefusedWithWhatDiffers(t *testing.T) {
	was := decodeConfig(t)
	same, err := configChanges(was, decodeConfig(t, "priority=1"), "demo")
	require.NoError(t, err)
	require.Empty(t, same, "a priority is no part of what is trained")

	changes, err := configChanges(was, decodeConfig(t, "train.epochs=99", "seed=7"), "demo")
	require.NoError(t, err)
	refused := otherConfig("demo", "is complete, with another config", changes)
	var usage *usageError
	require.ErrorAs(t, refused, &usage)
	require.ErrorContains(t, refused, "seed is 7, was ")
	require.ErrorContains(t, refused, "train.epochs is 99, was ")
	require.ErrorContains(t, refused, "use another --id")
	require.NotContains(t, refused.Error(), "extend")

	changes, err = configChanges(was, decodeConfig(t, "dataset=[{kind: shapes, shapes: {train: 77}}]"), "demo")
	require.NoError(t, err)
	require.Len(t, changes, 1)
	require.Equal(t, "dataset[0].shapes.train", changes[0].key)
}

func TestMoreEpochsAreAskedForWithExtend(t *testing.T) {
	was := decodeConfig(t, "train.epochs=3")
	changes, err := configChanges(was, decodeConfig(t, "train.epochs=5"), "demo")
	require.NoError(t, err)
	require.ErrorContains(t, otherConfig("demo", "is complete", changes), "distilvit extend demo --epochs 2")
	changes, err = configChanges(was, decodeConfig(t, "train.epochs=2"), "demo")
	require.NoError(t, err)
	require.NotContains(t, otherConfig("demo", "is complete", changes).Error(), "extend")
}

func TestOpenRunsAreToldApart(t *testing.T) {
	pending := func(states ...enums.PendingActivityState) *workflowservice.DescribeWorkflowExecutionResponse {
		var d workflowservice.DescribeWorkflowExecutionResponse
		for _, s := range states {
			d.PendingActivities = append(d.PendingActivities, &workflow.PendingActivityInfo{State: s})
		}
		return &d
	}
	queued, begun := enums.PENDING_ACTIVITY_STATE_SCHEDULED, enums.PENDING_ACTIVITY_STATE_STARTED
	paused := &pipeline.Status{Paused: true}
	require.Equal(t, statusInterrupted, standing(false, nil, pending(begun)))
	require.Equal(t, statusPaused, standing(true, paused, pending()))
	require.Equal(t, statusWaiting, standing(true, nil, pending(queued)))
	require.Equal(t, statusRunning, standing(true, &pipeline.Status{}, pending(queued, begun)))
	require.Equal(t, statusRunning, standing(true, &pipeline.Status{}, pending()))
}
