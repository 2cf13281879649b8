package workflows

import (
	"errors"
	"fmt"
	"math"

	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// serveRequests answers the status query and takes what people ask of an open
// run: stop, pause, resume, extend, approve and reject.
func (r *run) serveRequests(ctx workflow.Context) error {
	err := workflow.SetQueryHandler(
		ctx, pipeline.StatusQuery, func() (pipeline.Status, error) { return r.Status(), nil },
	)
	return errors.Join(err,
		serve(ctx, r, pipeline.StopRequest, "end training, then evaluate, export and publish the best",
			r.refuseStop, r.stop),
		serve(ctx, r, pipeline.PauseRequest, "leave a checkpoint, give the device back and wait",
			r.refusePause, r.pause),
		serve(ctx, r, pipeline.ResumeRequest, "go on after a pause", r.refuseResume, r.resumePaused),
		serve(ctx, r, pipeline.ExtendRequest, "train more epochs", r.refuseExtend, r.extend),
		r.serveDecisions(ctx),
	)
}

// answering is whoever takes requests, and answers them with a status S.
type answering[S any] interface {
	Status() S
	refresh(ctx workflow.Context)
}

// serve takes one request with an argument A as an update, which answers the
// status or the reason of a refusal, and as a signal, of which a refused one is
// only logged.
func serve[A, S any](
	ctx workflow.Context, r answering[S], name, description string, refuse func(A) error,
	do func(workflow.Context, A),
) error {
	signals := workflow.GetSignalChannelWithOptions(
		ctx, name, workflow.SignalChannelOptions{Description: description},
	)
	workflow.GoNamed(ctx, name, func(ctx workflow.Context) {
		for {
			var a A
			if !signals.Receive(ctx, &a) {
				return
			}
			if err := refuse(a); err != nil {
				workflow.GetLogger(ctx).Warn("signal refused", "signal", name, "reason", err)
				continue
			}
			do(ctx, a)
			r.refresh(ctx)
		}
	})
	return workflow.SetUpdateHandlerWithOptions(ctx, name,
		func(ctx workflow.Context, a A) (S, error) {
			do(ctx, a)
			r.refresh(ctx)
			return r.Status(), nil
		}, workflow.UpdateHandlerOptions{Description: description, Validator: refuse})
}

// over is an error once training has ended, when its requests come too late.
func (r *run) over() error {
	if r.ended {
		return r.failed()
	}
	switch r.status.Stage {
	case pipeline.StageEvaluate, pipeline.StageExport, pipeline.StageApprove, pipeline.StagePublish,
		pipeline.StagePush, pipeline.StageDone:
		return fmt.Errorf("training of run %s is over; its stage is %s", r.id, r.status.Stage)
	}
	return nil
}

func (r *run) refuseStop(s pipeline.Stop) error {
	if err := r.over(); err != nil {
		return err
	}
	if s.Now && len(r.Progress.Epochs) == 0 {
		return fmt.Errorf("run %s has not finished its first epoch: there is nothing to publish yet", r.id)
	}
	return nil
}

// stop ends a pause too, and whatever was to be trained later.
func (r *run) stop(_ workflow.Context, s pipeline.Stop) {
	r.Stopping, r.Paused, r.PauseAfter, r.Progress.Extends = true, false, 0, nil
	if s.Now {
		r.breakOff = true
		r.interruptJob()
	}
}

func (r *run) refusePause(p pipeline.Pause) error {
	switch {
	case p.AfterEpoch < 0:
		return fmt.Errorf("after_epoch is %d; must be at least 1, or 0 for now", p.AfterEpoch)
	case p.AfterEpoch > 0:
		return r.over()
	case r.Paused:
		return fmt.Errorf("run %s is paused already", r.id)
	case r.status.Stage == pipeline.StageDone:
		return fmt.Errorf("run %s is done", r.id)
	case r.ended:
		return r.failed()
	}
	return nil
}

// failed refuses what is asked while a run that has failed tells others so, for up to two minutes.
func (r *run) failed() error {
	return fmt.Errorf("run %s has failed, at stage %s, and is about to end; started again it goes on", r.id,
		r.status.Stage)
}

// pause takes the device away. An activity that needs none goes on to its end, but no
// other begins.
func (r *run) pause(_ workflow.Context, p pipeline.Pause) {
	if r.PauseAfter = p.AfterEpoch; r.PauseAfter > 0 {
		return
	}
	r.Paused = true
	r.interruptJob()
}

// pauseIfDue pauses a run that has come to the end of the epoch after which it was to pause, and has more to train.
// A sweep is told, which compares its trials then.
func (r *run) pauseIfDue(ctx workflow.Context) {
	if r.PauseAfter == 0 || r.finished() < r.PauseAfter {
		return
	}
	r.PauseAfter, r.Paused = 0, true
	r.show(ctx, fmt.Sprintf("paused after epoch %d", r.finished()))
	r.tellSweep(ctx, pipeline.TrialTold{Epoch: r.finished(), Best: r.Progress.Best.Epoch, Eval: brief(&r.Progress.Best.Eval)})
}

func (r *run) refuseResume(any) error {
	if !r.Paused {
		return fmt.Errorf("run %s is not paused", r.id)
	}
	return nil
}

func (r *run) resumePaused(workflow.Context, any) { r.Paused = false }

// waitWhilePaused gives the device back until somebody resumes the run.
func (r *run) waitWhilePaused(ctx workflow.Context) error {
	if !r.Paused {
		return nil
	}
	r.releaseDevice(ctx)
	return workflow.Await(ctx, func() bool { return !r.Paused })
}

func (r *run) refuseExtend(e record.Extend) error {
	if e.Epochs < 1 {
		return fmt.Errorf("epochs is %d; must be at least 1", e.Epochs)
	}
	if e.LearningRate < 0 || math.IsNaN(e.LearningRate) || math.IsInf(e.LearningRate, 0) {
		return fmt.Errorf("learning_rate is %g; must not be negative", e.LearningRate)
	}
	if err := r.over(); err != nil {
		return fmt.Errorf("%w; extend it once it has ended", err)
	}
	return nil
}

func (r *run) extend(_ workflow.Context, e record.Extend) {
	r.Progress.Extends = append(r.Progress.Extends, e)
}

// nextExtension begins what was asked for, now that training has come to its
// end, in a branch of its own. An extension that follows another without a
// learning rate of its own keeps the other's.
func (r *run) nextExtension(ctx workflow.Context) (bool, error) {
	if len(r.Progress.Extends) == 0 {
		return false, nil
	}
	asked := r.Progress.Extends[0]
	r.Progress.Extends = r.Progress.Extends[1:]
	next := record.Extension{
		After: r.Progress.Epochs[len(r.Progress.Epochs)-1].Epoch, Epochs: asked.Epochs, Step: r.Progress.Last.Step,
		LearningRate: asked.LearningRate,
	}
	if before := r.Progress.Extension; before != nil && asked.LearningRate == 0 {
		next.Step, next.LearningRate = before.Step, before.LearningRate
	}
	r.Progress.Extension, r.Stopping, r.breakOff = &next, false, false
	return true, r.branchFrom(ctx, r.Progress.Last)
}

// lastEpoch is the number of the epoch that ends training unless patience or a stop does.
func (r *run) lastEpoch() int {
	if e := r.Progress.Extension; e != nil {
		return e.After + e.Epochs
	}
	if steps := int64(r.Config.Train.MaxSteps); steps > 0 {
		if epoch := pipeline.StepsPerEpoch(r.Dataset, r.Config.Train.BatchSize); epoch > 0 {
			return int((steps + epoch - 1) / epoch)
		}
	}
	return r.Config.Train.Epochs
}
