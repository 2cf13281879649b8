package main

import (
	"github.com/spf13/cobra"

	"distilvit/pipeline"
)

func (a *app) rejectCommand() *cobra.Command {
	return a.decisionCommand(pipeline.RejectRequest, "rejected", "publishes nothing", &cobra.Command{
		Use:   "reject RUN",
		Short: "end a run that waits for approval without publishing",
		Long: `End a run that waits for approval without publishing its model. The run fails with the
note as its reason, distilvit list calls it rejected, and its checkpoints stay: the
command that started it asks once more, and distilvit extend trains on.`,
		Example: "  distilvit reject demo\n  distilvit reject demo --by Ada --note 'says dog of every cat'",
	})
}
