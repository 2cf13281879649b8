package activities

import (
	"context"

	"go.temporal.io/sdk/activity"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// training names what a checkpoint's branch trains: two runs of one id with
// different ones must not share checkpoints.
func training(w pipeline.Work) (string, error) {
	t := w.Train
	// How often to save and to evaluate and when to stop do not touch the weights.
	t.EvalSteps, t.Patience, t.CheckpointSteps, t.CheckpointSeconds, t.KeepCheckpoints, t.AllowNumericsChange =
		0, 0, 0, 0, 0, false
	return artifact.Digest(struct {
		Seed                   uint64
		Model, Dataset, Tokens string
		Train                  pipeline.TrainConfig
		Extension              *record.Extension `json:",omitempty"`
		Features, Teacher      string            `json:",omitempty"`
	}{w.Seed, w.Model.Digest, w.Dataset.Manifest, w.Tokens.Manifest, t, w.Extension, w.Features.Manifest,
		w.Teacher.Manifest})
}

// checkpoints is the log of a run's.
func (a *Activities) checkpoints(run string) artifact.Checkpoints {
	return artifact.Checkpoints{Store: a.Store, Run: layout.Run(run)}
}

// FindProgress answers a run's newest recorded progress and the newest
// checkpoint of its branch.
func (a *Activities) FindProgress(ctx context.Context, in pipeline.FindProgressInput) (record.Progress, error) {
	return run(ctx, func(ctx context.Context, _ *pulse) (record.Progress, error) {
		out, err := artifact.NewestProgress(ctx, a.Store, layout.Run(in.Run), func(key string) {
			activity.GetLogger(ctx).Warn("a record of progress cannot be read, taking an older one", "key", key)
		})
		if err != nil {
			return out, err
		}
		branch := in.Branch
		if branch == 0 {
			branch = max(out.Branch, 1)
		}
		out.Newest, err = a.checkpoints(in.Run).Newest(ctx, branch)
		return out, err
	})
}

// RecordProgress stores what a new execution of the run goes on from.
func (a *Activities) RecordProgress(ctx context.Context, in pipeline.RecordProgressInput) error {
	_, err := run(ctx, func(ctx context.Context, _ *pulse) (struct{}, error) {
		return struct{}{}, artifact.PutProgress(ctx, a.Store, layout.Run(in.Run), in.Progress)
	})
	return err
}
