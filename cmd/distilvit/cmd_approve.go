package main

import (
	"context"

	"github.com/spf13/cobra"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

func (a *app) approveCommand() *cobra.Command {
	return a.decisionCommand(pipeline.ApproveRequest, "approved", "publishes its model", &cobra.Command{
		Use:   "approve RUN",
		Short: "publish the model of a run that waits for approval",
		Long: `Let a run publish that waits for approval: one whose config has publish.approve. distilvit
status RUN shows what it is to be judged by, the scores on the test set and the checks
of its exports. Note and author become a part of the published manifest and card.`,
		Example: "  distilvit approve demo\n  distilvit approve demo --by Ada --note 'captions of charts are fine now'",
	})
}

// decisionCommand completes a command that answers the question whether a run may publish.
func (a *app) decisionCommand(request, decided, text string, cmd *cobra.Command) *cobra.Command {
	var d record.Decision
	cmd.Args = args(1, 1, "a RUN")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
			heard, err := s.ask(ctx, args[0], request, d)
			if err != nil {
				return err
			}
			return a.printAsked(args[0], decided, decided+": "+text, heard)
		})
	}
	cmd.Flags().StringVar(&d.Note, "note", "", "why; kept with the decision")
	cmd.Flags().StringVar(&d.By, "by", "", "who decides (default: not said)")
	return cmd
}
