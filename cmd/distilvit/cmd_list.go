package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"distilvit/pipeline"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "every run and sweep, newest first",
		Long: `List every run, newest first, and every sweep with its trials below it. STATUS of an
open run is running, waiting (for a device, or a worker that takes up its work, or at stage
approve for distilvit approve or reject), paused (distilvit resume goes on), or interrupted: no
worker is up, and distilvit up or the run's own command goes on with it. "recovered" is a run
whose history is lost (distilvit recover): its own command goes on with it.`,
		Example: "  distilvit list\n  distilvit list -o json",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := a.withSite(cmd.Context(), a.list)
			if !errors.Is(err, errNoStack) {
				return err
			}
			if a.output == "json" {
				return printJSON(a.stdout, []*runInfo{})
			}
			fmt.Fprintf(a.stdout, "%v; distilvit run -f FILE starts one\n", err)
			return nil
		},
	}
}

// withSite runs a command that needs no workers on the stack, which is started
// for it where it is not up, but not made where nothing has run yet.
func (a *app) withSite(ctx context.Context, do func(context.Context, *site) error) error {
	ctx, stop := a.interruptible(ctx, "")
	defer stop()
	s, err := a.openExisting(ctx)
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
	sweeps, err := listOf(ctx, s.client, pipeline.SweepType)
	if err != nil {
		return err
	}
	runs = withSweeps(runs, sweeps)
	if err := s.standings(ctx, runs); err != nil {
		return err
	}
	if a.output == "json" {
		return printJSON(a.stdout, runs)
	}
	if len(runs) == 0 {
		fmt.Fprintf(a.stdout, "no runs %s yet; distilvit run -f FILE starts one\n", s.place())
		return nil
	}
	t := &table{}
	t.add("RUN", "STATUS", "STAGE", "MODEL", "STARTED", "TIME")
	for _, run := range runs {
		status := run.Status
		if run.Recovered && status != statusRecovered {
			status += ", " + statusRecovered
		}
		id, stage := run.ID, run.Stage
		switch {
		case run.kind == pipeline.SweepType:
			stage = fmt.Sprintf("sweep of %d trials", run.Trials)
		case run.Sweep != "":
			id = "  " + id
		}
		t.add(id, status, stage, run.Model,
			run.Started.Local().Format("2006-01-02 15:04"),
			durationText(time.Duration(run.Seconds*float64(time.Second))))
	}
	t.write(a.stdout, "")
	return nil
}

// withSweeps puts sweeps among runs, newest first, each with its trials after it, in the order in which they began.
func withSweeps(runs, sweeps []*runInfo) []*runInfo {
	trials := map[string][]*runInfo{} // by sweep
	var top []*runInfo
	for _, sweep := range sweeps {
		if _, again := trials[sweep.ID]; !again { // the newest of its executions
			trials[sweep.ID] = nil
			top = append(top, sweep)
		}
	}
	for _, run := range runs {
		if _, ok := trials[run.parent]; ok {
			run.Sweep = run.parent
			trials[run.parent] = append(trials[run.parent], run)
			continue
		}
		top = append(top, run)
	}
	slices.SortStableFunc(top, func(a, b *runInfo) int { return b.Started.Compare(a.Started) })
	all := []*runInfo{}
	for _, run := range top {
		all = append(all, run)
		if run.kind == pipeline.SweepType {
			slices.SortStableFunc(trials[run.ID], func(a, b *runInfo) int { return a.Started.Compare(b.Started) })
			run.Trials = len(trials[run.ID])
			all = append(all, trials[run.ID]...)
		}
	}
	return all
}
