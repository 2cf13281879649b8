package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"distilvit/pipeline"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status RUN",
		Short: "where a run stands",
		Long: `Show where a run stands: its stage, epochs, best score and open activities. Details
of an open run come from its workflow, so they need a worker that is up (distilvit
run, up or worker); without one, what Temporal itself knows is shown.`,
		Example: "  distilvit status demo\n  distilvit status demo -o json",
		Args:    args(1, 1, "a RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, s *site) error {
				return a.status(ctx, s, args[0])
			})
		},
	}
}

// statusReport is what status prints with -o json.
type statusReport struct {
	*runInfo
	Details    *pipeline.Status `json:"details,omitempty"`
	Activities []activityState  `json:"activities,omitempty"`
	Result     *pipeline.Result `json:"result,omitempty"`
	Failure    string           `json:"failure,omitempty"`
	UI         string           `json:"ui,omitempty"`
}

func (a *app) status(ctx context.Context, s *site, id string) error {
	run, described, err := describeRun(ctx, s.client, id)
	if err != nil {
		return err
	}
	report := statusReport{runInfo: run, UI: s.runUI(id)}
	if run.open() {
		report.Activities = heartbeats(described)
		if s.hosted == nil {
			report.Details, _ = queryStatus(ctx, s.client, id) // absent without a worker
		}
	} else if report.Result, err = result(ctx, s.client, id); err != nil {
		report.Failure = failureText(err)
	}
	if a.output == "json" {
		return printJSON(a.stdout, report)
	}
	a.printStatus(report)
	return nil
}

func (a *app) printStatus(r statusReport) {
	t := &table{}
	t.add("run", r.ID)
	t.add("status", r.Status+", "+durationText(time.Duration(r.Seconds*float64(time.Second))))
	if r.Failure != "" {
		t.add("failure", r.Failure)
	}
	if r.Stage != "" {
		t.add("stage", r.Stage)
	}
	if d := r.Details; d != nil {
		if d.Detail != "" {
			t.add("doing", d.Detail)
		}
		if d.Paused {
			t.add("paused", "distilvit resume "+r.ID+" goes on")
		}
		t.add("epochs", fmt.Sprintf("%d of %d, step %d", d.Epoch, d.Epochs, d.Step))
		if d.Best != nil {
			t.add("best", fmt.Sprintf("epoch %d, rougeL %.2f, exact %.1f%%", d.Best.Epoch, d.Best.Eval.RougeL, d.Best.Eval.ExactMatch))
		}
		for _, warning := range d.Warnings {
			t.add("warning", warning)
		}
	} else if r.open() {
		t.add("details", "none: no worker is up; distilvit up goes on with the run")
	}
	for _, activity := range r.Activities {
		text := activity.Type
		if beat := activity.Beat; beat != nil {
			text += ", " + beatText(beat)
		}
		if activity.Failure != "" {
			text += fmt.Sprintf(", attempt %d after: %s", activity.Attempt, activity.Failure)
		}
		t.add("activity", text)
	}
	if r.Result != nil {
		t.add("published", fmt.Sprintf("%s, rougeL %.2f, exact %.1f%% on the test set", r.Result.Model, r.Result.Test.RougeL, r.Result.Test.ExactMatch))
	}
	if r.UI != "" {
		t.add("web UI", r.UI)
	}
	t.write(a.stdout, "")
}

func beatText(beat *pipeline.Heartbeat) string {
	text := beat.Phase
	if beat.Steps > 0 {
		text += fmt.Sprintf(" step %d/%d", beat.Step, beat.Steps)
	}
	if beat.Loss != 0 {
		text += fmt.Sprintf(" loss %.4f", beat.Loss)
	}
	if beat.Rate > 0 {
		text += " " + rateText(beat.Rate) + " pictures/s"
	}
	if waited := waitedText(beat.Waited); waited != "" {
		text += " " + waited
	}
	return text
}
