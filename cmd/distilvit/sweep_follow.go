package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// sweepFollower shows a sweep's table until it ends: on a terminal in place, elsewhere a line for each trial that
// begins or ends.
type sweepFollower struct {
	site     *site
	id       string
	progress *progress
	states   map[string]string // newest state shown, by run
	status   *pipeline.SweepStatus
}

func (a *app) followedSweep(s *site, o sweepOptions, p *progress) followed {
	id := o.id
	f := &sweepFollower{site: s, id: id, progress: p, states: map[string]string{}}
	var result *pipeline.SweepStatus
	return followed{
		name: "sweep " + id, id: id,
		follow: func(ctx context.Context) (err error) {
			result, err = followToEnd[pipeline.SweepStatus](ctx, s.client, id, p, f.poll)
			return err
		},
		print: func() error { return a.printSweep(o, result) },
	}
}

// poll asks once and shows what is new. What cannot be had now is shown next time.
func (f *sweepFollower) poll(ctx context.Context) {
	status, err := query[pipeline.SweepStatus](ctx, f.site.client, f.id, "")
	if err != nil {
		return
	}
	f.status = status
	for i, t := range status.Trials {
		if f.states[t.Run] == t.State || t.State == pipeline.TrialQueued {
			continue
		}
		f.states[t.Run] = t.State
		f.progress.line("trial %d of %d, %s: %s", i+1, len(status.Trials), pipeline.SettingsText(t.Settings), stateText(*status, t))
	}
	if f.progress.terminal {
		f.progress.block(sweepTable(*status, f.live(ctx), shownTrials).lines())
	}
}

// shownTrials are as many as a terminal shows at once, the best and those under way.
const shownTrials = 16

// live is what the runs under way do now, by run.
func (f *sweepFollower) live(ctx context.Context) map[string]string {
	doing := map[string]string{}
	for _, t := range f.status.Trials {
		if t.State != pipeline.TrialRunning {
			continue
		}
		run, err := queryStatus(ctx, f.site.client, t.Run)
		if err != nil {
			continue
		}
		if doing[t.Run] = run.Stage; run.Stage == pipeline.StageTrain {
			doing[t.Run] = fmt.Sprintf("%s %d/%d", run.Stage, min(run.Epoch+1, run.Epochs), run.Epochs)
		}
	}
	return doing
}

// stateText is what a trial has come to.
func stateText(s pipeline.SweepStatus, t pipeline.TrialStatus) string {
	switch {
	case t.Error != "":
		return t.State + ": " + t.Error
	case t.State == pipeline.TrialRunning && t.Rung > 0:
		return fmt.Sprintf("goes on after epoch %d", t.Rung)
	case t.State == pipeline.TrialWaiting:
		return fmt.Sprintf("epoch %d is over, %s; waits for the others", t.Rung, t.Eval.Shown(s.Metric))
	case t.Eval == nil:
		return t.State
	}
	best := ""
	if s.Best == t.Run {
		best = ", the best so far"
	}
	return fmt.Sprintf("%s, %s after epoch %d%s", t.State, t.Eval.Shown(s.Metric), t.Epoch, best)
}

// sweepTable is a row a trial, the best first, most of them; doing is what those under way do.
func sweepTable(s pipeline.SweepStatus, doing map[string]string, most int) *table {
	t := &table{right: true}
	metrics := []string{s.Metric}
	if s.Metric != record.MetricLoss {
		metrics = append(metrics, record.MetricLoss)
	}
	heads := slices.Concat([]string{"TRIAL", "STATE"}, metrics, []string{"EPOCH", "TIME"})
	for _, setting := range s.Trials[0].Settings {
		heads = append(heads, setting.Key)
	}
	t.add(heads...)
	left := 0
	for _, i := range s.Ranking() {
		trial := s.Trials[i]
		if len(t.rows) > most && trial.State != pipeline.TrialRunning {
			left++
			continue
		}
		row := []string{trial.Run, cmp.Or(doing[trial.Run], trial.State)}
		for _, metric := range metrics {
			row = append(row, scoreText(trial, metric))
		}
		row = append(row, epochText(trial), tookText(trial))
		for _, setting := range trial.Settings {
			row = append(row, setting.Text())
		}
		t.add(row...)
	}
	if left > 0 {
		t.add(fmt.Sprintf("and %d more", left))
	}
	return t
}

// nothingYet stands in a table for what is not known.
const nothingYet = "-"

// scoreText is a metric of a trial's best epoch.
func scoreText(t pipeline.TrialStatus, metric string) string {
	if t.Eval == nil {
		return nothingYet
	}
	_, score, _ := strings.Cut(t.Eval.Shown(metric), " ")
	return score
}

func epochText(t pipeline.TrialStatus) string {
	if t.Eval == nil {
		return nothingYet
	}
	return fmt.Sprint(t.Epoch)
}

// tookText is how long a trial took, or has taken so far.
func tookText(t pipeline.TrialStatus) string {
	switch {
	case t.Began.IsZero():
		return nothingYet
	case t.Ended.IsZero():
		return durationText(time.Since(t.Began))
	}
	return durationText(t.Ended.Sub(t.Began))
}

// printSweep shows what a sweep has come to, and how to go on with it.
func (a *app) printSweep(o sweepOptions, s *pipeline.SweepStatus) error {
	if a.output == "json" {
		return printJSON(a.stdout, s)
	}
	fmt.Fprintf(a.stdout, "\nsweep %s: %d trials, %d failed\n\n", s.Sweep, len(s.Trials), s.Count(pipeline.TrialFailed))
	sweepTable(*s, nil, len(s.Trials)).write(a.stdout, "  ")
	for _, t := range s.Trials {
		if t.Error != "" {
			fmt.Fprintf(a.stdout, "\n%s failed: %s", t.Run, t.Error)
		}
	}
	for _, w := range s.Warnings {
		fmt.Fprintf(a.stdout, "\nwarning: %s", w)
	}
	if s.Best == "" {
		fmt.Fprintln(a.stdout)
		return nil
	}
	best := s.Trials[s.Ranking()[0]]
	fmt.Fprintf(a.stdout, "\nthe best is %s: %s, with %s. Look at it:\n", best.Run, best.Eval.Shown(s.Metric),
		pipeline.SettingsText(best.Settings))
	look := &table{}
	look.add(a.command()+" get "+best.Run, "its model directory")
	if s.Report != "" {
		look.add(fmt.Sprintf("%s cat %s > report.html", a.command(), layout.SweepReport(s.Sweep)), "all trials with their curves")
	}
	look.write(a.stdout, "  ")
	if o.after != nil {
		return o.after(s)
	}
	return nil
}

// printTrials shows what a sweep would try.
func (a *app) printTrials(id string, spec pipeline.Sweep) error {
	status := pipeline.SweepStatus{Sweep: id, Method: spec.Method, Metric: spec.MetricForBestTrial()}
	impossible := spec.ImpossibleTrials()
	for i, settings := range spec.Settings() {
		t := pipeline.TrialStatus{Run: pipeline.TrialRun(id, i+1), Settings: settings, State: pipeline.TrialQueued}
		if err := impossible[i+1]; err != nil {
			t.Error = err.Error()
		}
		status.Trials = append(status.Trials, t)
	}
	if a.output == "json" {
		return printJSON(a.stdout, status)
	}
	t := &table{}
	for _, trial := range status.Trials {
		t.add(trial.Run, pipeline.SettingsText(trial.Settings), trial.Error)
	}
	t.write(a.stdout, "")
	return nil
}
