package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"distilvit/internal/devstack"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "every run, newest first",
		Example: "  distilvit list\n  distilvit list -o json",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSite(cmd.Context(), a.list)
		},
	}
}

// withSite runs a command that needs no workers on the stack, which is started
// for it where it is not up.
func (a *app) withSite(ctx context.Context, do func(context.Context, *site) error) error {
	ctx, stop := a.interruptible(ctx, "")
	defer stop()
	s, err := a.openSite(ctx, devstack.Options{})
	if err != nil {
		return err
	}
	defer s.close()
	return do(ctx, s)
}

func (a *app) list(ctx context.Context, s *site) error {
	runs, err := listRuns(ctx, s.client)
	if err != nil {
		return err
	}
	if a.output == "json" {
		return printJSON(a.stdout, runs)
	}
	if len(runs) == 0 {
		fmt.Fprintln(a.stdout, "no runs yet; distilvit run -f FILE starts one")
		return nil
	}
	t := &table{}
	t.add("RUN", "STATUS", "STAGE", "MODEL", "STARTED", "TIME")
	for _, run := range runs {
		t.add(run.ID, run.Status, run.Stage, run.Model,
			run.Started.Local().Format("2006-01-02 15:04"),
			durationText(time.Duration(run.Seconds*float64(time.Second))))
	}
	t.write(a.stdout, "")
	return nil
}
