package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/report"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// compareRuns shows what two runs have different, and how they came out, from what they have stored.
func (a *app) compareRuns(ctx context.Context, names []string, page string) error {
	for _, name := range names {
		if err := checkRunID(name); err != nil {
			return err
		}
	}
	return a.withSite(ctx, func(ctx context.Context, s *site) error {
		sides, configs := make([]report.RunSide, 2), make([]pipeline.Config, 2)
		for i, name := range names {
			var err error
			if sides[i], configs[i], err = runSide(ctx, s, name); err != nil {
				return err
			}
		}
		changes, err := configChanges(configs[0], configs[1], "")
		if err != nil {
			return err
		}
		pair := report.RunPair{A: sides[0], B: sides[1]}
		for _, c := range changes {
			if c.key == "name" && c.was == names[0] && c.now == names[1] {
				continue // neither has a name of its own
			}
			pair.Changes = append(pair.Changes, report.Change{Key: c.key, A: valueText(c.was), B: valueText(c.now)})
		}
		if page != "" {
			if err := os.WriteFile(page, report.RunsHTML(pair), 0o644); err != nil {
				return fileError("--html", page, err)
			}
		}
		return a.printRuns(pair, page)
	})
}

// runSide is what a run has stored of itself.
func runSide(ctx context.Context, s *site, name string) (report.RunSide, pipeline.Config, error) {
	side, run := report.RunSide{Run: name}, layout.Run(name)
	var cfg pipeline.Config
	err := s.store.GetJSON(ctx, run.Config(), &cfg)
	if errors.Is(err, storage.ErrNotFound) {
		return side, cfg, s.noRun(name)
	}
	if err != nil {
		return side, cfg, err
	}
	progress, err := artifact.NewestProgress(ctx, s.store, run, nil)
	if err != nil {
		return side, cfg, err
	}
	side.History, side.Best = progress.Epochs, progress.Best
	group, err := artifact.FindModel(ctx, s.store, name)
	if errors.Is(err, artifact.ErrNotPublished) {
		return side, cfg, nil
	}
	if err != nil {
		return side, cfg, err
	}
	m, err := artifact.ReadModel(ctx, s.store, group)
	side.Model = &m
	return side, cfg, err
}

func (a *app) printRuns(p report.RunPair, page string) error {
	if a.output == "json" {
		side := func(s report.RunSide) map[string]any {
			out := map[string]any{"run": s.Run, "epochs": s.History, "best": s.Best}
			if s.Model != nil {
				out["model"], out["test"], out["checks"] = s.Model.Model, s.Model.Test, s.Model.Checks
			}
			return out
		}
		changes := []map[string]string{}
		for _, c := range p.Changes {
			changes = append(changes, map[string]string{"key": c.Key, p.A.Run: c.A, p.B.Run: c.B})
		}
		return printJSON(a.stdout, map[string]any{"runs": []any{side(p.A), side(p.B)}, "config": changes})
	}
	scores := newScoresTable()
	for _, s := range p.Sides() {
		if s.Best != nil {
			best := s.Best.Eval
			best.Groups, best.Baselines = nil, nil
			addScores(scores, s.Run+", validation", best)
		}
		if s.Model != nil {
			test := s.Model.Test
			test.Groups, test.Baselines = nil, nil
			addScores(scores, s.Run+", "+s.Model.TestedOn, test)
		}
	}
	scores.write(a.stdout, "")
	fmt.Fprintln(a.stdout)
	t := &table{}
	t.add("", p.A.Run, p.B.Run)
	t.add("best epoch", bestText(p.A.Best), bestText(p.B.Best))
	t.add("took", p.A.Took(), p.B.Took())
	for _, c := range p.Changes {
		t.add(c.Key, c.A, c.B)
	}
	t.write(a.stdout, "")
	if page != "" {
		fmt.Fprintf(a.stdout, "\nwritten to %s\n", page)
	}
	return nil
}

func bestText(b *record.Best) string {
	if b == nil {
		return "none"
	}
	return fmt.Sprintf("%d, by %s", b.Epoch, b.Metric())
}
