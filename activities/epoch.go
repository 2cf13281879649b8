package activities

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/model/trainer"
	"distilvit/pipeline"
)

// TrainEpoch trains one epoch, what is left of it, or with Until a part: from the branch's newest
// checkpoint, from the one the branch starts at, or from the initial weights.
// An epoch that is finished already is only looked up. When the worker stops
// or the run is cancelled, the step's end is saved first.
func (a *Activities) TrainEpoch(ctx context.Context, in pipeline.EpochInput) (pipeline.EpochResult, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.EpochResult, error) {
		begun := time.Now()
		p.set(func(b *pipeline.Heartbeat) {
			b.Epoch, b.Steps = in.Epoch+1, stepsInAll(in.Work, in.From)
		})
		if err := a.adoptWork(ctx, in.Work); err != nil {
			return pipeline.EpochResult{}, err
		}
		e := &epochRun{Activities: a, in: in, pulse: p}
		end, err := e.train(ctx)
		if err != nil {
			return pipeline.EpochResult{}, a.keepLog(ctx, in.Work.Run, err)
		}
		return pipeline.EpochResult{
			Checkpoint: end.Ref(), Loss: end.Loss(), Seconds: time.Since(begun).Seconds(), Times: e.times,
			Warnings: e.warnings,
		}, nil
	})
}

// epochRun is one attempt at an epoch.
type epochRun struct {
	*Activities
	in    pipeline.EpochInput
	pulse *pulse
	lease *trainer.Lease
	dir   string // scratch, this attempt's alone

	features dataset.FeaturesFormat // of the shards, in the place of pixels; zero: they have none
	teacher  dataset.TeacherFormat  // of what a teacher says of the shards; zero: nothing
	fetching *fetching              // of the epoch's shards
	curves   *liveCurves
	times    record.Times
	warnings []string
}

// isEnd says that a state is the one that is asked for.
func (e *epochRun) isEnd(s record.State) bool {
	if e.in.Until > 0 {
		return s.Epoch == e.in.Epoch && s.EpochStep == e.in.Until
	}
	return s.Epoch == e.in.Epoch+1 && s.EpochStep == 0
}

// isBefore says that it can be gone on from.
func (e *epochRun) isBefore(s record.State) bool {
	return s.Epoch == e.in.Epoch && (e.in.Until == 0 || s.EpochStep < e.in.Until)
}

// train answers the checkpoint at the end.
func (e *epochRun) train(ctx context.Context) (record.CheckpointManifest, error) {
	starts, end, err := e.starts(ctx)
	if err != nil || end != nil {
		if end != nil {
			return *end, err
		}
		return record.CheckpointManifest{}, err
	}
	shards, err := e.fetchShards(ctx, starts)
	if err != nil {
		return record.CheckpointManifest{}, err
	}
	defer e.fetching.end()
	dir, done, err := e.scratch("epoch")
	if err != nil {
		return record.CheckpointManifest{}, err
	}
	defer done()
	e.dir = dir
	if e.lease, err = e.open(ctx, e.pulse, e.in.Work); err != nil {
		return record.CheckpointManifest{}, err
	}
	defer e.lease.Release()
	from, err := e.from(ctx, starts)
	if err != nil {
		return record.CheckpointManifest{}, err
	}
	out := filepath.Join(dir, "checkpoints")
	if err := os.Mkdir(out, 0o755); err != nil {
		return record.CheckpointManifest{}, err
	}
	return e.steps(ctx, trainer.TrainArgs{
		Epoch: e.in.Epoch, Steps: mostSteps(e.in.Work, e.in.Epoch), Until: e.in.Until,
		Branch: e.in.Work.Branch, From: from, Shards: shards, Features: e.features, Teacher: e.teacher, OutDir: out,
		CheckpointSteps: e.in.Work.Train.CheckpointSteps, CheckpointSeconds: e.in.Work.Train.CheckpointSeconds,
	})
}

// fetchShards begins to bring the shards that the rest of the epoch shows to this
// machine, those of its first batches first, while the trainer starts. It answers
// them without files, which are told as they come. The shards of steps that are done
// come last: only from an older checkpoint, if the newest cannot be read, they are needed.
func (e *epochRun) fetchShards(
	ctx context.Context, starts []record.CheckpointManifest,
) ([]dataset.ShardPair, error) {
	shards, err := e.shards(ctx, e.in.Work, pipeline.SplitTrain)
	if err != nil {
		return nil, err
	}
	if e.features, err = e.withFeatures(ctx, e.in.Work, shards); err != nil {
		return nil, err
	}
	if e.teacher, err = e.withTeacher(ctx, e.in.Work, shards); err != nil {
		return nil, err
	}
	pairs := make([]dataset.ShardPair, len(shards))
	for i, s := range shards {
		pairs[i] = s.pair
	}
	var order []int
	listed := make([]bool, len(pairs))
	starts = append(slices.Clone(starts), record.CheckpointManifest{}) // at worst the epoch's first step
	for _, m := range starts {
		for _, i := range dataset.ShardOrder(pairs, e.in.Work.Seed, e.in.Work.Train.BatchSize, e.in.Epoch, m.EpochStep) {
			if !listed[i] {
				listed[i] = true
				order = append(order, i)
			}
		}
	}
	e.pulse.progress("fetch", 0, int64(len(order)), pipeline.SplitTrain)
	e.fetching = e.fetch(ctx, shards, order)
	return pairs, nil
}

// starts lists the checkpoints to go on from, best first, or the end
// where it is there already. No start at all means the initial weights.
func (e *epochRun) starts(
	ctx context.Context,
) (starts []record.CheckpointManifest, end *record.CheckpointManifest, err error) {
	w := e.in.Work
	want, err := training(w)
	if err != nil {
		return nil, nil, err
	}
	keys, err := e.checkpoints(w.Run).List(ctx, w.Branch)
	if err != nil {
		return nil, nil, err
	}
	for _, key := range keys {
		m, err := artifact.ReadCheckpoint(ctx, e.Store, key)
		if artifact.Unreadable(err) {
			if err := e.passOver(ctx, key, err); err != nil {
				return nil, nil, err
			}
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if m.Training != want {
			return nil, nil,
				invalid("%s is of another training under the same run and branch; use another run id", key)
		}
		ended := e.isEnd(m.State)
		if !ended && !e.isBefore(m.State) {
			continue
		}
		ok, err := artifact.Complete(ctx, e.Store, m.Files)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case ok && ended:
			return nil, &m, nil
		case ok:
			starts = append(starts, m)
		}
	}
	if from := e.in.From; from != nil && from.Epoch == e.in.Epoch {
		m, err := artifact.ReadCheckpoint(ctx, e.Store, from.Manifest)
		switch {
		case artifact.Unreadable(err):
			err = e.passOver(ctx, from.Manifest, err)
		case err == nil:
			starts = append(starts, m)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if len(starts) == 0 && e.in.Epoch > 0 {
		return nil, nil, &typed{pipeline.Corrupt, fmt.Errorf(
			"run %s, branch %d: no complete checkpoint at the end of epoch %d", w.Run, w.Branch, e.in.Epoch,
		)}
	}
	return starts, nil, nil
}

// from readies the first start that can be read.
func (e *epochRun) from(ctx context.Context, starts []record.CheckpointManifest) (trainer.State, error) {
	var reasons []string
	for _, m := range starts {
		if err := e.sameNumerics(m); err != nil {
			if !e.in.Work.Train.AllowNumericsChange {
				err = e.elsewhere(ctx, pipeline.DeviceQueue, err)
			}
			return trainer.State{}, err
		}
		s, err := e.state(ctx, e.pulse, e.lease, m, e.dir)
		if !artifact.Unreadable(err) {
			e.curves = e.liveCurves(ctx, &m)
			return s, err
		}
		// A broken shard ends this attempt; then the next one is to find the checkpoint
		// broken, too, and tell it with the epoch's result.
		if err := e.fetching.wait(); err != nil {
			return trainer.State{}, err
		}
		reasons = append(reasons, err.Error())
		if err := e.passOver(ctx, m.Ref().Manifest, err); err != nil {
			return trainer.State{}, err
		}
	}
	if len(reasons) > 0 && e.in.Epoch > 0 {
		return trainer.State{}, &typed{pipeline.Corrupt, errors.New(strings.Join(reasons, "; "))}
	}
	e.curves = e.liveCurves(ctx, nil)
	return trainer.State{}, nil // the initial weights
}

// passOver leaves a checkpoint that cannot be read for an older one. What is
// broken of it is removed, for it may be made again.
func (e *epochRun) passOver(ctx context.Context, key string, reason error) error {
	line, err := e.dropUnreadable(ctx, key, reason)
	if err != nil {
		return err
	}
	activity.GetLogger(ctx).Warn("checkpoint cannot be read, trying an older one", "key", key, "error", reason)
	e.warnings = append(e.warnings, line+": trained on from an older checkpoint")
	return nil
}

// sameNumerics refuses to go on with other bits than a branch began with.
func (e *epochRun) sameNumerics(m record.CheckpointManifest) error {
	var but []string
	if m.Branch != e.in.Work.Branch {
		if e.in.Work.Train.AllowNumericsChange {
			return nil
		}
		but = []string{trainer.MicroBatchKey}
	}
	if d := differences(m.Fingerprint, e.lease.Fingerprint(), but...); len(d) > 0 {
		like := "like the first"
		if was, is := m.Fingerprint["devices"], e.lease.Fingerprint()["devices"]; was != is {
			like += fmt.Sprintf(", with %s device(s) a run", was)
		}
		return &typed{pipeline.NumericsChanged,
			fmt.Errorf("this worker would give other bits than the checkpoint of step %d began with: %s; "+
				"train on a worker %s, or set train.allow_numerics_change", m.Step, strings.Join(d, "; "), like)}
	}
	return nil
}

// steps runs the trainer and uploads its checkpoints beside.
func (e *epochRun) steps(ctx context.Context, args trainer.TrainArgs) (record.CheckpointManifest, error) {
	tctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		var gone *serviceerror.NotFound
		if errors.As(context.Cause(ctx), &gone) {
			e.lease.Kill() // the run was terminated: there is nobody to save for
		}
	})
	defer stop()
	var telling sync.WaitGroup
	tell := sync.OnceFunc(func() { telling.Go(func() { e.tellShards(ctx, cancel) }) })
	u := startUploads(ctx, e.Activities, e.in, cancel)
	done, err := e.lease.Do(tctx, trainer.Command{Do: trainer.DoTrain, Train: &args}, func(ev trainer.Event) {
		if ev.Event == trainer.EventCheckpoint && ev.Saved != nil {
			u.add(*ev.Saved)
		}
		if s := ev.Step; s != nil {
			e.curves.add(s)
			e.Telemetry.Step(e.in.Work.Run, s.Epoch+1, s.Step, s.MeanLoss, s.Rate, s.Waited)
		}
		if ev.Event == trainer.EventPhase && ev.Phase == trainer.PhaseTrain {
			tell() // the command has been read
		}
		e.pulse.follow(ev)
	})
	e.fetching.end()
	telling.Wait()
	if done.Trained != nil {
		e.times = done.Trained.Times
	}
	e.pulse.set(func(b *pipeline.Heartbeat) { b.Phase, b.Message = "upload", "" })
	last, uploadErr := u.finish()
	switch {
	case err != nil:
		return last, err
	case uploadErr != nil:
		return last, uploadErr
	case !e.isEnd(last.State):
		err := fmt.Errorf("trainer ended epoch %d without its checkpoint", e.in.Epoch+1)
		if u.damaged != nil {
			err = fmt.Errorf("%w: %w", err, u.damaged)
		}
		return last, &typed{pipeline.DeviceLost, err}
	}
	return last, nil
}

// tellShards hands the trainer each shard that is there, or ends training where one
// cannot be had.
func (e *epochRun) tellShards(ctx context.Context, fail context.CancelCauseFunc) {
	for s := range e.fetching.there {
		if e.lease.Shard(s) != nil {
			return // it has ended, which its events tell
		}
	}
	if err := e.fetching.err; err != nil && ctx.Err() == nil {
		fail(err)
	}
}

// CloseTrainer ends a run's warm trainer, frees its device and forgets its local
// checkpoint.
func (a *Activities) CloseTrainer(ctx context.Context, w pipeline.Work) error {
	a.Pool.CloseRun(w.Run)
	a.Telemetry.Left(w.Run)
	return a.dropLocal(w.Run)
}
