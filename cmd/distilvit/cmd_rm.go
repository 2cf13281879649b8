package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"

	"distilvit/artifact"
	"distilvit/internal/retry"
	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/storage/layout"
	"distilvit/storage/retention"
	"distilvit/worker"
)

func (a *app) rmCommand() *cobra.Command {
	var model bool
	cmd := &cobra.Command{
		Use:   "rm RUN",
		Short: "remove a run, or a sweep with its trials: checkpoints, logs and history",
		Long: `Remove a run that is not open: everything under runs/RUN/ in the object store, and
its history, so that distilvit list shows it no more. The model it published stays
unless --model is given; while it does, another run of this name can publish only
the same one. Prepared data that only this run used is removed by the
Janitor (distilvit janitor), once nothing refers to it. Of a sweep all trials are
removed, and its report.`,
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
	// a run that Temporal has forgotten may be stored still
	found, _, err := describeRun(ctx, s.client, id)
	if err == nil && found.kind == pipeline.SweepType {
		trials, err := trialsOf(ctx, s, found)
		if err != nil {
			return err
		}
		if found.open() {
			return fmt.Errorf("sweep %s is open: end it with distilvit stop %s, or temporal workflow terminate, first", id, id)
		}
		return a.rmSweep(ctx, s, id, trials, model)
	}
	if errors.Is(err, errNoRun) { // of a sweep that was copied here, its table alone
		var table pipeline.SweepStatus
		if err := s.store.GetJSON(ctx, layout.SweepDocument(id), &table); err == nil {
			var trials []string
			for _, t := range table.Trials {
				trials = append(trials, t.Run)
			}
			return a.rmSweep(ctx, s, id, trials, model)
		} else if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	removed, err := a.removeRun(ctx, s, id, model)
	if err != nil {
		return err
	}
	return a.printRm("run", id, removed)
}

// trialsOf are the runs of a sweep's trials, those that have not begun among them.
func trialsOf(ctx context.Context, s *site, found *runInfo) (runs []string, err error) {
	raw, err := startedWith(ctx, s.client, found)
	if err != nil {
		return nil, err
	}
	var spec pipeline.Sweep
	if err := json.Unmarshal(raw, &spec); err != nil {
		return nil, fmt.Errorf("read what sweep %s tried: %w", found.ID, err)
	}
	for n := range len(spec.Settings()) {
		runs = append(runs, pipeline.TrialRun(found.ID, n+1))
	}
	return runs, nil
}

// rmSweep removes a sweep that is not open with all its trials.
func (a *app) rmSweep(ctx context.Context, s *site, id string, trials []string, model bool) error {
	all := []pipeline.Removed{}
	for _, trial := range trials {
		removed, err := a.removeRun(ctx, s, trial, model)
		if err != nil && !errors.Is(err, errNoRun) { // one that never began, or that was removed before
			return err
		}
		all = together(all, removed)
	}
	report, err := removeFolder(ctx, s, layout.SweepFolder(id))
	if err != nil {
		return fmt.Errorf("remove sweep %s: %w", id, err)
	}
	executions, err := executionsOf(ctx, s, pipeline.SweepType, id)
	if err != nil {
		return err
	}
	if err := a.forgetAll(ctx, s, pipeline.SweepType, id, executions); err != nil {
		return err
	}
	return a.printRm("sweep", id, together(all, report))
}

// together adds what was removed of each kind to what was before.
func together(all, more []pipeline.Removed) []pipeline.Removed {
	for _, r := range more {
		at := slices.IndexFunc(all, func(a pipeline.Removed) bool { return a.Kind == r.Kind })
		if at < 0 {
			all = append(all, r)
			continue
		}
		all[at].Objects, all[at].Bytes = all[at].Objects+r.Objects, all[at].Bytes+r.Bytes
	}
	return all
}

// removeFolder removes a sweep's own objects.
func removeFolder(ctx context.Context, s *site, folder string) ([]pipeline.Removed, error) {
	removed := pipeline.Removed{Kind: layout.Sweeps}
	for o, err := range s.store.List(ctx, folder) {
		if err == nil {
			err = s.store.Remove(ctx, o.Key)
		}
		if err != nil {
			return nil, err
		}
		removed.Objects, removed.Bytes = removed.Objects+1, removed.Bytes+o.Size
	}
	if removed.Objects == 0 {
		return nil, nil
	}
	return []pipeline.Removed{removed}, nil
}

// removeRun removes a run that is not open, and answers what it had stored. One that is not there is errNoRun.
func (a *app) removeRun(ctx context.Context, s *site, id string, model bool) ([]pipeline.Removed, error) {
	executions, err := executionsOf(ctx, s, pipeline.WorkflowType, id)
	if err != nil {
		return nil, err
	}
	counts, err := retention.RemoveRun(ctx, s.store, id, model,
		func(ctx context.Context, run string) (bool, error) {
			return worker.Open(ctx, s.client, run)
		}, func(groups []string, until time.Time) {
			if len(groups) > 0 {
				fmt.Fprintf(a.stderr, "waiting: %s\n", retention.WaitText(groups, until))
			}
		})
	switch {
	case errors.Is(err, retention.ErrOpen):
		return nil, fmt.Errorf(
			"run %s is open: end it with distilvit stop %s, or temporal workflow terminate, first", id, id,
		)
	case err != nil:
		return nil, fmt.Errorf("remove run %s: %w", id, err)
	case len(executions) == 0 && len(counts) == 0:
		return nil, s.noRun(id)
	}
	if model {
		if _, err := artifact.UpdateEveryLatest(ctx, s.store); err != nil {
			return nil, fmt.Errorf("the model of run %s is removed, but a latest may name it still; distilvit janitor puts that right: %w",
				id, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(s.data, curvesDir, id)); err != nil {
		return nil, fmt.Errorf("remove run %s: its curves on this machine: %w", id, err)
	}
	removed := []pipeline.Removed{}
	for _, c := range counts {
		removed = append(removed, pipeline.Removed(c))
	}
	if err := forgetShards(ctx, s, id); err != nil {
		return nil, fmt.Errorf("%s is removed from the object store, but not from Temporal: %w", id, err)
	}
	return removed, a.forgetAll(ctx, s, pipeline.WorkflowType, id, executions)
}

// forgetShards makes Temporal forget the children that prepared a large dataset for a run.
func forgetShards(ctx context.Context, s *site, run string) error {
	children, err := listExecutions(ctx, s, fmt.Sprintf("WorkflowType = %q AND WorkflowId STARTS_WITH %q",
		pipeline.ShardsType, run+"/"))
	if err != nil {
		return err
	}
	return deleteExecutions(ctx, s, children)
}

// forgetAll makes Temporal forget a workflow whose objects are removed.
func (a *app) forgetAll(
	ctx context.Context, s *site, kind, id string, executions []*common.WorkflowExecution,
) error {
	gone, err := forget(ctx, s, kind, executions)
	if err != nil {
		return fmt.Errorf("%s is removed from the object store, but not from Temporal: %w", id, err)
	}
	if !gone {
		fmt.Fprintf(a.stderr,
			"note: Temporal still deletes the history of %s; distilvit list shows it until then\n", id)
	}
	return nil
}

// printRm says what was removed of a run or a sweep.
func (a *app) printRm(kind, id string, removed []pipeline.Removed) error {
	if a.output == "json" {
		return printJSON(a.stdout, map[string]any{kind: id, "removed": removed})
	}
	if len(removed) == 0 {
		fmt.Fprintf(a.stdout, "%s %s is removed; it had stored nothing\n", kind, id)
		return nil
	}
	printRemoved(a, "REMOVED", removed)
	return nil
}

// executionsOf are all executions of a run or a sweep, by the type of its workflow, that Temporal still knows.
func executionsOf(ctx context.Context, s *site, kind, id string) ([]*common.WorkflowExecution, error) {
	return listExecutions(ctx, s, fmt.Sprintf("WorkflowType = %q AND WorkflowId = %q", kind, id))
}

func listExecutions(ctx context.Context, s *site, query string) ([]*common.WorkflowExecution, error) {
	var all []*common.WorkflowExecution
	var page []byte
	for {
		answer, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query: query, NextPageToken: page,
		})
		if err != nil {
			return nil, fmt.Errorf("list executions where %s: %w", query, err)
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

func deleteExecutions(ctx context.Context, s *site, executions []*common.WorkflowExecution) error {
	var notFound *serviceerror.NotFound
	for _, e := range executions {
		_, err := s.client.WorkflowService().DeleteWorkflowExecution(ctx,
			&workflowservice.DeleteWorkflowExecutionRequest{
				Namespace: s.namespace, WorkflowExecution: e,
			})
		if err != nil && !errors.As(err, &notFound) {
			return err
		}
	}
	return nil
}

// forget deletes executions and tells whether they are gone from the list.
func forget(ctx context.Context, s *site, kind string, executions []*common.WorkflowExecution) (gone bool, err error) {
	if err := deleteExecutions(ctx, s, executions); err != nil {
		return false, err
	}
	const pause = 200 * time.Millisecond
	for start := time.Now(); len(executions) > 0; {
		left, err := executionsOf(ctx, s, kind, executions[0].GetWorkflowId())
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
