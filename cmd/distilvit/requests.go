package main

import (
	"context"
	"fmt"
	"slices"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// ask puts a request to an open run: as an update where a worker is there to
// answer it, so that a refusal is told, else as a signal, which the run hears
// when a worker goes on with it. heard says which it was.
func (s *site) ask(ctx context.Context, id, request string, argument any) (heard bool, err error) {
	run, _, err := s.find(ctx, id)
	if err != nil {
		return false, err
	}
	if !run.open() {
		return false, fmt.Errorf("run %s is not open: it is %s", id, run.Status)
	}
	missing, err := queuesWithoutWorkers(ctx, s)
	if err != nil {
		return false, err
	}
	if s.hosted != nil || slices.Contains(missing, pipeline.TaskQueue) {
		if err := s.client.SignalWorkflow(ctx, id, "", request, argument); err != nil {
			return false, fmt.Errorf("%s run %s: %w", request, id, err)
		}
		return false, nil
	}
	update, err := s.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateName: request, Args: []any{argument},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = update.Get(ctx, nil)
	}
	if err != nil {
		return true, fmt.Errorf("%s run %s: %s", request, id, failureText(err))
	}
	return true, nil
}

// extendClosed starts another execution of a run that has ended, with what is
// asked for.
func (s *site) extendClosed(ctx context.Context, run *runInfo, e record.Extend) error {
	cfg, err := startedConfig(ctx, s.client, run)
	if err != nil {
		return err
	}
	options := startOptions(run.ID, cfg)
	// opened meanwhile: it hears the signal
	options.WorkflowIDConflictPolicy = enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	_, err = s.client.SignalWithStartWorkflow(ctx, run.ID, pipeline.ExtendRequest, e, options,
		pipeline.WorkflowType, cfg)
	if err != nil {
		return fmt.Errorf("extend run %s: %w", run.ID, err)
	}
	return nil
}

// startOptions of a run's execution: none beside an open one, and any number
// after each other.
func startOptions(id string, cfg pipeline.Config) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID:                       id,
		TaskQueue:                pipeline.TaskQueue,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		StaticSummary:            "train and publish " + cfg.Name,
		Priority:                 temporal.Priority{PriorityKey: cfg.Priority},

		WorkflowExecutionErrorWhenAlreadyStarted: true,
	}
}

// printAsked says what a request came to.
func (a *app) printAsked(id, status, text string, heard bool) error {
	if a.output == "json" {
		return printJSON(a.stdout, map[string]any{"run": id, "status": status, "heard": heard})
	}
	if !heard {
		text += " once a worker goes on with it (distilvit up, or worker)"
	}
	fmt.Fprintf(a.stdout, "run %s %s\n", id, text)
	return nil
}
