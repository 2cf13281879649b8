package workflows

import (
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// train runs epochs until the config's number, patience or a stop ends them.
// Each, or with train.eval_steps each part of one, is trained, evaluated and recorded,
// so that a new execution of the run goes on with the next.
func (r *run) train(ctx workflow.Context) error {
	r.enter(ctx, pipeline.StageTrain, "looking for earlier progress")
	if r.Progress.Branch == 0 {
		if err := r.resume(ctx); err != nil {
			return err
		}
	}
	r.warnOfLargeBatch()
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
	for r.moreEpochs(ctx) {
		r.pauseIfDue(ctx)
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return workflow.NewContinueAsNewError(ctx, pipeline.WorkflowType, r.Config, &r.State)
		}
		done, end, err := r.epoch(ctx)
		if errors.Is(err, errBrokenOff) {
			return nil
		}
		if err != nil {
			return err
		}
		if done.Eval, err = r.validate(ctx, end); err != nil {
			return err
		}
		r.finishEpoch(ctx, done, end)
		r.warnOfOverfitting()
		if err := r.recordProgress(ctx); err != nil {
			return err
		}
		r.trackEpoch(ctx)
	}
	return nil
}

// warnOfLargeBatch warns once of a batch that the training pictures do not fill.
func (r *run) warnOfLargeBatch() {
	warning := pipeline.LargeBatch(r.Dataset.TrainingPictures(), r.Config.Train.BatchSize)
	if warning != "" && !slices.Contains(r.Warnings, warning) {
		r.warn([]string{warning})
	}
}

// warnOfOverfitting warns, once a lowest loss, when validation falls apart from training.
func (r *run) warnOfOverfitting() {
	lowest := record.Overfit(r.Progress.Epochs)
	if lowest == nil {
		return
	}
	warning := fmt.Sprintf("eval_loss was lowest after %s (%.4f) and has risen by more than a tenth since, while the training "+
		"loss fell: the captioner learns its captions by heart. More pictures, train.augment, more train.dropout or "+
		"train.freeze may help; more epochs seldom do", lowest.Name(), lowest.Eval.Loss)
	if !slices.Contains(r.Warnings, warning) {
		r.warn([]string{warning})
	}
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

// moreEpochs says that there is more to train. Even after a stop that is what comes before
// the first validation, since there would be nothing to publish.
func (r *run) moreEpochs(ctx workflow.Context) bool {
	return len(r.Progress.Epochs) == 0 || r.next().epoch < r.lastEpoch() && !r.Stopping && !r.impatient(ctx)
}

// part is what is trained up to the next validation: an epoch, or with train.eval_steps what of it comes before.
type part struct {
	epoch int   // 0-based
	until int64 // steps of the epoch; 0: to its end
}

// next is the part that follows the last validation.
func (r *run) next() part {
	p, every := part{epoch: r.finished()}, int64(r.Config.Train.EvalSteps)
	if every == 0 {
		return p
	}
	last := r.last()
	begun := last.Step - last.EpochStep // steps done before the epoch
	epoch := pipeline.StepsPerEpoch(r.Dataset, r.Config.Train.BatchSize)
	if most := int64(r.Config.Train.MaxSteps); most > 0 && r.Progress.Extension == nil {
		epoch = min(epoch, most-begun)
	}
	if until := (last.Step/every+1)*every - begun; until < epoch {
		p.until = until
	}
	return p
}

// finished is the number of epochs trained to their end.
func (r *run) finished() int {
	last := r.last()
	if last.EpochStep > 0 {
		return last.Epoch - 1
	}
	return last.Epoch
}

// last is the newest validation's record; zero before the first.
func (r *run) last() (last record.EpochRecord) {
	if n := len(r.Progress.Epochs); n > 0 {
		last = r.Progress.Epochs[n-1]
	}
	return last
}

// impatient says that train.patience validations were no better. One is better by its score, or by its loss: while the
// loss falls, training goes somewhere, and a score of a few hundred pictures goes up and down meanwhile. The
// script that compat: seed follows, and older programs, look at the score alone.
func (r *run) impatient(ctx workflow.Context) bool {
	patience := r.Config.Train.Patience
	if patience == 0 || r.validationsSince(r.Progress.Best.Is) < patience {
		return false
	}
	if e := r.Progress.Extension; e != nil && r.validationsSince(func(v record.EpochRecord) bool {
		return v.Epoch <= e.After
	}) < patience {
		return false
	}
	if r.Config.Compat == pipeline.CompatSeed || r.validationsSince(r.hasLowestLoss()) >= patience {
		return true
	}
	return workflow.GetVersion(ctx, "patience-by-loss", workflow.DefaultVersion, 1) == workflow.DefaultVersion
}

// validationsSince counts those after the last one that is meant.
func (r *run) validationsSince(meant func(record.EpochRecord) bool) int {
	n := 0
	for _, e := range slices.Backward(r.Progress.Epochs) {
		if meant(e) {
			break
		}
		n++
	}
	return n
}

// hasLowestLoss tells the validation with the lowest eval_loss, the first of several.
func (r *run) hasLowestLoss() func(record.EpochRecord) bool {
	lowest := r.Progress.Epochs[0]
	for _, e := range r.Progress.Epochs[1:] {
		if e.Eval.Loss < lowest.Eval.Loss {
			lowest = e
		}
	}
	return func(e record.EpochRecord) bool { return e.Epoch == lowest.Epoch && e.EpochStep == lowest.EpochStep }
}

// epoch trains the next epoch or part of one, from the branch's newest checkpoint, and returns its
// record and the checkpoint at its end.
func (r *run) epoch(ctx workflow.Context) (record.EpochRecord, *record.CheckpointRef, error) {
	p := r.next()
	number := p.epoch + 1
	name, id := fmt.Sprintf("epoch %d of %d", number, r.lastEpoch()), fmt.Sprintf("epoch-%d", number)
	if p.until > 0 {
		name, id = fmt.Sprintf("%s up to its step %d", name, p.until), fmt.Sprintf("%s-to-%d", id, p.until)
	}
	var result pipeline.EpochResult
	err := r.onDevice(ctx, job{name: name, needs: r.Progress.Last, shrink: r.halveMicroBatch,
		mayBreakOff: true, do: func(session workflow.Context) (err error) {
			r.show(ctx, name)
			result, err = call[pipeline.EpochResult](session, r, trainEpoch, id, name, pipeline.EpochInput{
				Work: r.work(), Epoch: p.epoch, Until: p.until, From: r.Progress.From, Best: r.bestCheckpoint(),
				TensorBoard: r.Config.Track.TensorBoard,
			})
			return err
		}})
	if err != nil {
		return record.EpochRecord{}, nil, err
	}
	r.warn(result.Warnings)
	r.reached(&result.Checkpoint)
	return record.EpochRecord{
		Epoch: number, Step: result.Checkpoint.Step, TrainLoss: result.Loss, Seconds: result.Seconds,
		Times: result.Times, EpochStep: result.Checkpoint.EpochStep,
	}, &result.Checkpoint, nil
}

// validate scores a checkpoint on the validation set.
func (r *run) validate(ctx workflow.Context, end *record.CheckpointRef) (record.Metrics, error) {
	id, name := fmt.Sprintf("evaluate-%d", end.Epoch), fmt.Sprintf("validation after epoch %d", end.Epoch)
	if end.EpochStep > 0 {
		id, name = fmt.Sprintf("evaluate-at-%d", end.Step), fmt.Sprintf("validation after step %d", end.Step)
	}
	result, err := r.evaluate(ctx, pipeline.EvaluateInput{
		Split: pipeline.SplitValidation, Checkpoint: *end, Evaluate: r.evaluation(),
		Baselines: len(r.Progress.Epochs) == 0,
	}, id, name)
	if err != nil {
		return result.Metrics, err
	}
	r.Progress.Words = result.Metrics.Words
	r.warn(result.Warnings)
	return result.Metrics, nil
}

// evaluateBest scores the best checkpoint on the whole test set, or on the
// validation set where there is none.
func (r *run) evaluateBest(ctx workflow.Context) (pipeline.EvaluateResult, error) {
	r.enter(ctx, pipeline.StageEvaluate, "best checkpoint, of "+r.Progress.Best.Name())
	whole := r.evaluation()
	whole.Limit = 0
	result, err := r.evaluate(ctx, pipeline.EvaluateInput{
		Split: r.testSplit(), Checkpoint: r.Progress.Best.Checkpoint, Evaluate: whole, Baselines: true,
	}, "evaluate-best", "best checkpoint on the "+r.testSplit()+" set")
	if m := result.Metrics; err == nil && m.Collapsed() {
		r.warn([]string{fmt.Sprintf("the captioner says the same of %.0f%% of the %d %s pictures: "+
			"it has learnt to write and not to see, whatever its scores say. "+whatToTry,
			m.Commonest, m.Samples, r.testSplit())})
	}
	if below := result.Metrics.Below(); err == nil && below != "" {
		r.warn([]string{fmt.Sprintf("the captioner's scores on the %s pictures are below what needs no model: %s. %s",
			r.testSplit(), below, whatToTry)})
	}
	return result, err
}

const whatToTry = "Try weights to start from (model.preset: distilvit), more epochs, or another learning rate"

func (r *run) testSplit() string { return testSplitOf(r.Dataset) }

// testSplitOf is what models are tested on: test, or validation where there is no test set.
func testSplitOf(d pipeline.Dataset) string {
	if d.Rows[pipeline.SplitTest] > 0 {
		return pipeline.SplitTest
	}
	return pipeline.SplitValidation
}

func (r *run) evaluate(
	ctx workflow.Context, input pipeline.EvaluateInput, id, name string,
) (pipeline.EvaluateResult, error) {
	var result pipeline.EvaluateResult
	err := r.onDevice(ctx, job{name: name, needs: &input.Checkpoint, shrink: r.halveEvaluation,
		do: func(session workflow.Context) (err error) {
			r.show(ctx, name)
			input.Work, input.Evaluate.BatchSize = r.work(), r.evaluation().BatchSize
			result, err = call[pipeline.EvaluateResult](session, r, evaluate, id, name, input)
			return err
		}})
	return result, err
}

// evaluation is the config's evaluate section, with the batch as it was lowered after
// OutOfMemory, and the words that the first evaluation took. Epochs of programs that knew
// no others were scored on rouge_score's.
func (r *run) evaluation() pipeline.EvaluateConfig {
	e := r.config().Evaluate
	if e.Words == "" || e.Words == pipeline.WordsAuto {
		e.Words = r.Progress.Words
		if e.Words == "" && len(r.Progress.Epochs) > 0 {
			e.Words = pipeline.WordsRougeScore
		}
	}
	if r.EvaluateBatch > 0 {
		e.BatchSize = r.EvaluateBatch
	}
	return e
}

// finishEpoch takes an epoch or a part of one into the history, and for the best if it is.
func (r *run) finishEpoch(ctx workflow.Context, done record.EpochRecord, end *record.CheckpointRef) {
	metric := r.Config.MetricForBestModel()
	by := metric
	if !r.tells(ctx, done.Eval, metric) {
		by = record.MetricLoss
		r.warnOfSilence(ctx, metric, done)
	}
	if best := r.Progress.Best; best == nil || r.better(ctx, done.Eval, best.Eval, metric) {
		r.Progress.Best = &record.Best{Epoch: done.Epoch, Checkpoint: *end, Eval: done.Eval, By: by}
	}
	r.Progress.Epochs = append(r.Progress.Epochs, done)
	r.Progress.Last = end
}

// better compares epochs by a metric, and by eval_loss where they are even: a score of few validation pictures soon
// stays where it is. The script that compat: seed follows, and histories of older programs, then keep the earlier one.
func (r *run) better(ctx workflow.Context, eval, best record.Metrics, metric string) bool {
	if r.scoresBetter(ctx, eval, best, metric) {
		return true
	}
	return r.Config.Compat != pipeline.CompatSeed && eval.Loss < best.Loss && !r.scoresBetter(ctx, best, eval, metric) &&
		workflow.GetVersion(ctx, "best-of-even-by-loss", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// scoresBetter is Metrics.BetterThan, for the runs whose choice is that. Histories of programs that had eval_rougeL alone
// took an epoch in which it is 0 for what it says.
func (r *run) scoresBetter(ctx workflow.Context, eval, best record.Metrics, metric string) bool {
	if !eval.Told(metric) && !best.Told(metric) &&
		workflow.GetVersion(ctx, "best-by-loss", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return eval.RougeL > best.RougeL
	}
	if r.looksForCollapse(ctx, eval) && r.looksForCollapse(ctx, best) {
		return eval.BetterThan(best, metric)
	}
	return eval.WasBetterThan(best, metric)
}

// tells is Metrics.Tells, for the runs whose choice looks at it.
func (r *run) tells(ctx workflow.Context, eval record.Metrics, metric string) bool {
	if r.looksForCollapse(ctx, eval) {
		return eval.Tells(metric)
	}
	return eval.Told(metric)
}

// looksForCollapse says that a captioner that says the same of most pictures is not believed its score. The script
// that compat: seed follows believes it, and histories of older programs did.
func (r *run) looksForCollapse(ctx workflow.Context, eval record.Metrics) bool {
	return !eval.Collapsed() || r.Config.Compat != pipeline.CompatSeed &&
		workflow.GetVersion(ctx, "best-not-collapsed", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// warnOfSilence says, after the first epoch of which the metric says nothing, what the best
// epoch is chosen by instead.
func (r *run) warnOfSilence(ctx workflow.Context, metric string, done record.EpochRecord) {
	for _, e := range r.Progress.Epochs {
		if !r.tells(ctx, e.Eval, metric) {
			return
		}
	}
	why := fmt.Sprintf("it is %v for the captions of all validation pictures", done.Eval.Value(metric))
	if done.Eval.Told(metric) {
		why = fmt.Sprintf("the captioner says the same of %.0f%% of the %d validation pictures",
			done.Eval.Commonest, done.Eval.Samples)
	}
	r.warn([]string{fmt.Sprintf("%s says nothing of %s: %s; "+
		"while that is so, the best epoch is the one of the lowest eval_loss (see train.metric_for_best_model)",
		metric, done.Name(), why)})
}

func (r *run) bestCheckpoint() *record.CheckpointRef {
	if r.Progress.Best == nil {
		return nil
	}
	return &r.Progress.Best.Checkpoint
}

// work is what a device activity needs now: the branch, and the micro-batch as
// it was lowered. After a rollback the seed differs, so that the same point is
// passed with another order of examples and other dropout.
func (r *run) work() pipeline.Work {
	train := r.config().Train
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
		Features:  r.Features,
		HeldOut:   r.HeldOut,
		Teacher:   r.Teacher,
	}
}

func (r *run) findProgress(ctx workflow.Context, branch int) (record.Progress, error) {
	return call[record.Progress](ctx, r, findProgress, "find-progress", "newest checkpoint",
		pipeline.FindProgressInput{Run: r.id, Branch: branch})
}

func (r *run) recordProgress(ctx workflow.Context) error {
	progress := r.Progress
	progress.Newest = nil
	summary := fmt.Sprintf("branch %d, %d epochs", progress.Branch, len(progress.Epochs))
	_, err := call[struct{}](ctx, r, recordProgress, fmt.Sprintf("record-%d-%d", progress.Branch,
		len(progress.Epochs)), summary, pipeline.RecordProgressInput{
		Run: r.id, Progress: progress,
	})
	return err
}
