package activities

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"distilvit/dataset"
	"distilvit/model"
	"distilvit/model/hub"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/report"
	"distilvit/storage"
)

const (
	curvePoints  = 600     // steps of the loss curve, at most
	shownBad     = 50      // left-out examples in the report
	pictureBytes = 1 << 30 // of shards read for the samples' pictures, at most
)

// readable is what the model card and the report tell of a run.
type readable struct {
	a      *Activities
	in     pipeline.PublishInput
	m      modelManifest
	config *model.Config

	steps   []report.StepLoss
	bad     []report.Bad
	samples []report.Sample
}

// gather reads what stands in the object store.
func (r *readable) gather(ctx context.Context) error {
	var d datasetManifest
	if err := r.a.Store.GetJSON(ctx, r.in.Dataset.Manifest, &d); err != nil {
		return err
	}
	if err := r.readSteps(ctx); err != nil {
		return err
	}
	for _, o := range d.BadLists {
		raw, err := r.a.Store.GetBytes(ctx, stored(o))
		if err != nil {
			return err
		}
		var bad []badExample
		if err := json.Unmarshal(raw, &bad); err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
		for _, b := range bad {
			if len(r.bad) < shownBad {
				r.bad = append(r.bad, report.Bad{ID: b.ID, Reason: b.Reason})
			}
		}
	}
	pictures, err := r.readPictures(ctx, d)
	if err != nil {
		return err
	}
	for _, s := range r.in.Test.Samples {
		r.samples = append(r.samples, report.Sample{ImageID: s.ImageID, Caption: s.Caption, References: s.References, Picture: pictures[s.ImageID]})
	}
	return nil
}

// readSteps reads the steps of every epoch, those of the highest branch where
// an epoch was trained in several, and thins them out for the curve.
func (r *readable) readSteps(ctx context.Context) error {
	newest := map[string]string{} // by epoch; keys sort by branch first
	for o, err := range r.a.Store.List(ctx, "runs/"+r.in.Run+"/metrics/") {
		if err != nil {
			return err
		}
		if _, epoch, ok := strings.Cut(path.Base(o.Key), "-"); ok {
			newest[epoch] = max(newest[epoch], o.Key)
		}
	}
	var all []report.StepLoss
	for _, key := range newest {
		raw, err := r.a.Store.GetBytes(ctx, storage.Object{Key: key})
		if unreadable(err) { // a part of a curve is no reason to publish nothing
			r.in.Warnings = append(r.in.Warnings, fmt.Sprintf("the loss curve lacks an epoch: %v", err))
			continue
		}
		if err != nil {
			return err
		}
		records, err := trainer.DecodeRecords(bytes.NewReader(raw))
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		for _, s := range records {
			all = append(all, report.StepLoss{Step: s.Step, Loss: s.Loss})
		}
	}
	slices.SortFunc(all, func(x, y report.StepLoss) int { return int(x.Step - y.Step) })
	every := max(1, (len(all)+curvePoints-1)/curvePoints)
	for part := range slices.Chunk(all, every) {
		sum := 0.0
		for _, s := range part {
			sum += s.Loss
		}
		r.steps = append(r.steps, report.StepLoss{Step: part[len(part)-1].Step, Loss: sum / float64(len(part))})
	}
	return nil
}

// readPictures finds the samples' pictures in the shards they were captioned from.
func (r *readable) readPictures(ctx context.Context, d datasetManifest) (map[string][]byte, error) {
	wanted := map[string]bool{}
	for _, s := range r.in.Test.Samples {
		wanted[s.ImageID] = true
	}
	pictures := map[string][]byte{}
	var read int64
	for _, s := range d.Shards {
		if s.Split != r.in.TestedOn || len(pictures) == len(wanted) || read > pictureBytes {
			continue
		}
		read += s.Object.Size
		err := func() error {
			shard, done, err := r.a.openShard(ctx, s)
			if err != nil {
				return err
			}
			defer done()
			for row, err := range shard.Rows() {
				if err != nil {
					return err
				}
				if wanted[row.ID] {
					if pictures[row.ID], err = dataset.EncodePNG(row.Pixels, d.Pixels.Width, d.Pixels.Height); err != nil {
						return err
					}
				}
			}
			return nil
		}()
		if err != nil {
			return nil, fmt.Errorf("shard %s: %w", s.Object.Key, err)
		}
	}
	return pictures, nil
}

func (r *readable) card() report.Card {
	c, e, d := r.in.Config, r.config.Encoder, r.config.Decoder
	var parameters int64
	for _, shape := range r.config.Shapes() {
		n := int64(1)
		for _, s := range shape {
			n *= int64(s)
		}
		parameters += n
	}
	return report.Card{
		Name: r.in.Name, Version: path.Base(r.m.Model), BaseModels: baseModels(c.Model),
		ImageSize: e.ImageSize, Parameters: parameters, VocabSize: d.VocabSize, MaxLength: c.Evaluate.MaxLength,
		Encoder:  fmt.Sprintf("%s, %d layers, width %d, %d heads, patches of %d × %d", e.Name(), e.NumHiddenLayers, e.HiddenSize, e.NumAttentionHeads, e.PatchSize, e.PatchSize),
		Decoder:  fmt.Sprintf("GPT-2 with cross-attention, %d layers, width %d, %d heads, %d positions", d.NLayer, d.NEmbd, d.NHead, d.NPositions),
		Datasets: r.datasets(), Rows: r.in.Dataset.Rows,
		Epoch: r.in.Best.Epoch, Step: r.in.Best.Checkpoint.Step, TestedOn: r.in.TestedOn,
		Test: readableMetrics(r.in.Test.Metrics), Eval: readableMetrics(r.in.Best.Eval),
		Settings: settings(c), Checks: r.checks(), Samples: withoutPictures(r.samples), Lineage: r.lineage(),
	}
}

func (r *readable) run() report.Run {
	test := readableMetrics(r.in.Test.Metrics)
	out := report.Run{
		Run: r.in.Run, Model: r.m.Model, Rows: r.in.Dataset.Rows, Steps: r.steps, Best: r.in.Best.Epoch,
		Summary:  []report.Pair{{Name: "Backend", Value: r.in.Config.Backend}, {Name: "Prepared data", Value: size(r.in.Dataset.Bytes)}},
		TestedOn: r.in.TestedOn, Test: &test, Samples: r.samples, Checks: r.checks(),
		Bad: r.bad, BadTotal: r.in.Dataset.Bad, Warnings: r.in.Warnings, Config: configYAML(r.in.Config), Lineage: r.lineage(),
	}
	for _, e := range r.in.History {
		out.History = append(out.History, report.Epoch{
			Epoch: e.Epoch, Step: e.Step, TrainLoss: e.TrainLoss, Duration: seconds(e.Seconds), Eval: readableMetrics(e.Eval),
			Loop: report.Loop{All: seconds(e.Times.Loop), Input: seconds(e.Times.Input), Checkpoint: seconds(e.Times.Checkpoint)},
		})
	}
	return out
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (r *readable) datasets() []report.Dataset {
	var out []report.Dataset
	for _, s := range r.in.Sources {
		name := s.Source.Kind
		if from := cmp.Or(s.Source.Captions, s.Source.Files.String()); from != "" {
			name += " " + from
		}
		note := []string{s.Source.Split}
		for _, g := range givenFiles(s.Source) {
			// The hub indexes a model under the names of its datasets.
			if named, err := hub.ParseFiles(g.from); err == nil {
				name, note = named.Repo.ID, append(note, named.Path, "commit "+named.Repo.Revision)
				break
			}
		}
		note = slices.DeleteFunc(note, func(s string) bool { return s == "" })
		out = append(out, report.Dataset{Name: name, Digest: s.Digest, Note: strings.Join(note, ", ")})
	}
	return out
}

func (r *readable) checks() []report.Check {
	var out []report.Check
	for _, c := range r.in.Export.Checks {
		out = append(out, report.Check(c))
	}
	return out
}

func (r *readable) lineage() []report.Pair {
	return []report.Pair{
		{Name: "Run", Value: r.in.Run}, {Name: "Branch", Value: fmt.Sprint(r.in.Branch)},
		{Name: "Checkpoint", Value: r.in.Best.Checkpoint.Manifest}, {Name: "Dataset", Value: r.in.Dataset.Manifest},
		{Name: "Program", Value: r.m.Program},
	}
}

func readableMetrics(m pipeline.Metrics) report.Metrics {
	out := report.Metrics{
		Loss: m.Loss, Rouge1: m.Rouge1, Rouge2: m.Rouge2, RougeL: m.RougeL, RougeLsum: m.RougeLsum, Bleu4: m.Bleu4, Cider: m.Cider,
		GenLen: m.GenLen, ExactMatch: m.ExactMatch, Samples: m.Samples,
	}
	for name, g := range m.Groups {
		if out.Groups == nil {
			out.Groups = map[string]report.Metrics{}
		}
		out.Groups[name] = readableMetrics(g)
	}
	return out
}

// withoutPictures is for the card, which is plain text.
func withoutPictures(all []report.Sample) []report.Sample {
	out := slices.Clone(all)
	for i := range out {
		out[i].Picture = nil
	}
	return out
}

// settings are the choices of training that a reader of the card looks for.
func settings(c pipeline.Config) []report.Pair {
	t, labels := c.Train, fmt.Sprintf("at most %d tokens a caption, padding not counted", c.Train.MaxLength)
	if c.Compat == pipeline.CompatSeed {
		labels = fmt.Sprintf("padded to %d tokens, padding counted (compat: seed)", t.MaxLength)
	}
	return []report.Pair{
		{Name: "Epochs", Value: fmt.Sprint(t.Epochs)},
		{Name: "Batch", Value: fmt.Sprintf("%d pictures, %d captions each", t.BatchSize, t.CaptionsPerPicture)},
		{Name: "Labels", Value: labels},
		{Name: "Optimizer", Value: fmt.Sprintf("AdamW, learning rate %g, weight decay %g, betas %g and %g", t.LearningRate, t.WeightDecay, t.Beta1, t.Beta2)},
		{Name: "Schedule", Value: fmt.Sprintf("linear decay, %g of all steps warm-up", t.WarmupFraction)},
		{Name: "Dropout", Value: fmt.Sprint(t.Dropout)}, {Name: "Seed", Value: fmt.Sprint(c.Seed)},
	}
}

// configYAML shows a config with the keys people write.
func configYAML(c pipeline.Config) string {
	raw, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	var tree yaml.Node // JSON is YAML, with its keys in the order of the fields
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return err.Error()
	}
	plain(&tree)
	out, err := yaml.Marshal(&tree)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// plain turns JSON's flow style into YAML's block style.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}
