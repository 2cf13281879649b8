package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/workflow"

	"distilvit/pipeline"
)

// train runs epochs until the config's number, patience or a stop ends them.
// Each is trained, evaluated and recorded, so that a new execution of the run
// goes on with the next.
func (r *run) train(ctx workflow.Context) error {
	r.enter(ctx, pipeline.StageTrain, "looking for earlier progress")
	if r.Progress.Branch == 0 {
		if err := r.resume(ctx); err != nil {
			return err
		}
	}
	for {
		if err := r.trainEpochs(ctx); err != nil {
			return err
		}
		if more, err := r.nextExtension(ctx); err != nil || !more {
			return err
		}
	}
}

func (r *run) trainEpochs(ctx workflow.Context) error {
	for r.moreEpochs() {
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return workflow.NewContinueAsNewError(ctx, pipeline.WorkflowType, r.Config, &r.State)
		}
		record, end, err := r.epoch(ctx)
		if errors.Is(err, errBrokenOff) {
			return nil
		}
		if err != nil {
			return err
		}
		if record.Eval, err = r.validate(ctx, end); err != nil {
			return err
		}
		r.finishEpoch(record, end)
		if err := r.recordProgress(ctx); err != nil {
			return err
		}
	}
	return nil
}

// resume finds what an earlier execution of the same run has left.
func (r *run) resume(ctx workflow.Context) error {
	progress, err := r.findProgress(ctx, 0)
	if err != nil {
		return err
	}
	progress.Extends = append(progress.Extends, r.Progress.Extends...) // asked for meanwhile
	r.Progress = progress
	if r.Progress.Branch == 0 {
		r.Progress.Branch = 1
	}
	return nil
}

// moreEpochs: a stop before the first epoch still lets it be trained, since
// there would be nothing to publish.
func (r *run) moreEpochs() bool {
	finished := len(r.Progress.Epochs)
	if finished == 0 {
		return true
	}
	since := r.Progress.Best.Epoch
	if e := r.Progress.Extension; e != nil {
		since = max(since, e.After)
	}
	impatient := r.Config.Train.Patience > 0 && finished-since >= r.Config.Train.Patience
	return finished < r.lastEpoch() && !impatient && !r.Stopping
}

// epoch trains the next one, from wherever the branch stands.
func (r *run) epoch(ctx workflow.Context) (pipeline.EpochRecord, *pipeline.CheckpointRef, error) {
	number := len(r.Progress.Epochs) + 1
	name := fmt.Sprintf("epoch %d of %d", number, r.lastEpoch())
	var result pipeline.EpochResult
	err := r.onDevice(ctx, job{name: name, needs: r.Progress.Last, shrink: r.halveMicroBatch, mayBreakOff: true, do: func(session workflow.Context) (err error) {
		r.show(ctx, name)
		result, err = call[pipeline.EpochResult](session, r, trainEpoch, fmt.Sprintf("epoch-%d", number), name, pipeline.EpochInput{
			Work: r.work(), Epoch: number - 1, From: r.Progress.From, Best: r.bestCheckpoint(),
		})
		return err
	}})
	if err != nil {
		return pipeline.EpochRecord{}, nil, err
	}
	r.warn(result.Warnings)
	r.reached(&result.Checkpoint)
	return pipeline.EpochRecord{
		Epoch: number, Step: result.Checkpoint.Step, TrainLoss: result.Loss, Seconds: result.Seconds, Times: result.Times,
	}, &result.Checkpoint, nil
}

// validate scores a checkpoint on the validation set.
func (r *run) validate(ctx workflow.Context, end *pipeline.CheckpointRef) (pipeline.Metrics, error) {
	result, err := r.evaluate(ctx, pipeline.EvaluateInput{
		Split: pipeline.SplitValidation, Checkpoint: *end, Evaluate: r.evaluation(),
	}, fmt.Sprintf("evaluate-%d", end.Epoch), fmt.Sprintf("validation after epoch %d", end.Epoch))
	return result.Metrics, err
}

// evaluateBest scores the best checkpoint on the whole test set, or on the
// validation set where there is none.
func (r *run) evaluateBest(ctx workflow.Context) (pipeline.EvaluateResult, error) {
	r.enter(ctx, pipeline.StageEvaluate, fmt.Sprintf("best checkpoint, of epoch %d", r.Progress.Best.Epoch))
	whole := r.evaluation()
	whole.Limit = 0
	return r.evaluate(ctx, pipeline.EvaluateInput{
		Split: r.testSplit(), Checkpoint: r.Progress.Best.Checkpoint, Evaluate: whole,
	}, "evaluate-best", "best checkpoint on the "+r.testSplit()+" set")
}

func (r *run) testSplit() string {
	if r.Dataset.Rows[pipeline.SplitTest] > 0 {
		return pipeline.SplitTest
	}
	return pipeline.SplitValidation
}

func (r *run) evaluate(ctx workflow.Context, input pipeline.EvaluateInput, id, name string) (pipeline.EvaluateResult, error) {
	var result pipeline.EvaluateResult
	err := r.onDevice(ctx, job{name: name, needs: &input.Checkpoint, shrink: r.halveEvaluation, do: func(session workflow.Context) (err error) {
		r.show(ctx, name)
		input.Work, input.Evaluate.BatchSize = r.work(), r.evaluation().BatchSize
		result, err = call[pipeline.EvaluateResult](session, r, evaluate, id, name, input)
		return err
	}})
	return result, err
}

// evaluation is the config's, with the batch as it was lowered.
func (r *run) evaluation() pipeline.EvaluateConfig {
	e := r.Config.Evaluate
	if r.EvaluateBatch > 0 {
		e.BatchSize = r.EvaluateBatch
	}
	return e
}

// finishEpoch takes the epoch into the history. Best is the highest
// eval_rougeL, ties to the earliest.
func (r *run) finishEpoch(record pipeline.EpochRecord, end *pipeline.CheckpointRef) {
	r.Progress.Epochs = append(r.Progress.Epochs, record)
	r.Progress.Last = end
	if best := r.Progress.Best; best == nil || record.Eval.RougeL > best.Eval.RougeL {
		r.Progress.Best = &pipeline.Best{Epoch: record.Epoch, Checkpoint: *end, Eval: record.Eval}
	}
}

func (r *run) bestCheckpoint() *pipeline.CheckpointRef {
	if r.Progress.Best == nil {
		return nil
	}
	return &r.Progress.Best.Checkpoint
}

// work is what a device activity needs now: the branch, and the micro-batch as
// it was lowered. After a rollback the seed differs, so that the same point is
// passed with another order of examples and other dropout.
func (r *run) work() pipeline.Work {
	train := r.Config.Train
	if r.Progress.MicroBatchSize > 0 {
		train.MicroBatchSize = r.Progress.MicroBatchSize
	}
	return pipeline.Work{
		Run:     r.id,
		Branch:  r.Progress.Branch,
		Seed:    r.Config.Seed + uint64(r.Progress.Reseeds),
		Backend: r.Backend,
		Model:   r.Model,
		Dataset: r.Dataset,
		Tokens:  r.Tokens,
		Train:   train,

		Extension: r.Progress.Extension,
	}
}

func (r *run) findProgress(ctx workflow.Context, branch int) (pipeline.Progress, error) {
	return call[pipeline.Progress](ctx, r, findProgress, "find-progress", "newest checkpoint", pipeline.FindProgressInput{Run: r.id, Branch: branch})
}

func (r *run) recordProgress(ctx workflow.Context) error {
	progress := r.Progress
	progress.Newest = nil
	summary := fmt.Sprintf("branch %d, %d epochs", progress.Branch, len(progress.Epochs))
	_, err := call[struct{}](ctx, r, recordProgress, fmt.Sprintf("record-%d-%d", progress.Branch, len(progress.Epochs)), summary, pipeline.RecordProgressInput{
		Run: r.id, Progress: progress,
	})
	return err
}
