package main

import (
	"context"

	"github.com/spf13/cobra"

	"distilvit/pipeline"
)

func (a *app) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pause RUN",
		Short: "leave a checkpoint, give the device back and wait",
		Long: `Pause a run for as long as you like. A trainer leaves a checkpoint after its present
step and ends, so that another run can have the device; other work under way ends
first. distilvit resume goes on from the same step, with the same weights as if there
had been no pause.`,
		Example: "  distilvit pause demo\n  distilvit resume demo",
		Args:    args(1, 1, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				heard, err := s.ask(ctx, args[0], pipeline.PauseRequest, nil)
				if err != nil {
					return err
				}
				return a.printAsked(args[0], "paused", "leaves a checkpoint and waits for distilvit resume", heard)
			})
		},
	}
}
