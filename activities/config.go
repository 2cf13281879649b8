package activities

import (
	"distilvit/dataset"
	"distilvit/model"
	"distilvit/model/train"
	"distilvit/pipeline"
)

// Spec is a source as package dataset knows it.
func Spec(s pipeline.SourceConfig, p pipeline.PrepareConfig) dataset.Spec {
	_, entry := pipeline.CutEntry(s.Captions)
	clean := dataset.Clean{
		Lower: s.Clean.Lower, StripPeriod: s.Clean.StripPeriod, MinWords: s.Clean.MinWords, MaxWords: s.Clean.MaxWords,
		First: s.Clean.Keep == pipeline.KeepFirst, Raw: s.Clean.Raw,
	}
	return dataset.Spec{
		Kind: s.Kind, Split: s.Split, Limit: s.Limit,
		ValidationFraction: p.ValidationFraction, TestFraction: p.TestFraction,
		Shapes:  dataset.ShapesSpec(s.Shapes),
		Columns: dataset.Columns{Image: s.ImageColumn, Captions: s.CaptionColumns, Split: s.SplitColumn, ID: s.IDColumn},
		Entry:   entry,
		Clean:   clean,
	}
}

// network is the architecture of a model built from scratch.
func network(m pipeline.ModelConfig, vocab, eos int) *model.Config {
	return &model.Config{
		Encoder: model.ViTConfig{
			HiddenSize: m.HiddenSize, NumHiddenLayers: m.EncoderLayer, NumAttentionHeads: m.Heads, IntermediateSize: m.MLPSize,
			ImageSize: m.ImageSize, PatchSize: m.PatchSize, NumChannels: 3, LayerNormEps: 1e-12, HiddenAct: "gelu", QKVBias: true,
		},
		Decoder: model.GPT2Config{
			VocabSize: vocab, NPositions: m.Positions, NEmbd: m.HiddenSize, NLayer: m.DecoderLayer, NHead: m.Heads, NInner: m.MLPSize,
			LayerNormEpsilon: 1e-5, ActivationFunction: "gelu_new", EmbdPdrop: 0.1, AttnPdrop: 0.1, ResidPdrop: 0.1,
		},
		DecoderStartTokenID: eos, BOSTokenID: eos, EOSTokenID: eos, PadTokenID: eos,
		TieWordEmbeddings: true,
	}
}

// stepsPerEpoch of the training rows; the last batch is padded.
func stepsPerEpoch(w pipeline.Work) int64 {
	rows, batch := int64(w.Dataset.Rows[pipeline.SplitTrain]), int64(max(w.Train.BatchSize, 1))
	if w.Dataset.Seen > 0 {
		rows = int64(w.Dataset.Seen)
	}
	return (rows + batch - 1) / batch
}

// optimisation is the training of a run, all epochs.
func optimisation(w pipeline.Work) train.Config {
	t := w.Train
	steps := stepsPerEpoch(w) * int64(t.Epochs)
	c := train.Config{
		BatchSize: t.BatchSize, MicroBatchSize: t.MicroBatchSize, CaptionsPerPicture: t.CaptionsPerPicture, MaxLength: t.MaxLength,
		LearningRate: t.LearningRate, WeightDecay: t.WeightDecay, Beta1: t.Beta1, Beta2: t.Beta2, Epsilon: t.Epsilon,
		MaxGradNorm: t.MaxGradNorm, Dropout: t.Dropout, Precision: t.Precision, GradientCheckpointing: t.GradientCheckpointing,
		WarmupSteps: int64(t.WarmupFraction * float64(steps)), TotalSteps: steps, Seed: w.Seed,
	}
	if e := w.Extension; e != nil {
		rate := e.LearningRate
		if rate == 0 {
			rate = c.RateAfter(e.Step - 1)
		}
		c.HoldStep, c.HoldRate = e.Step, rate
	}
	return c
}

// stepsInAll is the number of the last step of training, extension included.
func stepsInAll(w pipeline.Work) int64 {
	epochs := w.Train.Epochs
	if e := w.Extension; e != nil {
		epochs = e.After + e.Epochs
	}
	return stepsPerEpoch(w) * int64(epochs)
}

func augment(a pipeline.AugmentConfig) dataset.Augment {
	return dataset.Augment{Shift: a.Shift, Scale: a.Scale, Rotation: a.Rotation, Color: a.Color}
}
