package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/report"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status RUN",
		Short: "where a run stands",
		Long: `Show where a run stands: its stage, epochs, best score and open activities. Details
of an open run come from its workflow, so they need a worker that is up (distilvit
run, up or worker); without one, what Temporal itself knows is shown. Of a sweep it shows the
table of its trials.`,
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
	ModelLost  bool             `json:"model_lost,omitempty"` // published, and not in the store any more
	UI         string           `json:"ui,omitempty"`
}

func (a *app) status(ctx context.Context, s *site, id string) error {
	run, described, err := s.find(ctx, id)
	if err != nil {
		return err
	}
	if run.kind == pipeline.SweepType {
		return a.showSweep(ctx, s, sweepOptions{id: id}, false)
	}
	shown := statusReport{runInfo: run, UI: s.runUI(id)}
	if run.open() {
		shown.Activities = heartbeats(described)
		working, err := s.hasWorkflowWorker(ctx)
		if err != nil {
			return err
		}
		if working {
			shown.Details, _ = queryStatus(ctx, s.client, id) // absent where its worker is just gone
		}
		run.Status = standing(working, shown.Details, described)
	} else if shown.Result, err = result(ctx, s.client, id); err != nil {
		shown.Failure = failureText(err)
	} else if shown.ModelLost, err = s.lost(ctx, shown.Result); err != nil {
		return err
	}
	if a.output == "json" {
		return printJSON(a.stdout, shown)
	}
	a.printStatus(shown)
	return nil
}

func (a *app) printStatus(r statusReport) {
	t := &table{}
	t.add("run", r.ID)
	t.add("status", r.Status+", "+durationText(time.Duration(r.Seconds*float64(time.Second))))
	switch {
	case r.Failure != "" && r.Recovered:
		t.add("known", r.Failure)
	case r.Failure != "":
		t.add("failure", r.Failure)
	case r.Recovered:
		t.add("known", "rebuilt from the object store; its history is lost")
	}
	if r.ModelLost {
		t.add("warning", "the model is not in the object store any more; distilvit run makes it again")
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
		if d.Asked != nil {
			addQuestion(t, r.ID, d)
		}
		t.add("epochs", fmt.Sprintf("%d of %d, step %d", d.Epoch, d.Epochs, d.Step))
		if d.Best != nil {
			t.add("best", fmt.Sprintf("%s, %s", d.Best.Name(), scored(d.Best.Metric(), d.Best.Eval)))
			addVariety(t, d.Best.Eval.Scores, "validation")
		}
		if d.Comparison != nil {
			t.add("compared", d.Comparison.String())
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
		best := record.Best{By: r.Result.By}
		t.add("published", r.Result.Model)
		if p := r.Result.Pushed; p != nil {
			t.add(pushedText(r.ID, p))
		}
		t.add("best", fmt.Sprintf("epoch %d, %s on the test set", r.Result.Epoch,
			scored(best.Metric(), r.Result.Test)))
		addVariety(t, r.Result.Test.Scores, "test")
		if r.Result.Comparison != nil {
			t.add("compared", "better: "+r.Result.Comparison.String())
		}
		for _, b := range r.Result.Test.Baselines.Rows() {
			t.add("no model", b.Name+": "+scored(record.MetricRougeL, record.Metrics{Scores: b.Scores}))
		}
	}
	if r.UI != "" {
		t.add("web UI", r.UI)
	}
	t.write(a.stdout, "")
}

// pushedText says what became of a run's push, and how to try again.
func pushedText(run string, p *pipeline.Pushed) (what, text string) {
	if p.Error != "" {
		return "not pushed", fmt.Sprintf("%s; distilvit push %s %s tries again", p.Error, run, p.To)
	}
	return "pushed", p.Page
}

// addQuestion says what is to be decided, and by what.
func addQuestion(t *table, run string, d *pipeline.Status) {
	t.add("asked", fmt.Sprintf("distilvit approve %[1]s publishes it, distilvit reject %[1]s does not", run))
	t.add("test", fmt.Sprintf("epoch %d, %s, on %d pictures", d.Asked.Epoch,
		scored(d.Best.Metric(), d.Asked.Test), d.Asked.Test.Samples))
	for _, c := range d.Asked.Checks {
		t.add("export", fmt.Sprintf("%s: the model's captions for %d of %d pictures, rougeL %.2f (model %.2f), %s",
			c.Dtype, c.EqualIDs, c.Pictures, c.RougeL, c.ModelRougeL, report.Bytes(c.Bytes)))
	}
}

// scored is the metric that chose the best epoch, and how many captions are right.
func scored(metric string, m record.Metrics) string {
	text := m.Shown(metric)
	if metric != record.MetricExactMatch {
		text += fmt.Sprintf(", exact %.1f%%", m.ExactMatch)
	}
	return text
}

// addVariety says whether the captioner tells pictures apart, where that is known.
func addVariety(t *table, s record.Scores, split string) {
	if s.Distinct > 0 {
		t.add("captions", fmt.Sprintf("distinct %.1f%% of %d %s pictures, the most frequent one for %.1f%%",
			s.Distinct, s.Samples, split, s.Commonest))
	}
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
