package activities

import (
	"cmp"
	"context"
	"path/filepath"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/metrics"
	"distilvit/model"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// Evaluate captions a split with a checkpoint's weights in the run's trainer
// and scores the captions.
func (a *Activities) Evaluate(ctx context.Context, in pipeline.EvaluateInput) (pipeline.EvaluateResult, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.EvaluateResult, error) {
		var out pipeline.EvaluateResult
		p.set(func(b *pipeline.Heartbeat) { b.Epoch, b.Step = in.Checkpoint.Epoch, in.Checkpoint.Step })
		if err := a.adoptWork(ctx, in.Work); err != nil {
			return out, err
		}
		var m record.CheckpointManifest
		if in.Checkpoint.Manifest != "" {
			var err error
			if m, err = artifact.ReadCheckpoint(ctx, a.Store, in.Checkpoint.Manifest); err != nil {
				return out, err
			}
		}
		listed, err := a.shards(ctx, in.Work, in.Split)
		if err != nil {
			return out, err
		}
		if err := a.withHeldOut(ctx, in.Work, listed); err != nil {
			return out, err
		}
		shards, release, err := a.fetched(ctx, p, listed, in.Split)
		if err != nil {
			return out, err
		}
		defer release()
		dir, done, err := a.scratch("evaluate")
		if err != nil {
			return out, err
		}
		defer done()
		lease, err := a.open(ctx, p, in.Work)
		if err != nil {
			return out, a.keepLog(ctx, in.Work.Run, err)
		}
		defer lease.Release()
		from, err := a.state(ctx, p, lease, m, dir)
		if err != nil {
			return out, err
		}
		generate, err := a.generateOptions(ctx, in.Work.Model, in.Evaluate.MaxLength)
		if err != nil {
			return out, err
		}
		path := filepath.Join(dir, "predictions.jsonl")
		e, err := lease.Do(ctx, trainer.Command{Do: trainer.DoEvaluate, Evaluate: &trainer.EvaluateArgs{
			From: from, Shards: shards, BatchSize: in.Evaluate.BatchSize, Generate: generate,
			Limit: in.Evaluate.Limit, Out: path,
		}}, p.follow)
		if err != nil {
			return out, a.keepLog(ctx, in.Work.Run, err)
		}
		return a.score(ctx, p, in, path, e.Evaluated)
	})
}

// generateOptions are those of the run's model directory, at another length.
func (a *Activities) generateOptions(
	ctx context.Context, ref record.ModelRef, length int,
) (model.GenerateOptions, error) {
	dir, err := a.modelDir(ctx, ref, false)
	if err != nil {
		return model.GenerateOptions{}, err
	}
	o, err := model.ReadGenerate(dir)
	o.MaxLength = length
	return o, orInvalid(ctx, err)
}

// score stores the predictions and sums them up.
func (a *Activities) score(
	ctx context.Context, p *pulse, in pipeline.EvaluateInput, path string, e *trainer.Evaluated,
) (pipeline.EvaluateResult, error) {
	c := in.Checkpoint
	key := layout.Run(in.Work.Run).Predictions(c.Branch, c.Step, cmp.Or(in.As, in.Split), in.Evaluate.Limit)
	o, err := a.Store.PutFile(ctx, key, path)
	if err != nil {
		return pipeline.EvaluateResult{}, err
	}
	predictions, err := trainer.ReadPredictions(path)
	if err != nil {
		return pipeline.EvaluateResult{}, err
	}
	out := pipeline.EvaluateResult{Predictions: o, Samples: samples(predictions, in.Evaluate.Samples)}
	rule, note := metrics.WordsFor(in.Evaluate.Words, predictions)
	if note != "" {
		out.Warnings = append(out.Warnings, note)
	}
	out.Metrics = artifact.Evaluation(predictions, rule)
	if in.Baselines {
		p.progress("baselines", 0, 0, "what needs no model")
		if out.Metrics.Baselines, err = a.baselines(ctx, in, predictions, rule); err != nil {
			return out, err
		}
	}
	if e != nil {
		out.Metrics.Runtime = e.Seconds
		if e.Tokens > 0 {
			out.Metrics.Loss = e.LossSum / float64(e.Tokens)
		}
		if e.Seconds > 0 {
			out.Metrics.SamplesPerSecond = float64(e.Pictures) / e.Seconds
		}
	}
	return out, nil
}

// samples are n predictions spread evenly over all.
func samples(all []metrics.Prediction, n int) []record.Sample {
	n = min(n, len(all))
	var out []record.Sample
	for i := range n {
		p := all[i*len(all)/n]
		out = append(out, record.Sample{ImageID: p.ImageID, Caption: p.Caption, References: p.References})
	}
	return out
}
