package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

func (a *app) extendCommand() *cobra.Command {
	var e record.Extend
	cmd := &cobra.Command{
		Use:   "extend RUN --epochs N",
		Short: "train a run for more epochs",
		Long: `Train a run for more epochs, from where its training ends: an open run after its last
epoch, one that has ended in a new execution (distilvit up, or run --id with the same
config, works on it). The epochs are a branch of their own, and what comes out is
published beside the earlier model under a name of its own.

The learning rate is constant: the last value so far, which is next to nothing where
the schedule came to its end. --learning-rate sets another.`,
		Example: "  distilvit extend demo --epochs 3\n  distilvit extend demo --epochs 5 --learning-rate 1e-4",
		Args:    args(1, 1, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if e.Epochs < 1 {
				return usagef("--epochs %d: use 1 or more", e.Epochs)
			}
			if e.LearningRate < 0 {
				return usagef("--learning-rate %g: must not be negative", e.LearningRate)
			}
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				return a.extend(ctx, s, args[0], e)
			})
		},
	}
	cmd.Flags().IntVar(&e.Epochs, "epochs", 0, "how many more")
	cmd.Flags().Float64Var(&e.LearningRate, "learning-rate", 0,
		"constant rate of these epochs (default: the last value so far)")
	return cmd
}

func (a *app) extend(ctx context.Context, s *site, id string, e record.Extend) error {
	run, _, err := s.find(ctx, id)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("trains %d more epochs", e.Epochs)
	if e.Epochs == 1 {
		text = "trains one more epoch"
	}
	if run.open() {
		heard, err := s.ask(ctx, id, pipeline.ExtendRequest, e)
		if err != nil {
			return err
		}
		return a.printAsked(id, "extended", text+" after its last", heard)
	}
	if err := s.extendClosed(ctx, run, e); err != nil {
		return err
	}
	missing, err := queuesWithoutWorkers(ctx, s)
	if err != nil {
		return err
	}
	return a.printAsked(id, "extended", text+" in a new execution", s.hosted == nil && len(missing) == 0)
}
