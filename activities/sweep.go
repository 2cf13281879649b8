package activities

import (
	"context"

	"distilvit/artifact"
	"distilvit/pipeline"
	"distilvit/report"
	"distilvit/storage/layout"
)

// ReportSweep stores a sweep's report, with the curves that its trials' runs have recorded, and the same as JSON.
func (a *Activities) ReportSweep(ctx context.Context, in pipeline.ReportSweepInput) (string, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (string, error) {
		if err := pipeline.CheckSweepID(in.Status.Sweep); err != nil {
			return "", invalid("%v", err)
		}
		page := report.Sweep{
			Sweep: in.Status.Sweep, Method: in.Status.Method, Metric: in.Status.Metric, Warnings: in.Status.Warnings,
		}
		for n, i := range in.Status.Ranking() {
			p.progress("read", int64(n), int64(len(in.Status.Trials)), "")
			t := in.Status.Trials[i]
			progress, err := artifact.NewestProgress(ctx, a.Store, layout.Run(t.Run), nil)
			if err != nil {
				return "", err
			}
			shown := report.Trial{
				Run: t.Run, State: t.State, Epoch: t.Epoch, Eval: t.Eval, Test: t.Test, History: progress.Epochs, Error: t.Error,
			}
			if !t.Began.IsZero() {
				shown.Took = t.Ended.Sub(t.Began)
			}
			for _, s := range t.Settings {
				shown.Settings = append(shown.Settings, report.Pair{Name: s.Key, Value: s.Text()})
			}
			page.Trials = append(page.Trials, shown)
		}
		if _, err := a.Store.PutJSON(ctx, layout.SweepDocument(in.Status.Sweep), in.Status); err != nil {
			return "", err
		}
		key := layout.SweepReport(in.Status.Sweep)
		_, err := a.Store.PutBytes(ctx, key, report.SweepHTML(page))
		return key, err
	})
}
