package workflows

import (
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/pipeline"
)

// recovered stands for a run whose history is lost, so that it is listed and goes on as others do: it ends
// at once as the run had, or fails with how far it had come.
func recovered(ctx workflow.Context, cfg pipeline.Config, was pipeline.Recovered) (*pipeline.Result, error) {
	err := workflow.UpsertTypedSearchAttributes(ctx, searchModel.ValueSet(cfg.Name), searchStage.ValueSet(was.Stage))
	if err != nil {
		return nil, err
	}
	if was.Result == nil {
		return nil, temporal.NewNonRetryableApplicationError(was.Standing, pipeline.RecoveredRun, nil)
	}
	return was.Result, nil
}
