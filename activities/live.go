package activities

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"

	"distilvit/artifact/record"
	"distilvit/model/trainer"
	"distilvit/track"
)

// liveCurves writes the steps of an epoch under way into the event file of this machine. It is a view beside the
// training: when it fails, it ends, and training goes on.
type liveCurves struct {
	ctx context.Context
	log *track.EventLog // nil: none is kept
}

// liveCurves opens the file, for training that goes on from a checkpoint; nil: from the initial weights. Where
// the branch begins, what an abandoned one left in the file does not count any more.
func (e *epochRun) liveCurves(ctx context.Context, from *record.CheckpointManifest) *liveCurves {
	l := &liveCurves{ctx: context.WithoutCancel(ctx)}
	if !e.in.TensorBoard {
		return l
	}
	log, err := e.eventLog(e.in.Work.Run)
	if l.log = log; log != nil && err == nil && from != nil && from.Branch != e.in.Work.Branch {
		err = log.Restart(l.ctx, time.Now(), from.Step+1)
	}
	l.check(err)
	return l
}

func (l *liveCurves) add(s *trainer.StepEvent) {
	if l.log == nil {
		return
	}
	now := time.Now()
	all := make([]track.Scalars, len(s.Records))
	for i, r := range s.Records {
		ago := s.Seconds * float64(len(s.Records)-1-i)
		all[i] = stepScalars(r, now.Add(-seconds(ago)))
	}
	l.check(l.log.Append(l.ctx, all))
}

func (l *liveCurves) check(err error) {
	if err != nil {
		activity.GetLogger(l.ctx).Warn("TensorBoard's file on this machine ends", "error", err)
		l.log = nil
	}
}
