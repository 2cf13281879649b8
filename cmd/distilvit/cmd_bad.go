package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"distilvit/artifact"
	"distilvit/dataset"
	"distilvit/storage/layout"
)

func (a *app) badCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bad RUN",
		Short: "the pictures and rows that a run left out, and why",
		Long: `List what a run left out of its dataset: the id, the split that it would have been in,
and the reason. A run may leave out prepare.max_bad_fraction of its data before it fails.`,
		Example: "  distilvit bad demo\n  distilvit bad demo -o json",
		Args:    args(1, 1, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkRunID(args[0]); err != nil {
				return err
			}
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				return a.bad(ctx, s, args[0])
			})
		},
	}
}

func (a *app) bad(ctx context.Context, s *site, id string) error {
	left, prepared, err := leftOut(ctx, s, id)
	if err != nil {
		return err
	}
	if !prepared {
		run, _, err := s.find(ctx, id)
		if err != nil {
			return err
		}
		return fmt.Errorf("run %s has prepared no data yet: it is at stage %s", id, run.Stage)
	}
	if a.output == "json" {
		return printJSON(a.stdout, left)
	}
	if len(left) == 0 {
		fmt.Fprintf(a.stderr, "run %s left nothing out\n", id)
		return nil
	}
	t := &table{}
	t.add("ID", "SPLIT", "REASON")
	for _, b := range left {
		t.add(b.ID, b.Split, b.Reason)
	}
	t.write(a.stdout, "")
	return nil
}

// leftOut reads the bad lists of the datasets that a run refers to; prepared says that there is one.
func leftOut(ctx context.Context, s *site, id string) (left []dataset.Bad, prepared bool, err error) {
	left = []dataset.Bad{}
	groups, err := artifact.Groups(ctx, s.store, layout.Run(id), layout.Datasets)
	if err != nil {
		return nil, false, fmt.Errorf("list what run %s uses: %w", id, err)
	}
	for _, group := range groups {
		found, err := artifact.LeftOut(ctx, s.store, group)
		if err != nil {
			return nil, false, fmt.Errorf("what run %s left out: %w", id, err)
		}
		if found != nil {
			left, prepared = append(left, *found...), true
		}
	}
	return left, prepared, nil
}
