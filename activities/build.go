package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/hub"
	"distilvit/model"
	"distilvit/model/onnx"
	"distilvit/model/tokenizer"
	"distilvit/model/train"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// Names of a model directory's files that are looked at by themselves.
const (
	configFile    = "config.json"
	processorFile = "preprocessor_config.json"
	weightsFile   = "model.safetensors"

	generationFile = "generation_config.json"
)

// StorePretrained checks directories in Hugging Face form, local or fetched from
// the hub, and stores what a run needs of them. With only a tokenizer it stores
// only that.
func (a *Activities) StorePretrained(ctx context.Context, in pipeline.PretrainedInput) (record.ModelRef, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (ref record.ModelRef, err error) {
		defer func() {
			if in.Teacher && err != nil {
				err = fmt.Errorf("train.teacher: %w", err)
			}
		}()
		dir, done, err := a.scratch("weights")
		if err != nil {
			return record.ModelRef{}, err
		}
		defer done()
		named := pipeline.ModelConfig{
			Weights: in.Weights, Encoder: in.Encoder, Decoder: in.Decoder, Tokenizer: in.Tokenizer,
			Adapter: in.Adapter, Kind: in.Kind, Projection: in.Projection, ScaleFactor: in.ScaleFactor,
			FromLayers: in.FromLayers,
		}
		from, err := a.givenModel(ctx, p, named, hub.ModelFiles)
		if err != nil {
			return record.ModelRef{}, err
		}
		t, err := tokenizer.Load(from.tokenizer)
		if err != nil {
			return record.ModelRef{}, orInvalid(ctx, fmt.Errorf("%s: %w", from.tokenizerKey, err))
		}
		if err := t.WriteDir(dir); err != nil {
			return record.ModelRef{}, err
		}
		if from.processor != "" {
			p.progress("read weights", 0, 0, cmp.Or(in.Weights, in.Encoder))
			if err := from.copyTo(dir, in.Seed, t); err != nil {
				return record.ModelRef{}, orInvalid(ctx, fmt.Errorf("%s: %w", from.key, err))
			}
		}
		p.progress("upload", 0, 0, "")
		return a.storeModel(ctx, in.Run, dir, nil)
	})
}

// givenModel are the local directories of what a run starts from, "" where the
// config names nothing, and the keys that name them.
type givenModel struct {
	weights, encoder, decoder, tokenizer string
	adapter                              string // of weights
	processor                            string // that of the encoder; "" with a tokenizer alone
	kind, projection                     string // the config's
	layers                               model.Layers
	scaleFactor                          int // the config's
	key, tokenizerKey                    string
}

// givenModel fetches what the config names; of networks, the files that are chosen.
func (a *Activities) givenModel(
	ctx context.Context, p *pulse, m pipeline.ModelConfig, network hub.Select,
) (d givenModel, err error) {
	for _, g := range []struct {
		key, name string
		dir       *string
		files     hub.Select
	}{
		{"model.weights", m.Weights, &d.weights, network}, {"model.encoder", m.Encoder, &d.encoder, network},
		{"model.decoder", m.Decoder, &d.decoder, network},
		{"model.tokenizer", m.Tokenizer, &d.tokenizer, hub.TokenizerFiles},
		{"model.adapter", m.Adapter, &d.adapter, hub.AdapterFiles},
	} {
		if *g.dir, err = a.given(ctx, p, g.key, g.name, g.files); err != nil {
			return d, err
		}
	}
	d.kind, d.projection, d.scaleFactor = m.Kind, m.Projection, m.ScaleFactor
	d.layers = model.Layers(m.FromLayers)
	d.key, d.tokenizerKey = "model.weights", "model.tokenizer"
	if d.encoder != "" {
		d.key = "model.encoder and model.decoder"
	}
	if d.tokenizer == "" {
		d.tokenizer, d.tokenizerKey = cmp.Or(d.weights, d.decoder), d.key+": tokenizer"
	}
	d.processor = cmp.Or(d.weights, d.encoder)
	return d, nil
}

func (d givenModel) parts() model.Parts {
	return model.Parts{
		Encoder: d.encoder, Decoder: d.decoder, Projection: d.projection, ScaleFactor: d.scaleFactor,
		Prefix: d.kind == pipeline.ModelPrefix,
	}
}

// ofKind makes sure that the network is of the kind that the config asks for.
func (d givenModel) ofKind(c *model.Config) error {
	kinds := map[string]model.Kind{pipeline.ModelCrossAttention: model.CrossAttention, pipeline.ModelPrefix: model.Prefix}
	if kind, ok := kinds[d.kind]; ok && kind != c.Kind {
		what := "model.weights is of the other kind"
		if d.weights == "" {
			what = "model.decoder is a Llama, which cannot have any"
		}
		return fmt.Errorf("model.kind is %s, and %s: leave the key out, or take another", d.kind, what)
	}
	return nil
}

// config is the network's, for the pictures of its processor.
func (d givenModel) config() (c *model.Config, err error) {
	if d.weights != "" {
		c, err = model.ReadConfig(d.weights)
	} else {
		c, err = d.parts().ReadConfig()
	}
	if err == nil {
		err = d.ofKind(c)
	}
	if err == nil {
		err = d.take(c, nil)
	}
	if err != nil {
		return nil, err
	}
	_, err = d.fit(c, nil)
	return c, err
}

// take makes of the network one of the layers that the config asks for.
func (d givenModel) take(c *model.Config, w model.Weights) error {
	if err := c.TakeLayers(w, d.layers); err != nil {
		return fmt.Errorf("model.from_layers: %w", err)
	}
	return nil
}

// read reads all tensors: a missing or misshapen one is to be known now.
func (d givenModel) read(seed uint64) (c *model.Config, w model.Weights, proc pixels.Processor, err error) {
	if d.weights == "" {
		c, w, err = d.parts().Read(seed)
	} else if c, err = model.ReadConfig(d.weights); err == nil {
		w, err = model.ReadWeights(d.weights, c)
	}
	if err == nil {
		err = d.take(c, w)
	}
	if err != nil {
		return nil, nil, proc, err
	}
	proc, err = d.fit(c, w)
	return c, w, proc, err
}

// fit reads the processor and makes the network, with its weights or without, one for its pictures. ViT and
// DeiT have a usual processor, if they bring none.
func (d givenModel) fit(c *model.Config, w model.Weights) (pixels.Processor, error) {
	_, err := os.Stat(filepath.Join(d.processor, processorFile))
	usual := c.Encoder.Kind == model.ViT || c.Encoder.Kind == model.DeiT
	if errors.Is(err, fs.ErrNotExist) && usual {
		return pixels.NewProcessor(c.Encoder.ImageSize), nil
	}
	proc, err := pixels.ReadProcessor(d.processor)
	if err != nil {
		return proc, err
	}
	if proc.Width != proc.Height {
		return proc, fmt.Errorf("%s makes pictures of %d×%d, the encoder takes %d×%d",
			processorFile, proc.Width, proc.Height, c.Encoder.ImageSize, c.Encoder.ImageSize)
	}
	if err := c.FitPictures(w, proc.Width); err != nil {
		return proc, fmt.Errorf("%s: %w", processorFile, err)
	}
	return proc, nil
}

// copyTo writes a checked copy of the network to dir.
func (d givenModel) copyTo(dir string, seed uint64, t *tokenizer.Tokenizer) error {
	c, w, proc, err := d.read(seed)
	if err != nil {
		return err
	}
	if t.VocabSize() > c.VocabSize() {
		return fmt.Errorf("the tokenizer has %d tokens, the weights know %d", t.VocabSize(), c.VocabSize())
	}
	if err := model.WriteWeights(filepath.Join(dir, weightsFile), w, nil); err != nil {
		return err
	}
	if err := c.WriteFile(dir); err != nil {
		return err
	}
	if err := d.copyPolicy(dir, c); err != nil {
		return err
	}
	if err := d.copyAdapter(dir, c); err != nil {
		return err
	}
	return proc.WriteFile(dir)
}

// copyAdapter writes a checked copy of the adapter beside the weights.
func (d givenModel) copyAdapter(dir string, c *model.Config) error {
	if d.adapter == "" {
		return nil
	}
	l, w, err := model.ReadAdapter(d.adapter, c)
	if err != nil {
		return fmt.Errorf("model.adapter: %w", err)
	}
	return model.WriteAdapter(dir, c, l, w, slices.Sorted(maps.Keys(w)), "")
}

// copyPolicy writes what the weights' generation_config.json says that captions may have, if it says
// anything.
func (d givenModel) copyPolicy(dir string, c *model.Config) error {
	if d.weights == "" {
		return nil
	}
	o, err := model.ReadPolicy(d.weights)
	if err != nil {
		return err
	}
	o.MaxLength = c.Positions()
	if err := o.Validate(c); err != nil {
		return fmt.Errorf("%s: %w", generationFile, err)
	}
	if o.LogitsProcessor(c) == nil {
		return nil
	}
	return onnx.WriteGenerationConfig(dir, c, o)
}

// BuildModel makes the run's model directory: the given network or one of the
// config's sizes, with the given tokenizer or one trained on the captions.
func (a *Activities) BuildModel(ctx context.Context, in pipeline.BuildModelInput) (pipeline.BuiltModel, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.BuiltModel, error) {
		var out pipeline.BuiltModel
		dir, done, err := a.scratch("model")
		if err != nil {
			return out, err
		}
		defer done()
		t, err := a.runTokenizer(ctx, p, in)
		if err != nil {
			return out, err
		}
		if err := t.WriteDir(dir); err != nil {
			return out, err
		}
		c, kept, err := a.runNetwork(ctx, in, t, dir)
		if err != nil {
			return out, err
		}
		if err := setPrompt(c, in.Model.Prompt, t); err != nil {
			return out, err
		}
		c.SetDropout(in.Train.Dropout)
		if err := c.Validate(); err != nil {
			return out, invalid("model: %v", err)
		}
		if out.Lengths, err = a.lengths(ctx, in, t, c.Positions()); err != nil {
			return out, err
		}
		o, err := a.runPolicy(ctx, in, t)
		if err != nil {
			return out, err
		}
		o.MaxLength = out.Lengths.Evaluate
		if err := o.Validate(c); err != nil {
			return out, invalid("generate: %v", err)
		}
		if err := onnx.WriteConfigs(dir, c, o, []string{pipeline.DtypeFP32}); err != nil {
			return out, err
		}
		for _, d := range onnx.Deviations(c, o) {
			out.Warnings = append(out.Warnings, d.String())
		}
		out.ModelRef, err = a.storeModel(ctx, in.Run, dir, kept)
		return out, err
	})
}

// lengths are the config's, or what the training captions need.
func (a *Activities) lengths(
	ctx context.Context, in pipeline.BuildModelInput, t *tokenizer.Tokenizer, positions int,
) (pipeline.Lengths, error) {
	l := pipeline.Lengths{Train: in.Train.MaxLength, Evaluate: in.MaxLength}
	if l.Train == 0 {
		var failed error
		counts := map[int]int{}
		for caption := range a.captions(ctx, in.Dataset, &failed) {
			counts[len(t.Encode(caption))+1]++
		}
		if failed != nil {
			return l, failed
		}
		l.Train = dataset.FitMaxLength(counts, positions)
	}
	if l.Evaluate == 0 {
		l.Evaluate = min(l.Train+1, positions)
	}
	for _, of := range []struct {
		key    string
		length int
	}{{"train.max_length", l.Train}, {"evaluate.max_length", l.Evaluate}} {
		if of.length > positions {
			return l, invalid("%s is %d; the decoder has %d positions", of.key, of.length, positions)
		}
	}
	return l, nil
}

// runPolicy is what captions may say: what the given weights' generation_config.json says, and the config.
func (a *Activities) runPolicy(
	ctx context.Context, in pipeline.BuildModelInput, t *tokenizer.Tokenizer,
) (o model.GenerateOptions, err error) {
	if in.Pretrained != nil && in.Pretrained.Files[generationFile].Key != "" {
		given, err := a.modelDir(ctx, *in.Pretrained, false)
		if err != nil {
			return o, err
		}
		if o, err = model.ReadPolicy(given); err != nil {
			return o, orInvalid(ctx, err)
		}
	}
	g := in.Generate
	for _, word := range g.BadWords {
		// at a caption's start, and after a space
		o.BadWordsIDs = append(o.BadWordsIDs, t.Encode(word), t.Encode(" "+word))
	}
	for _, word := range g.BadWordsIDs {
		o.BadWordsIDs = append(o.BadWordsIDs, tokenIDs(word))
	}
	o.SuppressTokens = append(o.SuppressTokens, tokenIDs(g.SuppressTokens)...)
	o.BeginSuppressTokens = append(o.BeginSuppressTokens, tokenIDs(g.BeginSuppressTokens)...)
	if g.ForcedBOSTokenID != nil {
		o.ForcedBOSTokenID = &tokenIDs([]int{*g.ForcedBOSTokenID})[0]
	}
	if g.ForcedEOSTokenID != nil {
		o.ForcedEOSTokenID = tokenIDs([]int{*g.ForcedEOSTokenID})
	}
	o.NoRepeatNGramSize = cmp.Or(g.NoRepeatNGramSize, o.NoRepeatNGramSize)
	o.RepetitionPenalty = cmp.Or(g.RepetitionPenalty, o.RepetitionPenalty)
	return o, nil
}

func tokenIDs(list []int) model.TokenIDs {
	ids := make(model.TokenIDs, len(list))
	for i, id := range list {
		ids[i] = int32(id)
	}
	return ids
}

// runTokenizer is the given tokenizer, or one trained on the captions.
func (a *Activities) runTokenizer(
	ctx context.Context, p *pulse, in pipeline.BuildModelInput,
) (*tokenizer.Tokenizer, error) {
	if in.Pretrained != nil {
		dir, err := a.modelDir(ctx, *in.Pretrained, false)
		if err != nil {
			return nil, err
		}
		t, err := tokenizer.Load(dir)
		return t, orInvalid(ctx, err)
	}
	p.progress("train tokenizer", 0, 0, "")
	var failed error
	t, err := tokenizer.TrainLimited(
		a.captions(ctx, in.Dataset, &failed), in.Model.VocabSize, tokenizer.MaxSpaceless,
	)
	if failed != nil {
		return nil, failed
	}
	return t, orInvalid(ctx, err)
}

// captions are those of the training shards, in order; an error ends them and
// is left in failed.
func (a *Activities) captions(ctx context.Context, d pipeline.Dataset, failed *error) iter.Seq[string] {
	return func(yield func(string) bool) {
		m, err := artifact.ReadDataset(ctx, a.Store, d.Manifest)
		if *failed = err; err != nil {
			return
		}
		for _, s := range m.Shards {
			if s.Split != dataset.Train {
				continue
			}
			for row, err := range a.captionRows(ctx, s) {
				if *failed = err; err != nil {
					return
				}
				for _, c := range row.Captions {
					if !yield(c) {
						return
					}
				}
			}
		}
	}
}

// openShard opens a verified local copy of a shard.
func (a *Activities) openShard(
	ctx context.Context, s record.Shard,
) (shard *dataset.Shard, done func(), err error) {
	path, err := a.Cache.Path(ctx, a.Store, s.Object)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		a.Cache.Release(s.Object)
		return nil, nil, err
	}
	done = func() {
		f.Close()
		a.Cache.Release(s.Object)
	}
	if shard, err = dataset.OpenShard(f, s.Object.Size); err != nil {
		done()
		return nil, nil, fmt.Errorf("shard %s: %w", s.Object.Key, err)
	}
	return shard, done, nil
}

// captionRows reads a shard's captions, without pixels.
func (a *Activities) captionRows(ctx context.Context, s record.Shard) iter.Seq2[dataset.Row, error] {
	return func(yield func(dataset.Row, error) bool) {
		shard, done, err := a.openShard(ctx, s)
		if err != nil {
			yield(dataset.Row{}, err)
			return
		}
		defer done()
		for row, err := range shard.Captions() {
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// runNetwork writes the processor's file to dir and answers the architecture
// and the given weights' object, if there are any.
func (a *Activities) runNetwork(
	ctx context.Context, in pipeline.BuildModelInput, t *tokenizer.Tokenizer, dir string,
) (*model.Config, map[string]layout.Object, error) {
	if in.Pretrained == nil || in.Pretrained.Files[configFile].Key == "" {
		proc := pixels.NewProcessor(in.Model.ImageSize)
		return network(in.Model, t.VocabSize(), int(t.EOS())), nil, proc.WriteFile(dir)
	}
	given, err := a.modelDir(ctx, *in.Pretrained, false)
	if err != nil {
		return nil, nil, err
	}
	c, proc, err := train.ReadNetwork(given)
	if err != nil {
		return nil, nil, orInvalid(ctx, err)
	}
	kept := map[string]layout.Object{}
	for _, name := range []string{weightsFile, model.AdapterConfigName, model.AdapterWeightsName} {
		if o, ok := in.Pretrained.Files[name]; ok {
			kept[name] = o
		}
	}
	return c, kept, proc.WriteFile(dir)
}

// storeModel makes a model directory the run's, and stores it.
func (a *Activities) storeModel(
	ctx context.Context, run, dir string, stored map[string]layout.Object,
) (record.ModelRef, error) {
	return artifact.PutModelDir(
		ctx, a.Store, dir, stored, func(group string) error { return a.adopt(ctx, run, group) },
	)
}

// modelDir is a local copy of a stored model directory, kept for later; with
// its weights if asked. Files that are broken are fetched again.
func (a *Activities) modelDir(ctx context.Context, ref record.ModelRef, weights bool) (string, error) {
	dir := filepath.Join(a.Dir, "models", ref.Digest)
	files := maps.Clone(ref.Files)
	if !weights {
		delete(files, weightsFile)
	}
	return dir, artifact.Fetch(ctx, a.Store, files, dir)
}
