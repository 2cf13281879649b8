package workflows

import (
	"errors"
	"fmt"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// device is a run's session on a worker: the right to one device, on which all
// of a run's epochs and evaluations find the same warm trainer.
type device struct {
	session   workflow.Context // ended by releaseDevice or with its worker
	failures  int              // in this session
	memory    int              // OutOfMemory in a row
	abandoned bool             // its worker is gone or going: nothing to close there
}

// job is something to do on a device.
type job struct {
	name        string
	do          func(session workflow.Context) error
	shrink      func(ctx workflow.Context) (string, error) // makes it need less memory; says how
	mayBreakOff bool                                       // a stop at once ends it with errBrokenOff
	needs       *record.CheckpointRef                      // what it goes on from; nil: the initial weights
	again       bool                                       // it makes a lost checkpoint again
	inStage     bool                                       // the stage that it is of makes again what is broken
}

// errBrokenOff is the end of a job that a stop did not wait for.
var errBrokenOff = errors.New("broken off")

// onDevice does a job in the run's session, which it opens where there is none, again
// and again until the job succeeds or recover gives up.
func (r *run) onDevice(ctx workflow.Context, j job) error {
	defer func() { r.cancelJob = nil }()
	for {
		if err := r.waitWhilePaused(ctx); err != nil {
			return err
		}
		if r.breakOff && j.mayBreakOff {
			return errBrokenOff
		}
		err := r.tryOnDevice(ctx, j)
		if err == nil {
			r.device.failures, r.device.memory, r.wrong = 0, 0, 0
			return nil
		}
		if ctx.Err() != nil { // the run itself is cancelled
			return ctx.Err()
		}
		if r.interrupted {
			continue
		}
		if err := r.recover(ctx, j, err); err != nil {
			return err
		}
	}
}

// tryOnDevice is one attempt at a job. Its activity has a context of its own, which
// ends with the run or by interruptJob.
func (r *run) tryOnDevice(ctx workflow.Context, j job) error {
	r.interrupted = false
	if err := r.holdDevice(ctx, j.name); err != nil {
		return err
	}
	work, cancel := workflow.WithCancel(r.device.session)
	r.cancelJob = cancel
	if ctx.Err() != nil || r.interrupted { // it came just when the session opened
		cancel()
	}
	return j.do(work)
}

// interruptJob cancels what goes on with a device, if anything does. A trainer
// leaves a checkpoint before its activity ends.
func (r *run) interruptJob() {
	if r.cancelJob != nil {
		r.interrupted = true
		r.cancelJob()
	}
}

// holdDevice opens a session unless there is one. The session outlives the
// run's cancellation, so that a cancelled trainer keeps its device until it has
// left a checkpoint; only waiting for a device ends at once.
func (r *run) holdDevice(ctx workflow.Context, name string) error {
	if r.device.session != nil {
		return nil
	}
	r.show(ctx, "waiting for a device: "+name)
	waiting, cancel := workflow.NewDisconnectedContext(ctx)
	r.cancelJob = cancel
	workflow.GoNamed(ctx, "cancel-on-device", func(ctx workflow.Context) {
		ctx.Done().Receive(ctx, nil)
		if r.cancelJob != nil {
			r.cancelJob()
		}
	})
	queue := workflow.WithTaskQueue(waiting, pipeline.DeviceQueue)
	session, err := workflow.CreateSession(queue, sessionOptions)
	if err != nil {
		return fmt.Errorf("open a session on a device: %w", err)
	}
	r.device = device{session: session}
	return nil
}

// releaseDevice ends the trainer and gives the device to the next run. Without
// a session it does nothing.
func (r *run) releaseDevice(ctx workflow.Context) {
	d := r.device
	if d.session == nil {
		return
	}
	r.device = device{}
	if !d.abandoned {
		_, err := call[struct{}](d.session, r, closeTrainer, "close-trainer", "end the trainer", r.work())
		if err != nil {
			workflow.GetLogger(ctx).Warn("the trainer was not ended in good order", "error", err)
		}
	}
	workflow.CompleteSession(d.session)
}

// recover decides what a failure on a device leads to (docs/architecture.md has the
// table). It changes what has to change and returns nil when the job is to be tried
// again, otherwise the error that the run ends with.
func (r *run) recover(ctx workflow.Context, j job, err error) error {
	if errorType(err) == pipeline.Interrupted { // nobody's failure
		r.device.abandoned = true
		r.releaseDevice(ctx)
		return nil
	}
	if errorType(err) == pipeline.OutOfService { // its worker may have left with the session already
		return r.leaveDevice(ctx, j, err)
	}
	if r.sessionLost(err) {
		return r.recoverSession(ctx, j)
	}
	switch errorType(err) {
	case pipeline.WrongWorker:
		return r.leaveWrongWorker(ctx, j, err)
	case pipeline.Diverged:
		return r.rollBack(ctx, err)
	case pipeline.Corrupt:
		if j.again && len(brokenKeys(err)) == 0 {
			return err // an older checkpoint is tried
		}
		if j.inStage {
			return err
		}
		return r.mend(ctx, j, err)
	case pipeline.StorageUnavailable, pipeline.StorageFull:
		return err
	}
	if isFatal(err) || errorType(err) == pipeline.NumericsChanged && !r.Config.Train.AllowNumericsChange {
		return err
	}
	if failed := r.count(ctx, j, err); failed != nil {
		return failed
	}
	switch errorType(err) {
	case pipeline.NumericsChanged:
		r.survived(pipeline.NumericsChanged, "a new branch from the newest checkpoint")
		return r.branchFromNewest(ctx)
	case pipeline.OutOfMemory:
		return r.recoverMemory(ctx, j)
	}
	return r.recoverFault(ctx, errorType(err))
}

// sessionLost says that the session's worker is gone: then its activities are cancelled
// although the run is not, or nobody takes them.
func (r *run) sessionLost(err error) bool {
	var timeout *temporal.TimeoutError
	return errors.Is(err, workflow.ErrSessionFailed) || temporal.IsCanceledError(err) ||
		errors.As(err, &timeout) && timeout.TimeoutType() == enums.TIMEOUT_TYPE_SCHEDULE_TO_START ||
		r.device.session == nil ||
		workflow.GetSessionInfo(r.device.session).SessionState == workflow.SessionStateFailed
}

// recoverSession goes on in a new session, on any worker.
func (r *run) recoverSession(ctx workflow.Context, j job) error {
	why := "no worker could open a session"
	if r.device.session != nil {
		why = "the worker on " + workflow.GetSessionInfo(r.device.session).HostName + " is gone"
	}
	r.device.abandoned = true
	r.releaseDevice(ctx)
	if err := r.count(ctx, j, temporal.NewApplicationError(why, pipeline.DeviceLost)); err != nil {
		return err
	}
	r.survived(pipeline.DeviceLost, "a new session, on any worker")
	return workflow.Sleep(ctx, pauseAfter(len(r.failures)))
}

// recoverFault tries again in a fresh process, and when that fails too, in a
// new session.
func (r *run) recoverFault(ctx workflow.Context, kind string) error {
	r.device.failures++
	if r.device.failures >= failuresPerSession {
		r.releaseDevice(ctx)
		r.survived(kind, "a new session, on any worker")
	} else {
		r.survived(kind, "a fresh process from the newest checkpoint")
	}
	return workflow.Sleep(ctx, pauseAfter(len(r.failures)))
}

// leaveDevice goes on in a new session on another device, or waits for one: the
// worker gives this one to nobody any more.
func (r *run) leaveDevice(ctx workflow.Context, j job, err error) error {
	r.warn([]string{
		fmt.Sprintf("%s, on %s: %s", j.name, workflow.GetSessionInfo(r.device.session).HostName, reason(err)),
	})
	r.device.abandoned = true
	r.releaseDevice(ctx)
	if failed := r.count(ctx, j, err); failed != nil {
		return failed
	}
	r.survived(pipeline.OutOfService, "another device")
	return workflow.Sleep(ctx, pauseAfter(len(r.failures)))
}

// leaveWrongWorker goes on in a new session on a worker that has what the run needs, or waits for
// one. It is nobody's failure.
func (r *run) leaveWrongWorker(ctx workflow.Context, j job, err error) error {
	r.releaseDevice(ctx)
	r.wrong++
	return r.awaitAnotherWorker(ctx, j.name, err, r.wrong)
}

// awaitAnotherWorker shows what this worker lacks and waits before the next is asked: longer with each in a row,
// for one that has it may have to be brought first.
func (r *run) awaitAnotherWorker(ctx workflow.Context, what string, lacks error, inRow int) error {
	r.show(ctx, what+" waits for another worker: "+reason(lacks))
	return workflow.Sleep(ctx, min(pauseAfter(min(inRow, 10)), longestWait))
}

// recoverMemory tries the same again in a fresh process first, and then with
// less memory.
func (r *run) recoverMemory(ctx workflow.Context, j job) error {
	r.device.memory++
	if r.device.memory < 2 {
		r.survived(pipeline.OutOfMemory, "the same again in a fresh process")
		return workflow.Sleep(ctx, pauseAfter(1))
	}
	how, err := j.shrink(ctx)
	if err != nil {
		return temporal.NewNonRetryableApplicationError(fmt.Sprintf("%s: out of memory: %v", j.name, err),
			pipeline.OutOfMemory, nil)
	}
	r.device.memory, r.failures = 1, nil
	r.survived(pipeline.OutOfMemory, "less at once: "+how)
	r.warn([]string{j.name + ": out of memory, going on with " + how})
	return nil
}

// halveMicroBatch lowers the micro-batch to the next divisor of the batch that
// is at most half of it. Accumulation keeps the batch; the numerics differ, so
// the run goes on in a new branch.
func (r *run) halveMicroBatch(ctx workflow.Context) (string, error) {
	train := r.work().Train
	smaller := train.MicroBatchSize / 2
	for smaller > 0 && train.BatchSize%smaller != 0 {
		smaller--
	}
	if smaller == 0 {
		return "", errors.New(
			"even with train.micro_batch_size 1; a smaller model or train.captions_per_picture is needed",
		)
	}
	r.Progress.MicroBatchSize = smaller
	return fmt.Sprintf("train.micro_batch_size %d", smaller), r.branchFromNewest(ctx)
}

// halveEvaluation lowers the number of pictures captioned at once.
func (r *run) halveEvaluation(workflow.Context) (string, error) {
	if r.evaluation().BatchSize <= 1 {
		return "", errors.New("even with evaluate.batch_size 1; a smaller model is needed")
	}
	r.EvaluateBatch = r.evaluation().BatchSize / 2
	return fmt.Sprintf("evaluate.batch_size %d", r.EvaluateBatch), nil
}

// rollBack goes back to the end of the last finished epoch, once, in a new branch and
// with another seed: with the same seed, the same bytes would diverge again.
func (r *run) rollBack(ctx workflow.Context, diverged error) error {
	if r.RolledBack {
		return diverged
	}
	r.RolledBack = true
	r.Progress.Reseeds++
	back := fmt.Sprintf("the end of epoch %d", r.finished())
	if last := r.last(); last.EpochStep > 0 {
		back = last.Name()
	}
	r.warn([]string{fmt.Sprintf("%s: back to %s with another order of examples", reason(diverged), back)})
	r.survived(pipeline.Diverged, "back to "+back+", with another order of examples")
	return r.branchFrom(ctx, r.Progress.Last)
}

// branchFromNewest begins the next branch at the newest checkpoint of this one.
func (r *run) branchFromNewest(ctx workflow.Context) error {
	found, err := r.findProgress(ctx, r.Progress.Branch)
	if err != nil {
		return err
	}
	if found.Newest == nil { // the branch has none yet: where it began
		return r.branchFrom(ctx, r.Progress.From)
	}
	return r.branchFrom(ctx, found.Newest)
}

// branchFrom begins the next branch at a checkpoint. What an attempt that was given up
// may still write lands in the old branch, where nothing looks any more.
func (r *run) branchFrom(ctx workflow.Context, checkpoint *record.CheckpointRef) error {
	r.Progress.Branch++
	r.Progress.From = checkpoint
	return r.recordProgress(ctx)
}

// survived notes a failure that the run goes on from, for its report.
func (r *run) survived(kind, done string) {
	for i, f := range r.Faults {
		if f.Type == kind && f.Done == done {
			r.Faults[i].Times++
			return
		}
	}
	r.Faults = append(r.Faults, record.Fault{Type: kind, Done: done, Times: 1})
}

// count keeps the reason of a failure and returns an error when it was the fifth
// without a new checkpoint between them: then the run ends.
func (r *run) count(ctx workflow.Context, j job, failure error) error {
	why := reason(failure)
	found, err := r.findProgress(ctx, r.Progress.Branch)
	if err != nil {
		return err
	}
	r.reached(found.Newest)
	r.failures = append(r.failures, j.name+": "+why)
	workflow.GetLogger(ctx).Warn("failure on a device", "job", j.name, "reason", why, "failures",
		len(r.failures))
	r.show(ctx, fmt.Sprintf("%s failed (%d of %d allowed): %s", j.name, len(r.failures), maxFailures, why))
	if len(r.failures) < maxFailures {
		return nil
	}
	all := fmt.Sprintf("gave up after %d failures without a new checkpoint", maxFailures)
	for i, one := range r.failures {
		all += fmt.Sprintf("; %d. %s", i+1, one)
	}
	return temporal.NewNonRetryableApplicationError(all, errorType(failure), nil)
}

// reached notes the branch's newest checkpoint. If it is new, earlier failures no
// longer count.
func (r *run) reached(newest *record.CheckpointRef) {
	if newest == nil {
		return
	}
	if known := r.Progress.Newest; known == nil || newest.Branch != known.Branch || newest.Step > known.Step {
		r.failures = nil
	}
	r.Progress.Newest = newest
}
