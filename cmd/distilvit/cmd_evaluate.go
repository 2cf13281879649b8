package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/hub"
	"distilvit/internal/backend"
	"distilvit/metrics"
	"distilvit/model"
	"distilvit/model/tokenizer"
	"distilvit/model/train"
	"distilvit/model/trainer"
	"distilvit/pipeline"
)

// evaluateOptions are the flags of evaluate.
type evaluateOptions struct {
	model       string
	dataset     datasetFlags
	backend     string
	batch       int
	generate    generateFlags
	predictions string
	meteorData  string
	words       string
}

func (a *app) evaluateCommand() *cobra.Command {
	var o evaluateOptions
	cmd := &cobra.Command{
		Use:   "evaluate -m MODEL -d DATASET",
		Short: "loss and metrics of a model on a dataset",
		Long: `Caption a dataset and print loss and metrics, computed as at the end of a run.
DATASET is a YAML file with a dataset: list (a run's config is one), coco:, karpathy: or
folder:CAPTIONS,IMAGES, parquet:FILES, or shapes for generated pictures. Paths are local
or of a dataset repository of the Hugging Face hub, hf:datasets/ORG/NAME/PATH.

Pictures have the ids and splits that a run of DATASET gives them (its prepare: and seed:
count), so the test pictures of a run's config are those that the run did not train on.
Sources that are named on the command line and have no splits are evaluated whole, unless
--split is given. --limit takes of every source as much as its share is.

The loss is the mean over all label tokens, the end token included. With --compat seed
labels and captions are as mozilla/distilvit's train.py makes them and its eval_loss
counts them, padding too: see docs/compat.md.`,
		Example: `  distilvit evaluate -m demo -d shapes
  distilvit evaluate -m demo -d coco:captions.json,images/
  distilvit evaluate -m hf:ORG/MODEL -d 'parquet:hf:datasets/ORG/NAME/data/test-*.parquet' --compat seed
  distilvit evaluate -m ./model -d examples/emoji/config.yaml --split validation -o json`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.dataset.check(); err != nil {
				return err
			}
			if o.batch < 1 {
				return usagef("--batch-size must be at least 1")
			}
			if err := o.generate.check(); err != nil {
				return err
			}
			if err := checkWords(&o.words, o.dataset.compat); err != nil {
				return err
			}
			return a.withModelDir(cmd.Context(), o.model, hub.ModelFiles,
				func(ctx context.Context, dir string) error {
					return a.evaluate(ctx, dir, o)
				})
		},
	}
	modelFlag(cmd, &o.model)
	backendFlag(cmd, &o.backend)
	o.dataset.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(
		&o.dataset.compat, "compat", "", "seed: labels and loss as mozilla/distilvit's train.py has them",
	)
	flags.IntVar(&o.batch, "batch-size", 32, "pictures captioned at once")
	o.generate.add(cmd)
	flags.StringVar(&o.predictions, "predictions", "",
		"write each picture's caption and references to this file, as JSON lines")
	flags.StringVar(&o.meteorData, "meteor-data", "",
		"compute METEOR, too, with the data in this place (see distilvit metrics)")
	wordsFlag(cmd, &o.words)
	return cmd
}

func wordsFlag(cmd *cobra.Command, words *string) {
	cmd.Flags().StringVar(words, "words", pipeline.WordsAuto, "what captions are split into: rouge_score, "+
		"unicode (any language), or auto by the references' letters")
}

// checkWords is of a command's flag; compat: seed has a default of its own.
func checkWords(words *string, compat string) error {
	switch *words {
	case pipeline.WordsAuto:
		if compat == pipeline.CompatSeed {
			*words = pipeline.WordsRougeScore
		}
	case pipeline.WordsRougeScore, pipeline.WordsUnicode:
	default:
		return usagef("--words is %q; must be %s, %s or %s", *words, pipeline.WordsAuto,
			pipeline.WordsRougeScore, pipeline.WordsUnicode)
	}
	return nil
}

// wordsFor says once why the words are not the usual ones.
func (a *app) wordsFor(setting string, predictions []metrics.Prediction) metrics.WordRule {
	rule, note := metrics.WordsFor(setting, predictions)
	if note != "" {
		fmt.Fprintln(a.stderr, "warning: "+note)
	}
	return rule
}

func (a *app) evaluate(ctx context.Context, dir string, o evaluateOptions) error {
	begun := time.Now()
	w, err := newWorkbench(dir, o.backend, a.trainerArgs())
	if err != nil {
		return err
	}
	defer w.close()
	p := newProgress(a.stderr)
	defer p.clear()
	shards, err := a.shards(ctx, w, o.dataset, p)
	if err != nil {
		return err
	}
	generate, err := o.generate.options(dir)
	if err != nil {
		return err
	}
	predictions := filepath.Join(w.temp, "predictions.jsonl")
	if o.predictions != "" {
		predictions = o.predictions
	}
	summed, err := w.evaluate(ctx, shards, o, generate, predictions, showEvents(p, "evaluate"))
	if err != nil {
		return err
	}
	scored, err := trainer.ReadPredictions(predictions)
	if err != nil {
		return err
	}
	p.clear()
	rule := a.wordsFor(o.words, scored)
	m := evaluated{Metrics: artifact.Evaluation(scored, rule)}
	if o.meteorData != "" {
		if m.Meteor, err = meteor(o.meteorData, metrics.Tokenize(scored, rule)); err != nil {
			return err
		}
	}
	m.Loss = summed.LossSum / float64(max(summed.Tokens, 1))
	m.Runtime = time.Since(begun).Seconds()
	m.SamplesPerSecond = float64(summed.Pictures) / summed.Seconds
	if a.output == "json" {
		return printJSON(a.stdout, m)
	}
	t := newScoresTable()
	addScores(t, o.dataset.splitName(), m.Metrics)
	t.write(a.stdout, "")
	fmt.Fprintf(a.stdout, "distinct captions %.1f %%, the most frequent one for %.1f %% of the pictures\n",
		m.Distinct, m.Commonest)
	if m.Meteor != nil {
		fmt.Fprintf(a.stdout, "meteor %.2f\n", *m.Meteor)
	}
	return nil
}

// evaluated is what evaluate prints with -o json.
type evaluated struct {
	record.Metrics
	Meteor *float64 `json:"eval_meteor,omitempty"` // × 100; only where its data is given
}

// shards prepares a DATASET for the workbench's model, and says what was bad.
func (a *app) shards(
	ctx context.Context, w *workbench, f datasetFlags, p *progress,
) ([]dataset.ShardPair, error) {
	labels, err := w.labels(f.compat)
	if err != nil {
		return nil, err
	}
	examples, err := a.openDataset(ctx, f, w.processor.Width, p)
	if err != nil {
		return nil, err
	}
	defer examples.close()
	total := int64(len(examples.numbers))
	pairs, tally, err := examples.writeShards(ctx, w.temp, w.processor, labels, func(done int) {
		p.show("prepare", int64(done), total)
	})
	if err != nil {
		return nil, err
	}
	examples.tell(p, tally)
	return pairs, nil
}

// workbench is a MODEL with what evaluating or exporting it needs: a trainer
// child, as a run has, and a directory for its files.
type workbench struct {
	dir       string
	temp      string
	config    *model.Config
	processor pixels.Processor
	tokenizer *tokenizer.Tokenizer
	choice    backend.Choice
	pool      *trainer.Pool
}

func newWorkbench(dir, kind string, trainerArgs []string) (*workbench, error) {
	w := &workbench{dir: dir}
	var err error
	if w.config, w.processor, err = train.ReadNetwork(dir); err != nil {
		return nil, err
	}
	if w.tokenizer, err = tokenizer.Load(dir); err != nil {
		return nil, err
	}
	if _, err := model.WeightFiles(dir); err != nil {
		return nil, err
	}
	if w.choice, err = chooseBackend(kind); err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if w.temp, err = os.MkdirTemp("", "distilvit-"); err != nil {
		return nil, err
	}
	w.pool = trainer.NewPool(trainer.Options{Exe: exe, Args: trainerArgs, LogDir: w.temp})
	return w, nil
}

func (w *workbench) close() {
	w.pool.Close()
	os.RemoveAll(w.temp)
}

// labels answers what makes a caption's label ids: cut to what the decoder has
// positions for, or as compat says.
func (w *workbench) labels(compat string) (func(caption string) []int32, error) {
	l := dataset.Labels{End: w.tokenizer.EOS(), MaxLength: w.config.Positions()}
	if compat == pipeline.CompatSeed {
		if l.MaxLength < pipeline.SeedMaxLength {
			return nil, usagef(
				"--compat seed pads captions to %d tokens; the model's decoder has %d positions",
				pipeline.SeedMaxLength, l.MaxLength,
			)
		}
		l.MaxLength, l.Pad = pipeline.SeedMaxLength, true
	}
	return func(caption string) []int32 {
		ids, _ := l.Of(w.tokenizer.Encode(caption))
		return ids
	}, nil
}

func (w *workbench) evaluate(
	ctx context.Context, shards []dataset.ShardPair, o evaluateOptions, generate model.GenerateOptions,
	out string, on func(trainer.Event),
) (*trainer.Evaluated, error) {
	child, err := w.pool.Open(ctx, "evaluate", trainer.OpenArgs{
		ModelDir: w.dir, Backend: w.choice, Train: w.noTraining(o.batch),
	}, on)
	if err != nil {
		return nil, err
	}
	defer child.Release()
	done, err := child.Do(ctx, trainer.Command{Do: trainer.DoEvaluate, Evaluate: &trainer.EvaluateArgs{
		Shards: shards, BatchSize: o.batch, Generate: generate, Out: out,
	}}, on)
	if err != nil {
		return nil, err
	}
	return done.Evaluated, nil
}

// noTraining is a valid config of a trainer that takes no step.
func (w *workbench) noTraining(batch int) train.Config {
	return train.Config{
		BatchSize:          batch,
		CaptionsPerPicture: 1,
		MaxLength:          w.config.Positions(),
		Epsilon:            1e-8,
		TotalSteps:         1,
		Normalization:      train.NormalizationOf(w.processor),
	}
}

// showEvents turns a trainer's events into progress.
func showEvents(p *progress, heading string) func(trainer.Event) {
	var speed pace
	return func(e trainer.Event) {
		switch {
		case e.Event == trainer.EventProgress && e.Total > 0:
			var details []string
			if left := speed.left(p.now(), e.Done, e.Total); left > 0 {
				details = append(details, durationText(left)+" left")
			}
			p.show(heading, e.Done, e.Total, details...)
		case e.Message != "":
			p.show(heading, 0, 0, e.Message)
		}
	}
}
