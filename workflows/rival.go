package workflows

import (
	"cmp"
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// compare lets the best checkpoint and a published model caption the same pictures, where publish.better_than wants
// that. A run that is not better ends here as rejected.
func (r *run) compare(ctx workflow.Context) error {
	b := r.Config.Publish.BetterThan
	if b.Model == "" {
		return nil
	}
	r.show(ctx, "comparing with "+b.Model)
	fixed, err := call[pipeline.Dataset](ctx, r, finishPrepare, "fixed-pictures", b.Dataset, pipeline.FinishPrepareInput{
		Run: r.id, Dataset: b.Dataset, Prepare: pipeline.PrepareConfig{MaxBadFraction: 1},
	})
	if err != nil {
		return err
	}
	rival, err := call[record.ModelRef](ctx, r, storeModel, "rival", b.Model, pipeline.PretrainedInput{
		Run: r.id, Weights: pipeline.RunPrefix + b.Model,
	})
	if err != nil {
		return err
	}
	own, err := r.scoreOn(ctx, fixed, "fixed", "best checkpoint", r.Model, r.Progress.Best.Checkpoint)
	if err != nil {
		return err
	}
	other, err := r.scoreOn(ctx, fixed, "fixed-rival", b.Model, rival, record.CheckpointRef{})
	if err != nil {
		return err
	}
	c := record.Comparison{
		With: b.Model, Dataset: fixed.Manifest, Split: testSplitOf(fixed),
		Metric: cmp.Or(b.Metric, r.Config.MetricForBestModel()), Margin: b.Margin,
	}.Compare(own, other)
	r.comparison = &c
	if c.Better {
		return nil
	}
	said := "not better: " + c.String() + "; its model is not published, and its checkpoints are kept"
	r.enter(ctx, pipeline.StageRejected, said)
	return temporal.NewNonRetryableApplicationError(said, pipeline.Rejected, nil, c)
}

// scoreOn scores a model, or a checkpoint of one, on pictures that need not be the run's. Those cannot be made again
// where they are broken, as the run's can.
func (r *run) scoreOn(
	ctx workflow.Context, fixed pipeline.Dataset, id, name string, model record.ModelRef, checkpoint record.CheckpointRef,
) (record.Metrics, error) {
	tokens, _, err := r.tokensOf(ctx, id+"-", fixed, model)
	if err != nil {
		return record.Metrics{}, err
	}
	split := testSplitOf(fixed)
	name = fmt.Sprintf("%s on the %s set of %s", name, split, r.Config.Publish.BetterThan.Dataset)
	var result pipeline.EvaluateResult
	err = r.onDevice(ctx, job{name: name, shrink: r.halveEvaluation, inStage: true,
		do: func(session workflow.Context) (err error) {
			r.show(ctx, name)
			in := pipeline.EvaluateInput{
				Work: r.work(), Split: split, As: id, Checkpoint: checkpoint, Evaluate: r.evaluation(),
			}
			in.Work.Model, in.Work.Dataset, in.Work.Tokens = model, fixed, tokens
			in.Work.Features, in.Work.HeldOut = pipeline.Features{}, pipeline.Features{}
			in.Evaluate.Limit = 0
			result, err = call[pipeline.EvaluateResult](session, r, evaluate, "evaluate-"+id, name, in)
			return err
		}})
	return result.Metrics, err
}
