package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"distilvit/pipeline"
)

func (a *app) pauseCommand() *cobra.Command {
	var p pipeline.Pause
	cmd := &cobra.Command{
		Use:   "pause RUN",
		Short: "leave a checkpoint, give the device back and wait",
		Long: `Pause a run for as long as you like. A trainer leaves a checkpoint after its present
step and ends, so that another run can have the device; other work under way ends
first. distilvit resume goes on from the same step, with the same weights as if there
had been no pause. With --after-epoch the run goes on until that epoch is finished, or the
present one if it is over; a run that ends with it does not pause.`,
		Example: "  distilvit pause demo\n  distilvit resume demo\n  distilvit pause demo --after-epoch 3",
		Args:    args(1, 1, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				heard, err := s.ask(ctx, args[0], pipeline.PauseRequest, p)
				if err != nil {
					return err
				}
				text := "leaves a checkpoint and waits for distilvit resume"
				if p.AfterEpoch > 0 {
					text = fmt.Sprintf("waits for distilvit resume after epoch %d", p.AfterEpoch)
				}
				return a.printAsked(args[0], "paused", text, heard)
			})
		},
	}
	cmd.Flags().IntVar(&p.AfterEpoch, "after-epoch", 0, "not now, but when this epoch is finished, counted from 1")
	return cmd
}
