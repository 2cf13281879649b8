package activities

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"distilvit/metrics"
	"distilvit/model"
	"distilvit/model/trainer"
	"distilvit/pipeline"
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
		m, err := a.readCheckpoint(ctx, in.Checkpoint.Manifest)
		if err != nil {
			return out, err
		}
		shards, release, err := a.pairs(ctx, p, in.Work, in.Split)
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
		path := filepath.Join(dir, "predictions.jsonl")
		e, err := lease.Do(ctx, trainer.Command{Do: trainer.DoEvaluate, Evaluate: &trainer.EvaluateArgs{
			From: from, Shards: shards, BatchSize: in.Evaluate.BatchSize, Generate: model.GenerateOptions{MaxLength: in.Evaluate.MaxLength}, Limit: in.Evaluate.Limit, Out: path,
		}}, p.follow)
		if err != nil {
			return out, a.keepLog(ctx, in.Work.Run, err)
		}
		return a.score(ctx, in, path, e.Evaluated)
	})
}

// predictionsKey is where the captions of an evaluation are kept; limit 0 is the
// whole split.
func predictionsKey(in pipeline.EvaluateInput) string {
	key := fmt.Sprintf("runs/%s/predictions/%d-%d-%s", in.Work.Run, in.Checkpoint.Branch, in.Checkpoint.Step, in.Split)
	if in.Evaluate.Limit > 0 {
		key += fmt.Sprintf("-%d", in.Evaluate.Limit)
	}
	return key + ".jsonl"
}

// score stores the predictions and sums them up.
func (a *Activities) score(ctx context.Context, in pipeline.EvaluateInput, path string, e *trainer.Evaluated) (pipeline.EvaluateResult, error) {
	o, err := a.Store.PutFile(ctx, predictionsKey(in), path)
	if err != nil {
		return pipeline.EvaluateResult{}, err
	}
	predictions, err := readPredictions(path)
	if err != nil {
		return pipeline.EvaluateResult{}, err
	}
	out := pipeline.EvaluateResult{Predictions: object(o), Samples: samples(predictions, in.Evaluate.Samples)}
	all, groups := metrics.Score(predictions)
	out.Metrics = scores(all)
	for name, s := range groups {
		if out.Metrics.Groups == nil {
			out.Metrics.Groups = map[string]pipeline.Metrics{}
		}
		out.Metrics.Groups[name] = scores(s)
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

func scores(s metrics.Scores) pipeline.Metrics {
	return pipeline.Metrics{
		Rouge1: s.Rouge1, Rouge2: s.Rouge2, RougeL: s.RougeL, RougeLsum: s.RougeLsum,
		Bleu1: s.Bleu1, Bleu2: s.Bleu2, Bleu3: s.Bleu3, Bleu4: s.Bleu4, Cider: s.Cider,
		GenLen: s.GenLen, ExactMatch: s.ExactMatch, Samples: s.N,
	}
}

// samples are n predictions spread evenly over all.
func samples(all []metrics.Prediction, n int) []pipeline.Sample {
	n = min(n, len(all))
	var out []pipeline.Sample
	for i := range n {
		p := all[i*len(all)/n]
		out = append(out, pipeline.Sample{ImageID: p.ImageID, Caption: p.Caption, References: p.References})
	}
	return out
}

func readPredictions(path string) ([]metrics.Prediction, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []metrics.Prediction
	for d := json.NewDecoder(bufio.NewReader(f)); ; {
		var p metrics.Prediction
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		}
		out = append(out, p)
	}
}
