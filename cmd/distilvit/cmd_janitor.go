package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"distilvit/internal/devstack"
	"distilvit/pipeline"
	"distilvit/report"
	"distilvit/worker"
)

func (a *app) janitorCommand() *cobra.Command {
	var dryRun bool
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "janitor",
		Short: "remove what nothing refers to from the object store",
		Long: `Remove from the object store what no run and no published model refers to: prepared
data and sources of removed runs, blobs without a checkpoint, the checkpoints of a
published run but for the best and the last, and uploads that were never completed.
Workers do this once a day by themselves (Temporal schedule ` + worker.JanitorSchedule + `); this command
does it now. Runs may go on meanwhile.

Objects younger than --grace are left alone. distilvit rm removes a whole run.`,
		Example: `  distilvit janitor --dry-run
  distilvit rm old && distilvit janitor --grace 0s`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if grace < 0 {
				return usagef("--grace %s: use 0s or more", grace)
			}
			return a.janitor(cmd.Context(), pipeline.JanitorInput{DryRun: dryRun, Grace: grace.String()})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be removed")
	byDefault, err := time.ParseDuration(pipeline.DefaultGrace)
	if err != nil {
		panic(err)
	}
	cmd.Flags().DurationVar(&grace, "grace", byDefault, "leave younger objects alone")
	return cmd
}

// janitor runs the workflow; where this process hosts the stack, its worker too.
func (a *app) janitor(ctx context.Context, in pipeline.JanitorInput) error {
	ctx, stop := a.interruptible(ctx, "")
	defer stop()
	if err := a.checkExists(); err != nil {
		return err
	}
	s, err := a.openWorkingSite(ctx, devstack.Options{})
	if err != nil {
		return err
	}
	defer s.close()
	if s.hosted != nil {
		workers := startWorkers(s, workerOptions{queues: []string{pipeline.TaskQueue}})
		defer workers.stop()
	}
	id := time.Now().UTC().Format("janitor-20060102-150405")
	_, err = s.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: pipeline.TaskQueue,
		StaticSummary: "remove what nothing refers to",
	}, pipeline.JanitorType, in)
	if err != nil {
		return fmt.Errorf("start the Janitor: %w", err)
	}
	p := newProgress(a.stderr)
	result, err := followToEnd[pipeline.JanitorResult](ctx, s.client, id, p, func(ctx context.Context) { pollJanitor(ctx, s, id, p) })
	if errors.Is(err, errInterrupted) {
		p.line("%s is interrupted; the next command with workers ends what it began", id)
		return &quietError{err}
	}
	if err != nil {
		return fmt.Errorf("janitor: %s", failureText(err))
	}
	return a.printSwept(*result)
}

// pollJanitor shows what the Janitor is at. What cannot be had now is shown next time.
func pollJanitor(ctx context.Context, s *site, id string, p *progress) {
	_, described, err := describeRun(ctx, s.client, id)
	if err != nil {
		return
	}
	for _, activity := range heartbeats(described) {
		if b := activity.Beat; b != nil {
			p.show(b.Phase, 0, 0, b.Message)
		}
	}
}

func (a *app) printSwept(result pipeline.JanitorResult) error {
	if a.output == "json" {
		return printJSON(a.stdout, result)
	}
	for _, note := range result.Notes {
		fmt.Fprintf(a.stderr, "note: %s\n", note)
	}
	if len(result.Removed) == 0 {
		fmt.Fprintln(a.stdout, "nothing to remove")
		return nil
	}
	said := "REMOVED"
	if result.DryRun {
		said = "WOULD BE REMOVED"
	}
	printRemoved(a, said, result.Removed)
	return nil
}

// printRemoved prints counts as a table with a sum.
func printRemoved(a *app, said string, removed []pipeline.Removed) {
	t := &table{right: true}
	t.add(said, "OBJECTS", "SIZE")
	sum := pipeline.Removed{Kind: "together"}
	for _, r := range removed {
		t.add(r.Kind, fmt.Sprint(r.Objects), report.Bytes(r.Bytes))
		sum.Objects, sum.Bytes = sum.Objects+r.Objects, sum.Bytes+r.Bytes
	}
	if len(removed) > 1 {
		t.add(sum.Kind, fmt.Sprint(sum.Objects), report.Bytes(sum.Bytes))
	}
	t.write(a.stdout, "")
}
