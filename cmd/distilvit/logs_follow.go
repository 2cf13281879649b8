package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// stepsEvery is how often a followed log tells of a step.
const stepsEvery = 10 * time.Second

// followLog writes what a run does as lines of a log, until it ends or a person has seen enough.
func (a *app) followLog(ctx context.Context, s *site, id string) error {
	run, _, err := s.find(ctx, id)
	if err != nil {
		return err
	}
	if run.kind != pipeline.WorkflowType {
		return usagef("%s is no run but a %s: distilvit status %s", id, run.kind, id)
	}
	l := newRunLog(s, id, newLog(a.stdout, cmp.Or(map[string]string{"json": "json"}[a.output], a.logFormat), slog.LevelInfo))
	if !run.open() {
		return l.closed(ctx)
	}
	if s.hosted != nil {
		return fmt.Errorf("run %s is open, and no stack is up that goes on with it: its own command does, or distilvit up", id)
	}
	err = followHostElsewhere(ctx, s, l.follow)
	switch {
	case errors.Is(err, errInterrupted):
		return nil
	case errors.Is(err, errHostEnded):
		return fmt.Errorf("process %d, which hosted the stack, has ended: run %s is interrupted, not lost; its own command, or "+
			"distilvit up, goes on from its newest checkpoint", s.host, id)
	}
	return err
}

// runLog tells of a run as records of a log, each with the run, and the stage, epoch and step that it is at.
type runLog struct {
	site *site
	id   string
	log  *slog.Logger

	status   pipeline.Status  // as told last
	began    bool             // something has been told
	attempts map[string]int32 // newest failed attempt told, by activity
	phase    string           // of the newest heartbeat told,
	told     time.Time        // and when
}

func newRunLog(s *site, id string, log *slog.Logger) *runLog {
	return &runLog{site: s, id: id, log: log.With("run", id), attempts: map[string]int32{}}
}

// follow tells of an open run until it ends.
func (l *runLog) follow(ctx context.Context) error {
	l.poll(ctx)
	result, err := followToEnd[pipeline.Result](ctx, l.site.client, l.id, newProgress(io.Discard), l.poll)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	l.end(result, err)
	return nil
}

// closed tells of a run that has ended, by what it has stored.
func (l *runLog) closed(ctx context.Context) error {
	p, err := artifact.NewestProgress(ctx, l.site.store, layout.Run(l.id), nil)
	if err != nil {
		return err
	}
	l.epochs(p.Epochs)
	found, failed := result(ctx, l.site.client, l.id)
	l.end(found, failed)
	return nil
}

// end tells how the run has ended.
func (l *runLog) end(result *pipeline.Result, err error) {
	if err != nil {
		l.write(time.Now(), slog.LevelError, "failed: "+failureText(err))
		return
	}
	l.status.Stage, l.status.Epoch, l.status.Step = pipeline.StageDone, result.Epoch, result.Step
	l.write(time.Now(), slog.LevelInfo, "published "+result.Model, "test", result.Test.Shown(record.Best{By: result.By}.Metric()))
}

// poll asks once and tells what is new. What cannot be had now is told next time.
func (l *runLog) poll(ctx context.Context) {
	_, described, err := describeRun(ctx, l.site.client, l.id)
	if err != nil {
		return
	}
	status, err := queryStatus(ctx, l.site.client, l.id)
	if err != nil {
		return
	}
	l.show(time.Now(), status, heartbeats(described))
}

func (l *runLog) show(now time.Time, status *pipeline.Status, activities []activityState) {
	was := l.status
	l.epochs(status.History)
	warnings := status.Warnings[min(len(was.Warnings), len(status.Warnings)):]
	l.status = *status
	for _, warning := range warnings {
		l.write(l.when(now), slog.LevelWarn, warning)
	}
	l.began = true
	if status.Stage != was.Stage || status.Detail != was.Detail && status.Stage != pipeline.StageTrain {
		l.write(now, slog.LevelInfo, status.Detail)
	}
	if status.Paused && !was.Paused {
		l.write(now, slog.LevelInfo, "paused")
	}
	for _, activity := range activities {
		l.activity(now, activity)
	}
}

// epochs tells of those that are new.
func (l *runLog) epochs(all []record.EpochRecord) {
	for _, e := range all[min(len(l.status.History), len(all)):] {
		l.status.Stage, l.status.Epoch, l.status.Step = pipeline.StageTrain, e.Epoch, e.Step
		l.write(l.when(time.Now()), slog.LevelInfo, e.Name(), "loss", e.TrainLoss, record.MetricLoss, e.Eval.Loss,
			record.MetricRougeL, e.Eval.RougeL, record.MetricExactMatch, e.Eval.ExactMatch, "seconds", e.Seconds)
	}
	l.status.History = all
}

// when is the time of what may have been before anybody looked: then it is not known.
func (l *runLog) when(now time.Time) time.Time {
	if l.began {
		return now
	}
	return time.Time{}
}

// activity tells of attempts that failed, and now and then of what goes on.
func (l *runLog) activity(now time.Time, a activityState) {
	if a.Failure != "" && l.attempts[a.ID] != a.Attempt {
		l.attempts[a.ID] = a.Attempt
		l.write(now, slog.LevelWarn, "another attempt, since: "+a.Failure, "activity", a.ID, "attempt", a.Attempt)
	}
	if a.Beat == nil || a.Beat.Phase == l.phase && now.Sub(l.told) < stepsEvery {
		return
	}
	l.phase, l.told = a.Beat.Phase, now
	l.status.Step = max(l.status.Step, a.Beat.Step)
	more := []any{"activity", a.ID}
	if a.Beat.Steps > 0 {
		more = append(more, "steps", a.Beat.Steps, "loss", a.Beat.Loss, "pictures_per_second", a.Beat.Rate)
	} else if a.Beat.Total > 0 {
		more = append(more, "done", a.Beat.Done, "total", a.Beat.Total)
	}
	l.write(now, slog.LevelInfo, a.Beat.Phase, more...)
}

// write writes one record; a zero time is left out.
func (l *runLog) write(at time.Time, level slog.Level, message string, more ...any) {
	r := slog.NewRecord(at, level, message, 0)
	r.Add("stage", l.status.Stage, "epoch", l.status.Epoch, "step", l.status.Step)
	r.Add(more...)
	// what cannot be written is seen by who reads
	_ = l.log.Handler().Handle(context.Background(), r)
}
