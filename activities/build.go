package activities

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"distilvit/dataset"
	"distilvit/model"
	"distilvit/model/hub"
	"distilvit/model/onnx"
	"distilvit/model/tokenizer"
	"distilvit/pipeline"
)

// Names of a model directory's files that are looked at by themselves.
const (
	configFile    = "config.json"
	processorFile = "preprocessor_config.json"
	weightsFile   = "model.safetensors"
)

// StorePretrained checks directories in Hugging Face form, local or fetched from
// the hub, and stores what a run needs of them. With only a tokenizer it stores
// only that.
func (a *Activities) StorePretrained(ctx context.Context, in pipeline.PretrainedInput) (pipeline.ModelRef, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.ModelRef, error) {
		dir, done, err := a.scratch("weights")
		if err != nil {
			return pipeline.ModelRef{}, err
		}
		defer done()
		named := pipeline.ModelConfig{Weights: in.Weights, Encoder: in.Encoder, Decoder: in.Decoder, Tokenizer: in.Tokenizer}
		from, err := a.givenModel(ctx, p, named, hub.ModelFiles)
		if err != nil {
			return pipeline.ModelRef{}, err
		}
		t, err := tokenizer.Load(from.tokenizer)
		if err != nil {
			return pipeline.ModelRef{}, orInvalid(ctx, fmt.Errorf("%s: %w", from.tokenizerKey, err))
		}
		if err := t.WriteDir(dir); err != nil {
			return pipeline.ModelRef{}, err
		}
		if from.processor != "" {
			p.progress("read weights", 0, 0, cmp.Or(in.Weights, in.Encoder))
			if err := from.copyTo(dir, in.Seed, t); err != nil {
				return pipeline.ModelRef{}, orInvalid(ctx, fmt.Errorf("%s: %w", from.key, err))
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
	processor                            string // that of the encoder; "" with a tokenizer alone
	key, tokenizerKey                    string
}

// givenModel fetches what the config names; of networks, the files that are chosen.
func (a *Activities) givenModel(ctx context.Context, p *pulse, m pipeline.ModelConfig, network hub.Select) (d givenModel, err error) {
	for _, g := range []struct {
		key, name string
		dir       *string
		files     hub.Select
	}{
		{"model.weights", m.Weights, &d.weights, network}, {"model.encoder", m.Encoder, &d.encoder, network},
		{"model.decoder", m.Decoder, &d.decoder, network}, {"model.tokenizer", m.Tokenizer, &d.tokenizer, hub.TokenizerFiles},
	} {
		if *g.dir, err = a.given(ctx, p, g.key, g.name, g.files); err != nil {
			return d, err
		}
	}
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

func (d givenModel) config() (*model.Config, error) {
	if d.weights != "" {
		return model.ReadConfig(d.weights)
	}
	return model.ReadPartsConfig(d.encoder, d.decoder)
}

// read reads all tensors: a missing or misshapen one is to be known now.
func (d givenModel) read(seed uint64) (*model.Config, model.Weights, error) {
	if d.weights == "" {
		return model.ReadParts(d.encoder, d.decoder, seed)
	}
	c, err := model.ReadConfig(d.weights)
	if err != nil {
		return nil, nil, err
	}
	w, err := model.ReadWeights(d.weights, c)
	return c, w, err
}

// copyTo writes a checked copy of the network to dir.
func (d givenModel) copyTo(dir string, seed uint64, t *tokenizer.Tokenizer) error {
	c, w, err := d.read(seed)
	if err != nil {
		return err
	}
	if t.VocabSize() > c.Decoder.VocabSize {
		return fmt.Errorf("the tokenizer has %d tokens, the weights know %d", t.VocabSize(), c.Decoder.VocabSize)
	}
	if err := model.WriteWeights(filepath.Join(dir, weightsFile), w, nil); err != nil {
		return err
	}
	if err := c.WriteFile(dir); err != nil {
		return err
	}
	proc := dataset.NewProcessor(c.Encoder.ImageSize)
	if _, err := os.Stat(filepath.Join(d.processor, processorFile)); err == nil {
		if proc, err = dataset.ReadProcessor(d.processor); err != nil {
			return err
		}
	}
	if proc.Width != c.Encoder.ImageSize || proc.Height != c.Encoder.ImageSize {
		return fmt.Errorf("%s makes pictures of %d×%d, the encoder takes %d×%d", processorFile, proc.Width, proc.Height, c.Encoder.ImageSize, c.Encoder.ImageSize)
	}
	return proc.WriteFile(dir)
}

// BuildModel makes the run's model directory: the given network or one of the
// config's sizes, with the given tokenizer or one trained on the captions.
func (a *Activities) BuildModel(ctx context.Context, in pipeline.BuildModelInput) (pipeline.ModelRef, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.ModelRef, error) {
		dir, done, err := a.scratch("model")
		if err != nil {
			return pipeline.ModelRef{}, err
		}
		defer done()
		t, err := a.runTokenizer(ctx, p, in)
		if err != nil {
			return pipeline.ModelRef{}, err
		}
		if err := t.WriteDir(dir); err != nil {
			return pipeline.ModelRef{}, err
		}
		c, kept, err := a.runNetwork(ctx, in, t, dir)
		if err != nil {
			return pipeline.ModelRef{}, err
		}
		if err := c.Validate(); err != nil {
			return pipeline.ModelRef{}, invalid("model: %v", err)
		}
		for _, l := range []struct {
			key    string
			length int
		}{{"train.max_length", in.Train.MaxLength}, {"evaluate.max_length", in.MaxLength}} {
			if l.length > c.Decoder.NPositions {
				return pipeline.ModelRef{}, invalid("%s is %d; the decoder has %d positions", l.key, l.length, c.Decoder.NPositions)
			}
		}
		if err := onnx.WriteConfigs(dir, c, in.MaxLength, []string{pipeline.DtypeFP32}); err != nil {
			return pipeline.ModelRef{}, err
		}
		return a.storeModel(ctx, in.Run, dir, kept)
	})
}

// runTokenizer is the given tokenizer, or one trained on the captions.
func (a *Activities) runTokenizer(ctx context.Context, p *pulse, in pipeline.BuildModelInput) (*tokenizer.Tokenizer, error) {
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
	t, err := tokenizer.Train(a.captions(ctx, in.Dataset, &failed), in.Model.VocabSize)
	if failed != nil {
		return nil, failed
	}
	return t, orInvalid(ctx, err)
}

// captions are those of the training shards, in order; an error ends them and
// is left in failed.
func (a *Activities) captions(ctx context.Context, d pipeline.Dataset, failed *error) iter.Seq[string] {
	return func(yield func(string) bool) {
		var m datasetManifest
		if *failed = a.Store.GetJSON(ctx, d.Manifest, &m); *failed != nil {
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
func (a *Activities) openShard(ctx context.Context, s pipeline.Shard) (shard *dataset.Shard, done func(), err error) {
	path, err := a.Cache.Path(ctx, a.Store, stored(s.Object))
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		a.Cache.Release(stored(s.Object))
		return nil, nil, err
	}
	done = func() {
		f.Close()
		a.Cache.Release(stored(s.Object))
	}
	if shard, err = dataset.OpenShard(f, s.Object.Size); err != nil {
		done()
		return nil, nil, fmt.Errorf("shard %s: %w", s.Object.Key, err)
	}
	return shard, done, nil
}

// captionRows reads a shard's captions, without pixels.
func (a *Activities) captionRows(ctx context.Context, s pipeline.Shard) iter.Seq2[dataset.Row, error] {
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
func (a *Activities) runNetwork(ctx context.Context, in pipeline.BuildModelInput, t *tokenizer.Tokenizer, dir string) (*model.Config, map[string]pipeline.Object, error) {
	if in.Pretrained == nil || in.Pretrained.Files[configFile].Key == "" {
		proc := dataset.NewProcessor(in.Model.ImageSize)
		return network(in.Model, t.VocabSize(), int(t.EOS())), nil, proc.WriteFile(dir)
	}
	given, err := a.modelDir(ctx, *in.Pretrained, false)
	if err != nil {
		return nil, nil, err
	}
	c, err := model.ReadConfig(given)
	if err != nil {
		return nil, nil, orInvalid(ctx, err)
	}
	proc, err := dataset.ReadProcessor(given)
	if err != nil {
		return nil, nil, orInvalid(ctx, err)
	}
	return c, map[string]pipeline.Object{weightsFile: in.Pretrained.Files[weightsFile]}, proc.WriteFile(dir)
}

// storeModel stores every file of dir, and the kept objects with them, as one
// model directory named by what is in it.
func (a *Activities) storeModel(ctx context.Context, run, dir string, kept map[string]pipeline.Object) (pipeline.ModelRef, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return pipeline.ModelRef{}, err
	}
	ref := pipeline.ModelRef{Files: map[string]pipeline.Object{}}
	digests := map[string]string{}
	for name, o := range kept {
		ref.Files[name], digests[name] = o, o.SHA256
	}
	for _, e := range entries {
		if digests[e.Name()], err = fileDigest(filepath.Join(dir, e.Name())); err != nil {
			return ref, err
		}
	}
	if ref.Digest, err = digestOf(digests); err != nil {
		return ref, err
	}
	if err := a.adopt(ctx, run, "weights/"+ref.Digest); err != nil {
		return ref, err
	}
	for _, e := range entries {
		o, err := a.Store.PutFile(ctx, "weights/"+ref.Digest+"/"+e.Name(), filepath.Join(dir, e.Name()))
		if err != nil {
			return ref, err
		}
		ref.Files[e.Name()] = object(o)
	}
	return ref, nil
}

// modelDir is a local copy of a stored model directory, kept for later; with
// its weights if asked. Files that are broken are fetched again.
func (a *Activities) modelDir(ctx context.Context, ref pipeline.ModelRef, weights bool) (string, error) {
	dir := filepath.Join(a.Dir, "models", ref.Digest)
	missing := map[string]pipeline.Object{}
	for name, o := range ref.Files {
		if name == weightsFile && !weights {
			continue
		}
		sound, err := stored(o).Holds(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		if !sound {
			missing[name] = o
		}
	}
	return dir, a.fetchAll(ctx, missing, dir)
}
