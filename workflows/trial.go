package workflows

import (
	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// tellSweep tells the sweep that this run is a trial of how far it is. A run that is none tells nobody, and one whose
// sweep has ended goes on without it.
func (r *run) tellSweep(ctx workflow.Context, told pipeline.TrialTold) {
	sweep := workflow.GetInfo(ctx).ParentWorkflowExecution
	if sweep == nil {
		return
	}
	told.Run = r.id
	err := workflow.SignalExternalWorkflow(ctx, sweep.ID, "", pipeline.TrialSignal, told).Get(ctx, nil)
	if err != nil {
		workflow.GetLogger(ctx).Warn("the sweep is not told", "sweep", sweep.ID, "error", err)
	}
}

// brief are the metrics without what trials are not compared by.
func brief(m *record.Metrics) *record.Metrics {
	short := *m
	short.Groups, short.Baselines = nil, nil
	return &short
}
