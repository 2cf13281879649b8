package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"

	"distilvit/artifact"
	"distilvit/internal/retry"
	"distilvit/pipeline"
	"distilvit/storage/retention"
	"distilvit/worker"
)

func (a *app) rmCommand() *cobra.Command {
	var model bool
	cmd := &cobra.Command{
		Use:   "rm RUN",
		Short: "remove a run: its checkpoints, logs and history",
		Long: `Remove a run that is not open: everything under runs/RUN/ in the object store, and
its history, so that distilvit list shows it no more. The model it published stays
unless --model is given; while it does, another run of this name can publish only
the same one. Prepared data that only this run used is removed by the
Janitor (distilvit janitor), once nothing refers to it.`,
		Example: "  distilvit rm first-try\n  distilvit rm demo --model && distilvit janitor --grace 0s",
		Args:    args(1, 1, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkRunID(args[0]); err != nil {
				return err
			}
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				return a.rm(ctx, s, args[0], model)
			})
		},
	}
	cmd.Flags().BoolVar(&model, "model", false, "the published model too")
	return cmd
}

func (a *app) rm(ctx context.Context, s *site, id string, model bool) error {
	executions, err := executionsOf(ctx, s, id)
	if err != nil {
		return err
	}
	counts, err := retention.RemoveRun(ctx, s.store, id, model,
		func(ctx context.Context, run string) (bool, error) {
			return worker.Open(ctx, s.client, run)
		})
	switch {
	case errors.Is(err, retention.ErrOpen):
		return fmt.Errorf(
			"run %s is open: end it with distilvit stop %s, or temporal workflow terminate, first", id, id,
		)
	case err != nil:
		return fmt.Errorf("remove run %s: %w", id, err)
	case len(executions) == 0 && len(counts) == 0:
		return s.noRun(id)
	}
	if model {
		if _, err := artifact.UpdateEveryLatest(ctx, s.store); err != nil {
			return fmt.Errorf("the model of run %s is removed, but a latest may name it still; distilvit janitor puts that right: %w",
				id, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(s.data, curvesDir, id)); err != nil {
		return fmt.Errorf("remove run %s: its curves on this machine: %w", id, err)
	}
	gone, err := forget(ctx, s, executions)
	if err != nil {
		return fmt.Errorf("run %s is removed from the object store, but not from Temporal: %w", id, err)
	}
	if !gone {
		fmt.Fprintf(a.stderr,
			"note: Temporal still deletes the history of run %s; distilvit list shows it until then\n", id)
	}
	removed := []pipeline.Removed{}
	for _, c := range counts {
		removed = append(removed, pipeline.Removed(c))
	}
	if a.output == "json" {
		return printJSON(a.stdout, map[string]any{"run": id, "removed": removed})
	}
	if len(removed) == 0 {
		fmt.Fprintf(a.stdout, "run %s is removed; it had stored nothing\n", id)
		return nil
	}
	printRemoved(a, "REMOVED", removed)
	return nil
}

// executionsOf are all executions of a run that Temporal still knows.
func executionsOf(ctx context.Context, s *site, id string) ([]*common.WorkflowExecution, error) {
	var all []*common.WorkflowExecution
	var page []byte
	for {
		answer, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query:         fmt.Sprintf("WorkflowType = %q AND WorkflowId = %q", pipeline.WorkflowType, id),
			NextPageToken: page,
		})
		if err != nil {
			return nil, fmt.Errorf("list executions of run %s: %w", id, err)
		}
		for _, info := range answer.Executions {
			all = append(all, info.GetExecution())
		}
		if page = answer.NextPageToken; len(page) == 0 {
			return all, nil
		}
	}
}

// forgetPatience bounds the wait for Temporal, which deletes in the background:
// a run that closed just now after half a minute, in the embedded server less.
const forgetPatience = 20 * time.Second

// forget deletes executions and tells whether they are gone from the list.
func forget(ctx context.Context, s *site, executions []*common.WorkflowExecution) (gone bool, err error) {
	var notFound *serviceerror.NotFound
	for _, e := range executions {
		_, err := s.client.WorkflowService().DeleteWorkflowExecution(ctx,
			&workflowservice.DeleteWorkflowExecutionRequest{
				Namespace: s.namespace, WorkflowExecution: e,
			})
		if err != nil && !errors.As(err, &notFound) {
			return false, err
		}
	}
	const pause = 200 * time.Millisecond
	for start := time.Now(); len(executions) > 0; {
		left, err := executionsOf(ctx, s, executions[0].GetWorkflowId())
		if err != nil || len(left) > 0 && time.Since(start) > forgetPatience {
			return false, err
		}
		if len(left) == 0 {
			break
		}
		if err := retry.Pause(ctx, pause); err != nil {
			return false, err
		}
	}
	return true, nil
}
