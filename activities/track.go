package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"time"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage/layout"
	"distilvit/track"
)

// Track tells TensorBoard's files and MLflow what a run has come to. It looks at what they have and adds what
// is missing, so it may be called any number of times.
func (a *Activities) Track(ctx context.Context, in pipeline.TrackInput) error {
	_, err := run(ctx, func(ctx context.Context, p *pulse) (struct{}, error) {
		p.progress("track", 0, 0, "")
		epochs, err := a.curves(ctx, in)
		if err != nil {
			return struct{}{}, err
		}
		var board, flow error
		if in.Config.Track.TensorBoard {
			board = a.writeEvents(ctx, in, epochs)
		}
		if in.Config.Track.MLflow != "" {
			flow = orFinal(ctx, "track.mlflow", a.logMLflow(ctx, in, epochs))
		}
		return struct{}{}, errors.Join(board, flow)
	})
	return err
}

// orFinal makes an error the address's fault, for which nothing is tried again, unless the server is only away.
func orFinal(ctx context.Context, key string, err error) error {
	if err == nil {
		return nil
	}
	if err = fmt.Errorf("%s: %w", key, err); errors.Is(err, track.ErrUnavailable) {
		return err
	}
	return orInvalid(ctx, err)
}

// curves are the values of each validation, and where it ended an epoch those of the epoch's steps before them. Of
// an epoch under way, which the store has no steps of apart, they come from the newest checkpoint. Nobody noted
// when a step was made: it is told from the seconds that training and validations took, back from the last one's end.
func (a *Activities) curves(ctx context.Context, in pipeline.TrackInput) ([][]track.Scalars, error) {
	keys, err := a.metricsKeys(ctx, in.Run)
	if err != nil {
		return nil, err
	}
	all := in.Progress.Epochs
	begun, trained := make([]time.Time, len(all)), make([]time.Time, len(all))
	for i, end := len(all)-1, in.At; i >= 0; i-- {
		trained[i] = end.Add(-seconds(all[i].Eval.Runtime))
		begun[i] = trained[i].Add(-seconds(all[i].Seconds))
		end = begun[i]
	}
	curves, first := make([][]track.Scalars, len(all)), 0 // first is the epoch's first validation
	for i, e := range all {
		if e.Epoch != all[first].Epoch {
			first = i
		}
		var records []trainer.StepRecord
		switch key, finished := keys[e.Epoch]; {
		case e.EpochStep == 0 && finished:
			records, err = a.stepRecords(ctx, key)
		case e.EpochStep > 0 && i == len(all)-1 && in.Progress.Last != nil:
			records, err = a.checkpointRecords(ctx, in.Progress.Last.Manifest)
		}
		if err != nil {
			return nil, err
		}
		step := trained[i].Sub(begun[first]) / time.Duration(max(1, len(records)))
		for j, r := range records {
			curves[i] = append(curves[i], stepScalars(r, begun[first].Add(time.Duration(j+1)*step)))
		}
		curves[i] = append(curves[i], epochScalars(e, trained[i].Add(seconds(e.Eval.Runtime))))
	}
	return curves, nil
}

// checkpointRecords are the steps of the epoch that a checkpoint stands in.
func (a *Activities) checkpointRecords(ctx context.Context, manifest string) ([]trainer.StepRecord, error) {
	m, err := artifact.ReadCheckpoint(ctx, a.Store, manifest)
	if err != nil {
		return nil, err
	}
	return a.stepRecords(ctx, m.Files[trainer.MetricsFile].Key)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func stepScalars(r trainer.StepRecord, at time.Time) track.Scalars {
	return track.Scalars{Wall: at, Step: r.Step, Values: []track.Scalar{
		{Tag: "train/loss", Value: r.Loss}, {Tag: "train/learning_rate", Value: r.LearningRate},
		{Tag: "train/grad_norm", Value: r.GradNorm},
	}}
}

// epochScalars are what a validation tells, and the training before it.
func epochScalars(e record.EpochRecord, at time.Time) track.Scalars {
	values := []track.Scalar{
		{Tag: "epoch/number", Value: float64(e.Epoch)}, {Tag: "epoch/loss", Value: e.TrainLoss},
		{Tag: "epoch/seconds", Value: e.Seconds},
		{Tag: "eval/loss", Value: e.Eval.Loss}, {Tag: "eval/rougeL", Value: e.Eval.RougeL},
		{Tag: "eval/cider", Value: e.Eval.Cider}, {Tag: "eval/bleu4", Value: e.Eval.Bleu4},
		{Tag: "eval/exact_match", Value: e.Eval.ExactMatch},
	}
	if e.Times.Loop > 0 {
		values = append(values, track.Scalar{Tag: "epoch/waited", Value: e.Times.Waited()})
	}
	return track.Scalars{Wall: at, Step: e.Step, Values: values}
}

// writeEvents writes the epochs' event files into the store, but for those of earlier epochs that are there,
// and what is new of them into the file on this machine.
func (a *Activities) writeEvents(ctx context.Context, in pipeline.TrackInput, epochs [][]track.Scalars) error {
	there := map[string]bool{}
	for o, err := range a.Store.List(ctx, layout.Run(in.Run).Folder(layout.TensorBoard)) {
		if err != nil {
			return err
		}
		there[o.Key] = true
	}
	files := map[string][]track.Scalars{}
	newest := ""
	for i, e := range in.Progress.Epochs {
		newest = layout.Run(in.Run).Events(e.Epoch)
		files[newest] = append(files[newest], epochs[i]...)
	}
	for key, all := range files {
		if there[key] && key != newest {
			continue
		}
		if _, err := a.Store.PutBytes(ctx, key, track.EventFile(all)); err != nil {
			return err
		}
	}
	log, err := a.eventLog(in.Run)
	if log == nil || err != nil || len(epochs) == 0 {
		return err
	}
	return log.Append(ctx, slices.Concat(epochs...))
}

// eventLog is the event file of a run on this machine; nil: it keeps none.
func (a *Activities) eventLog(run string) (*track.EventLog, error) {
	if a.Curves == "" {
		return nil, nil
	}
	return track.OpenEventLog(filepath.Join(a.Curves, run, path.Base(layout.Run(run).Events(1))))
}

func (a *Activities) logMLflow(ctx context.Context, in pipeline.TrackInput, epochs [][]track.Scalars) error {
	target, err := a.withSecrets(in.Config.Track.MLflow)
	if err != nil {
		return err
	}
	server, err := track.NewMLflow(target)
	if err != nil {
		return err
	}
	params, err := flat(publicConfig(in.Config).Frozen())
	if err != nil {
		return err
	}
	r := track.MLflowRun{
		Experiment: in.Config.Name, Run: in.Run, Params: params, State: track.MLflowRunning,
		Tags: map[string]string{"distilvit.dataset": fmt.Sprint(len(in.Config.Dataset), " sources")},
	}
	if in.End != "" {
		r.State, r.Ended = track.MLflowFailed, in.At
		if in.End == pipeline.EventPublished {
			r.State = track.MLflowFinished
		}
	}
	r.Scalars = slices.Concat(epochs...)
	return server.Log(ctx, r)
}

// flat is a config as keys such as train.epochs and their values, without those that are empty.
func flat(c pipeline.Config) (map[string]string, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var tree any
	numbers := json.NewDecoder(bytes.NewReader(raw))
	numbers.UseNumber()
	if err := numbers.Decode(&tree); err != nil {
		return nil, err
	}
	out := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, inner := range v {
				walk(joinKey(path, key), inner)
			}
		case []any:
			for i, inner := range v {
				walk(joinKey(path, fmt.Sprint(i)), inner)
			}
		case nil:
		default:
			if text := fmt.Sprint(v); text != "" {
				out[path] = text
			}
		}
	}
	walk("", tree)
	return out, nil
}

func joinKey(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Notify tells notify.webhook of an event.
func (a *Activities) Notify(ctx context.Context, in pipeline.NotifyInput) error {
	_, err := run(ctx, func(ctx context.Context, _ *pulse) (struct{}, error) {
		target, err := a.withSecrets(in.Notify.Webhook)
		if err != nil {
			return struct{}{}, err
		}
		secret, err := a.withSecrets(in.Notify.Secret)
		if err != nil {
			return struct{}{}, err
		}
		hook, err := track.NewWebhook(target, secret)
		if err != nil {
			return struct{}{}, invalid("notify.webhook: %v", err)
		}
		body, err := json.Marshal(in.Event)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, orFinal(ctx, "notify.webhook", hook.Send(ctx, in.ID, in.Event.Timestamp, body))
	})
	return err
}
