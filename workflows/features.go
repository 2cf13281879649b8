package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// encode makes a frozen encoder's features of the training pictures, on the device that the run then trains on, unless
// an earlier run has made the same.
func (r *run) encode(ctx workflow.Context) error {
	if !r.Config.Train.StoresFeatures() {
		return nil
	}
	var plan pipeline.FeaturesPlan
	err := r.encodes(ctx, "features of the encoder", func(session workflow.Context) (err error) {
		plan, err = call[pipeline.FeaturesPlan](session, r, planFeatures, "plan-features", "features of the encoder",
			pipeline.FeaturesInput{Work: r.work(), Seed: r.Config.Seed})
		return err
	})
	if err != nil {
		return err
	}
	r.warn(plan.Warnings)
	r.expect(len(plan.Shards))
	shards := make([]record.Shard, len(plan.Shards))
	for i, shard := range plan.Shards {
		name := fmt.Sprintf("features of shard %d of %d, %d pictures", i+1, len(plan.Shards), shard.Pictures.Rows)
		err := r.encodes(ctx, name, func(session workflow.Context) (err error) {
			shards[i], err = call[record.Shard](session, r, encodeShard, fmt.Sprintf("encode-%d", shard.Pictures.Index), name,
				pipeline.EncodeInput{
					Work: r.work(), Features: plan.Features, Numerics: plan.Numerics, Shard: shard, Seed: r.Config.Seed,
				})
			return err
		})
		if err != nil {
			return err
		}
		r.tick(ctx)
	}
	r.Features, err = call[pipeline.Features](ctx, r, finishFeatures, "finish-features", "manifest of the features",
		pipeline.FinishFeaturesInput{Work: r.work(), Plan: plan, Shards: shards})
	return err
}

// encodes does a part of encode on the run's device. What is broken is made again by the stage that encode is of.
func (r *run) encodes(ctx workflow.Context, name string, do func(session workflow.Context) error) error {
	return r.onDevice(ctx, job{name: name, inStage: true, do: func(session workflow.Context) error {
		r.show(ctx, name)
		return do(session)
	}, shrink: func(workflow.Context) (string, error) {
		return "", errors.New("a few pictures are encoded at once, whatever the batch; a smaller encoder is needed")
	}})
}
