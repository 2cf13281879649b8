package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"distilvit/pipeline"
)

func (a *app) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop RUN",
		Short: "end a run's training early and publish what is best",
		Long: `Ask a run to end its epoch with a checkpoint, then to evaluate, export and publish
the best checkpoint so far. The command returns at once; distilvit status shows
how far the run is.`,
		Example: "  distilvit stop demo",
		Args:    args(1, 1, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				return a.stop(ctx, s, args[0])
			})
		},
	}
}

func (a *app) stop(ctx context.Context, s *site, id string) error {
	run, _, err := describeRun(ctx, s.client, id)
	if err != nil {
		return err
	}
	if !run.open() {
		return fmt.Errorf("run %s is not open: it is %s", id, run.Status)
	}
	if err := s.client.SignalWorkflow(ctx, id, "", pipeline.StopSignal, nil); err != nil {
		return fmt.Errorf("stop run %s: %w", id, err)
	}
	if a.output == "json" {
		return printJSON(a.stdout, map[string]string{"run": id, "status": "stopping"})
	}
	fmt.Fprintf(a.stdout, "run %s ends its epoch, then publishes the best checkpoint\n", id)
	return nil
}
