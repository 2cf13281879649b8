package activities

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"distilvit/artifact"
	"distilvit/pipeline"
	"distilvit/storage/layout"
	"distilvit/storage/retention"
)

// Sweep removes what nothing refers to of one page of the bucket, and puts right what names the newest models.
func (a *Activities) Sweep(ctx context.Context, in pipeline.JanitorPageInput) (pipeline.JanitorPage, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.JanitorPage, error) {
		var out pipeline.JanitorPage
		grace, err := time.ParseDuration(cmp.Or(in.Grace, pipeline.DefaultGrace))
		if err != nil || grace < 0 {
			return out, invalid("grace %q: give a time like 24h, or 0s", in.Grace)
		}
		p.progress("sweep", 0, 0, in.Cursor)
		page, err := retention.Sweep(ctx, a.Store, in.Cursor, retention.Options{
			DryRun: in.DryRun, Grace: grace, Open: a.Open, Told: waiting(ctx),
		})
		for _, c := range page.Removed {
			out.Removed = append(out.Removed, pipeline.Removed(c))
		}
		out.Notes, out.Next = page.Notes, page.Next
		if err == nil && in.Cursor == layout.Models && !in.DryRun {
			var changed []string
			if changed, err = artifact.UpdateEveryLatest(ctx, a.Store); len(changed) > 0 {
				out.Notes = append(out.Notes, "named another version than the newest, or was missing, and is put right: "+
					strings.Join(changed, ", "))
			}
		}
		return out, err
	})
}

// waiting says in the heartbeat of an activity that its work waits for somebody who removes groups, as long as it does.
func waiting(ctx context.Context) retention.Told {
	p, ok := ctx.Value(pulseKey{}).(*pulse)
	if !ok {
		return nil
	}
	var before *pipeline.Heartbeat
	return func(groups []string, until time.Time) {
		p.set(func(b *pipeline.Heartbeat) {
			if before == nil {
				kept := *b
				before = &kept
			}
			*b = *before
			if len(groups) > 0 {
				b.Phase, b.Done, b.Total, b.Message = "wait", 0, 0, retention.WaitText(groups, until)
			}
		})
	}
}

// adopt makes groups of stored objects the run's before it looks for them.
func (a *Activities) adopt(ctx context.Context, run string, groups ...string) error {
	if err := pipeline.CheckRunID(run); err != nil {
		return invalid("%v", err)
	}
	return retention.Adopt(ctx, a.Store, run, waiting(ctx), groups...)
}

// adoptWork does so for all that a device activity needs, which a run that
// prepared it before references were recorded has not yet done. It returns when
// nobody removes what is left of the run's own.
func (a *Activities) adoptWork(ctx context.Context, w pipeline.Work) error {
	keys := []string{w.Dataset.Manifest, w.Tokens.Manifest, w.Features.Manifest, w.HeldOut.Manifest, w.Teacher.Manifest}
	for _, files := range []map[string]layout.Object{w.Model.Files, w.Teacher.Model.Files} {
		for _, o := range files {
			keys = append(keys, o.Key)
		}
	}
	var groups []string
	for _, key := range keys {
		if group, ok := layout.GroupOf(key); ok && !slices.Contains(groups, group) &&
			layout.AreaOf(group) != layout.Runs {
			groups = append(groups, group)
		}
	}
	slices.Sort(groups)
	if err := a.adopt(ctx, w.Run, groups...); err != nil {
		return err
	}
	return retention.Await(ctx, a.Store, waiting(ctx), layout.Run(w.Run).Group())
}
