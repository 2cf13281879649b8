package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// encode makes a frozen encoder's features of the training pictures, and of those that are evaluated, on the device that the
// run then trains on, unless an earlier run has made the same.
func (r *run) encode(ctx workflow.Context) error {
	if !r.Config.Train.StoresFeatures() {
		return nil
	}
	input := pipeline.FeaturesInput{Seed: r.Config.Seed}
	var err error
	if r.Features, err = r.features(ctx, "", "features", input, r.work); err != nil {
		return err
	}
	if workflow.GetVersion(ctx, "held-out-features", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return nil // evaluations encode their pictures
	}
	input.HeldOut = &pipeline.HeldOut{}
	if r.testSplit() == pipeline.SplitTest { // or the whole validation set is needed at the end
		input.HeldOut.Validation = r.evaluation().Limit
	}
	r.HeldOut, err = r.features(ctx, "held-out-", "features for evaluation", input, func() pipeline.Work {
		w := r.work()
		w.Train = w.Train.OfHeldOut()
		return w
	})
	return err
}

// features makes those that input asks for, for work as it is then, in activities whose ids have a prefix, or finds them.
func (r *run) features(
	ctx workflow.Context, prefix, what string, input pipeline.FeaturesInput, work func() pipeline.Work,
) (made pipeline.Features, err error) {
	var plan pipeline.DerivedPlan
	err = r.encodes(ctx, what+" of the encoder", func(session workflow.Context) (err error) {
		input.Work = work()
		plan, err = call[pipeline.DerivedPlan](session, r, planFeatures, "plan-"+prefix+"features", what+" of the encoder", input)
		return err
	})
	if err != nil {
		return made, err
	}
	shards, err := onEachShard(ctx, r, plan, what, func(
		session workflow.Context, shard pipeline.DerivedShard, id, name string,
	) (record.Shard, error) {
		return call[record.Shard](session, r, encodeShard, "encode-"+id, name, pipeline.EncodeInput{
			Work: work(), Features: plan.Group, Numerics: plan.Numerics, Shard: shard, Seed: r.Config.Seed,
		})
	})
	if err != nil {
		return made, err
	}
	return call[pipeline.Features](ctx, r, finishFeatures, "finish-"+prefix+"features", "manifest of the "+what,
		pipeline.FinishFeaturesInput{Work: work(), Plan: plan, Shards: shards})
}

// teach asks the teacher of the captions of the training pictures, on the device that the run then trains on, unless an
// earlier run has asked the same.
func (r *run) teach(ctx workflow.Context) error {
	if r.Config.Train.Teacher == "" {
		return nil
	}
	var plan pipeline.DerivedPlan
	err := r.encodes(ctx, "what the teacher says", func(session workflow.Context) (err error) {
		plan, err = call[pipeline.DerivedPlan](session, r, planTeacher, "plan-teacher", "what the teacher says",
			pipeline.TeacherInput{Work: r.work(), Seed: r.Config.Seed})
		return err
	})
	if err != nil {
		return err
	}
	shards, err := onEachShard(ctx, r, plan, "the teacher's part", func(
		session workflow.Context, shard pipeline.DerivedShard, id, name string,
	) (record.TaughtShard, error) {
		return call[record.TaughtShard](session, r, teachShard, "teach-"+id, name, pipeline.TeachInput{
			Work: r.work(), Teacher: plan.Group, Numerics: plan.Numerics, Shard: shard, Seed: r.Config.Seed,
		})
	})
	if err != nil {
		return err
	}
	r.Teacher, err = call[pipeline.Teacher](ctx, r, finishTeacher, "finish-teacher", "manifest of what the teacher says",
		pipeline.FinishTeacherInput{Work: r.work(), Seed: r.Config.Seed, Plan: plan, Shards: shards})
	return err
}

// onEachShard makes what a plan lists, one after the other.
func onEachShard[T any](
	ctx workflow.Context, r *run, plan pipeline.DerivedPlan, what string,
	do func(session workflow.Context, shard pipeline.DerivedShard, id, name string) (T, error),
) ([]T, error) {
	r.warn(plan.Warnings)
	r.expect(len(plan.Shards))
	made := make([]T, len(plan.Shards))
	for i, shard := range plan.Shards {
		name := fmt.Sprintf("%s of shard %d of %d, %d pictures", what, i+1, len(plan.Shards), shard.Pictures.Rows)
		err := r.encodes(ctx, name, func(session workflow.Context) (err error) {
			made[i], err = do(session, shard, fmt.Sprint(shard.Pictures.Index), name)
			return err
		})
		if err != nil {
			return nil, err
		}
		r.tick(ctx)
	}
	return made, nil
}

// encodes does a part of encode or teach on the run's device. What is broken is made again by the stage that they are of.
func (r *run) encodes(ctx workflow.Context, name string, do func(session workflow.Context) error) error {
	return r.onDevice(ctx, job{name: name, inStage: true, do: func(session workflow.Context) error {
		r.show(ctx, name)
		return do(session)
	}, shrink: func(workflow.Context) (string, error) {
		return "", errors.New("a few pictures are encoded at once, whatever the batch; a smaller encoder, or teacher, is needed")
	}})
}
