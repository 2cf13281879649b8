package main

import (
	"context"

	"github.com/spf13/cobra"

	"distilvit/pipeline"
)

func (a *app) stopCommand() *cobra.Command {
	var now bool
	cmd := &cobra.Command{
		Use:   "stop RUN",
		Short: "end a run's training early and publish what is best",
		Long: `Ask a run to end its epoch with a checkpoint, then to evaluate, export and publish
the best checkpoint so far. With --now the epoch is broken off: its checkpoint stays,
but only finished epochs are in the running for the best. The command returns at once;
distilvit status shows how far the run is.`,
		Example: "  distilvit stop demo\n  distilvit stop demo --now",
		Args:    args(1, 1, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				heard, err := s.ask(ctx, args[0], pipeline.StopRequest, pipeline.Stop{Now: now})
				if err != nil {
					return err
				}
				text := "ends its epoch, then publishes the best checkpoint"
				if now {
					text = "breaks its epoch off, then publishes the best checkpoint"
				}
				return a.printAsked(args[0], "stopping", text, heard)
			})
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "do not wait for the epoch's end")
	return cmd
}
