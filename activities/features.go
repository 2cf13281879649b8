package activities

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/model"
	"distilvit/model/train"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// A frozen encoder's features are made on a device by the run's trainer, shard by shard beside the pictures, and are the
// same for every run that freezes the same encoder: one group of the training pictures, one of those that are evaluated.

// PlanFeatures names a run's features, and lists the shards that are to be made.
func (a *Activities) PlanFeatures(ctx context.Context, in pipeline.FeaturesInput) (pipeline.DerivedPlan, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.DerivedPlan, error) {
		p.progress("features", 0, 0, "looking for the encoder's features")
		if err := a.adoptWork(ctx, in.Work); err != nil {
			return pipeline.DerivedPlan{}, err
		}
		wanted, held, err := a.heldOut(ctx, in)
		if err != nil {
			return pipeline.DerivedPlan{}, err
		}
		of, err := a.featuresOf(ctx, in, held)
		if err != nil {
			return pipeline.DerivedPlan{}, err
		}
		return a.planDerived(ctx, in.Work, features, of, wanted)
	})
}

// heldOut tells the shards that features are asked of, and lists their indexes where they are not those of training.
func (a *Activities) heldOut(
	ctx context.Context, in pipeline.FeaturesInput,
) (wanted func(record.Shard) bool, indexes []int, err error) {
	if in.HeldOut == nil {
		return ofTraining, nil, nil
	}
	d, err := artifact.ReadDataset(ctx, a.Store, in.Work.Dataset.Manifest)
	if err != nil {
		return nil, nil, err
	}
	validated, most := 0, in.HeldOut.Validation
	for _, s := range d.Shards {
		if s.Split == dataset.Test || s.Split == dataset.Validation && (most == 0 || validated < most) {
			indexes = append(indexes, s.Index)
		}
		if s.Split == dataset.Validation {
			validated += s.Rows
		}
	}
	return func(s record.Shard) bool { return slices.Contains(indexes, s.Index) }, indexes, nil
}

// featuresOf is the digest of all that features depend on, but for the machine that computes them. The shards of pictures
// that are evaluated are listed.
func (a *Activities) featuresOf(ctx context.Context, in pipeline.FeaturesInput, heldOut []int) (string, error) {
	dir, err := a.modelDir(ctx, in.Work.Model, true)
	if err != nil {
		return "", err
	}
	c, proc, err := train.ReadNetwork(dir)
	if err != nil {
		return "", orInvalid(ctx, err)
	}
	if err := checkFeatures(c, in.Work.Train); err != nil {
		return "", err
	}
	encoder, err := train.EncoderDigest(dir, c, proc.Width)
	if err != nil {
		return "", orInvalid(ctx, err)
	}
	of := struct {
		Dataset, Encoder, Architecture, Normalization, DType string
		Version, Views                                       int
		Augment                                              pipeline.AugmentConfig
		Seed                                                 uint64
		HeldOut                                              []int `json:",omitempty"`
	}{
		Dataset: in.Work.Dataset.Manifest, Encoder: encoder, Architecture: fmt.Sprintf("%+v", c.Encoder),
		Normalization: fmt.Sprintf("%+v", train.NormalizationOf(proc)), DType: in.Work.Train.Features,
		Version: encodeVersion, Views: in.Work.Train.FeatureViews, HeldOut: heldOut,
	}
	if of.Views > 0 {
		of.Augment, of.Seed = in.Work.Train.Augment, in.Seed
	}
	return artifact.Digest(of)
}

// EncodeShard makes the features of one shard of pictures.
func (a *Activities) EncodeShard(ctx context.Context, in pipeline.EncodeInput) (record.Shard, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (record.Shard, error) {
		s := in.Shard.Pictures
		out := record.Shard{Index: s.Index, Split: s.Split, Source: s.Source, Rows: s.Rows}
		if err := a.sameMachine(ctx, in.Work, in.Numerics); err != nil {
			return out, err
		}
		path, err := a.Cache.Path(ctx, a.Store, s.Object)
		if err != nil {
			return out, err
		}
		defer a.Cache.Release(s.Object)
		dir, done, err := a.scratch("features")
		if err != nil {
			return out, err
		}
		defer done()
		format, err := a.featuresFormat(ctx, in.Work)
		if err != nil {
			return out, err
		}
		lease, err := a.open(ctx, p, in.Work)
		if err != nil {
			return out, a.keepLog(ctx, in.Work.Run, err)
		}
		defer lease.Release()
		args := trainer.EncodeArgs{
			Pixels: path, First: in.Shard.First, Format: format, Out: filepath.Join(dir, "features.safetensors"),
		}
		if in.Work.Train.FeatureViews > 0 {
			args.Seed, args.Augment = in.Seed, augment(in.Work.Train.Augment)
		}
		e, err := lease.Do(ctx, trainer.Command{Do: trainer.DoEncode, Encode: &args}, p.follow)
		if err != nil {
			return out, a.keepLog(ctx, in.Work.Run, err)
		}
		if e.Encoded == nil || e.Encoded.Rows != s.Rows {
			return out, &typed{pipeline.Corrupt, fmt.Errorf("shard %s has not the %d rows of its manifest", s.Object.Key, s.Rows)}
		}
		p.progress("upload", 0, 0, "")
		out.Object, err = a.putWritten(ctx, in.Features, ".safetensors", args.Out, e.Encoded.File)
		return out, err
	})
}

// featuresFormat is how a run's features are stored.
func (a *Activities) featuresFormat(ctx context.Context, w pipeline.Work) (dataset.FeaturesFormat, error) {
	dir, err := a.modelDir(ctx, w.Model, false)
	if err != nil {
		return dataset.FeaturesFormat{}, err
	}
	c, proc, err := train.ReadNetwork(dir)
	if err == nil {
		err = c.FitPictures(nil, proc.Width)
	}
	if err != nil {
		return dataset.FeaturesFormat{}, orInvalid(ctx, err)
	}
	return train.FeaturesFormat(c, w.Train.Features, w.Train.FeatureViews), nil
}

// withFeatures puts a run's features in the place of the pixels of its training shards, and says how they are stored.
func (a *Activities) withFeatures(
	ctx context.Context, w pipeline.Work, shards []shardObjects,
) (f dataset.FeaturesFormat, err error) {
	if w.Features.Manifest == "" {
		return f, nil
	}
	m, err := artifact.ReadFeatures(ctx, a.Store, w.Features.Manifest)
	if err != nil {
		return f, err
	}
	at := func(i int) record.Shard { return m.Shards[i] }
	if err := rowAligned("features "+w.Features.Manifest, len(m.Shards), at, shards); err != nil {
		return f, err
	}
	for i, s := range m.Shards {
		shards[i].features = s.Object
	}
	return dataset.FeaturesFormat{DType: m.DType, Views: m.Views, Tokens: m.Tokens, Width: m.Width}, nil
}

// withHeldOut puts features in the place of the pixels of shards that are evaluated. Without any, pictures are encoded anew.
func (a *Activities) withHeldOut(ctx context.Context, w pipeline.Work, shards []shardObjects) error {
	if w.HeldOut.Manifest == "" {
		return nil
	}
	m, err := artifact.ReadFeatures(ctx, a.Store, w.HeldOut.Manifest)
	if err != nil {
		return err
	}
	stored := map[int]record.Shard{}
	for _, s := range m.Shards {
		stored[s.Index] = s
	}
	for i := range shards {
		s, ok := stored[shards[i].index]
		if !ok {
			continue // behind evaluate.limit
		}
		if s.Rows != shards[i].pair.Rows {
			return fmt.Errorf("features %s %w shard %d", w.HeldOut.Manifest, artifact.ErrUnfit, s.Index)
		}
		shards[i].features, shards[i].references = s.Object, true
	}
	return nil
}

// FinishFeatures publishes features; without shards it answers what is published. Those that were made again must
// have the bytes they had.
func (a *Activities) FinishFeatures(ctx context.Context, in pipeline.FinishFeaturesInput) (pipeline.Features, error) {
	return run(ctx, func(ctx context.Context, _ *pulse) (pipeline.Features, error) {
		key := layout.Manifest(in.Plan.Group)
		m, err := artifact.ReadFeatures(ctx, a.Store, key)
		if artifact.NotFound(err) {
			f, formatErr := a.featuresFormat(ctx, in.Work)
			if formatErr != nil {
				return pipeline.Features{}, formatErr
			}
			m = record.FeaturesManifest{
				Version: encodeVersion, Of: in.Plan.Of, Numerics: in.Plan.Numerics,
				DType: f.DType, Views: f.Views, Tokens: f.Tokens, Width: f.Width, Shards: slices.Clone(in.Shards),
			}
			slices.SortFunc(m.Shards, func(x, y record.Shard) int { return x.Index - y.Index })
			err = a.Store.Publish(ctx, key, m)
		}
		if err != nil {
			return pipeline.Features{}, err
		}
		return pipeline.Features{Manifest: key}, a.sameBytes(ctx, in.Plan.Group, m.Objects())
	})
}

// checkFeatures makes sure that a network trains nothing that its features depend on.
func checkFeatures(net *model.Config, t pipeline.TrainConfig) error {
	if !t.StoresFeatures() {
		return nil
	}
	err := train.CheckFeatures(net, train.Config{Parts: parts(t), LayerDecay: t.LayerDecay, LoRA: lora(t.LoRA)})
	if err != nil {
		return invalid("train.features: %v", err)
	}
	return nil
}
