package main

import (
	"context"

	"github.com/spf13/cobra"

	"distilvit/pipeline"
)

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "resume RUN",
		Short:   "go on with a paused run",
		Long:    `Go on with a run that distilvit pause holds, as soon as a device is free.`,
		Example: "  distilvit resume demo",
		Args:    args(1, 1, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				heard, err := s.ask(ctx, args[0], pipeline.ResumeRequest, nil)
				if err != nil {
					return err
				}
				return a.printAsked(args[0], "running", "goes on", heard)
			})
		},
	}
}
