package activities

import (
	"errors"
	"fmt"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/model"
	"distilvit/model/preset"
	"distilvit/model/tokenizer"
	"distilvit/model/train"
	"distilvit/pipeline"
)

// network is the architecture of a model built from scratch, with a tokenizer's vocabulary and end token.
func network(m pipeline.ModelConfig, vocab, eos int) *model.Config {
	c := model.NewConfig(preset.Sizes{
		Prefix: m.Kind == pipeline.ModelPrefix, DecoderHiddenSize: m.DecoderHiddenSize, DecoderHeads: m.DecoderHeads,
		KeyValueHeads: m.KeyValueHeads, DecoderMLPSize: m.DecoderMLPSize,
		ImageSize: m.ImageSize, PatchSize: m.PatchSize, HiddenSize: m.HiddenSize,
		EncoderLayers: m.EncoderLayer, DecoderLayers: m.DecoderLayer, Heads: m.Heads, MLPSize: m.MLPSize,
		VocabSize: vocab, Positions: m.Positions,
	})
	if c.Kind == model.Prefix {
		c.SetProjection(m.Projection)
	}
	if m.ScaleFactor > 0 {
		c.SetScaleFactor(m.ScaleFactor)
	}
	c.SetSpecialToken(eos)
	return &c
}

// setPrompt makes the config's prompt a network's, if there is one.
func setPrompt(c *model.Config, prompt string, t *tokenizer.Tokenizer) error {
	switch {
	case prompt == "":
		return nil
	case c.Kind != model.Prefix:
		return invalid("model.prompt: is that of the kind prefix, and the decoder is a GPT-2 with cross-attention")
	}
	c.SetPrompt(t.Encode(prompt))
	return nil
}

func stepsPerEpoch(w pipeline.Work) int64 {
	return pipeline.StepsPerEpoch(w.Dataset, w.Train.BatchSize)
}

// scheduled is the number of steps that the config asks for; an extension's come after them.
func scheduled(w pipeline.Work) int64 {
	if n := w.Train.MaxSteps; n > 0 {
		return int64(n)
	}
	return stepsPerEpoch(w) * int64(w.Train.Epochs)
}

// mostSteps of an epoch, 0-based, which max_steps may cut short; 0: as many as its pictures give.
func mostSteps(w pipeline.Work, epoch int) int64 {
	if w.Extension != nil || w.Train.MaxSteps == 0 {
		return 0
	}
	return int64(w.Train.MaxSteps) - stepsPerEpoch(w)*int64(epoch)
}

// optimisation is the training of a run, all epochs.
func optimisation(w pipeline.Work) train.Config {
	t := w.Train
	steps := scheduled(w)
	c := train.Config{
		BatchSize: t.BatchSize, MicroBatchSize: t.MicroBatchSize, CaptionsPerPicture: t.CaptionsPerPicture,
		MaxLength: t.MaxLength, LearningRate: t.LearningRate, WeightDecay: t.WeightDecay,
		Beta1: t.Beta1, Beta2: t.Beta2, Epsilon: t.Epsilon, MaxGradNorm: t.MaxGradNorm,
		Dropout: t.Dropout, Precision: t.Precision, GradientCheckpointing: t.GradientCheckpointing,
		LabelSmoothing: t.LabelSmoothingFactor, EMA: t.EMA,
		Parts: parts(t), LayerDecay: t.LayerDecay, LoRA: lora(t.LoRA), Teacher: teacher(t),
		Scheduler: t.LRSchedulerType, WarmupSteps: int64(t.WarmupSteps), TotalSteps: steps, Seed: w.Seed,
	}
	if c.WarmupSteps == 0 {
		c.WarmupSteps = int64(t.WarmupFraction * float64(steps))
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

// parts are what is frozen and, after that, the config's parts.
func parts(t pipeline.TrainConfig) []train.Part {
	var all []train.Part
	for _, pattern := range t.Freeze {
		freeze := true
		all = append(all, train.Part{Match: pattern, Freeze: &freeze})
	}
	for _, p := range t.Parts {
		all = append(all, train.Part(p))
	}
	return all
}

// lora is nil where no adapters are trained.
func lora(l pipeline.LoRAConfig) *model.LoRA {
	if l.R == 0 {
		return nil
	}
	return &model.LoRA{R: l.R, Alpha: l.Alpha, Dropout: l.Dropout, RSLoRA: l.RSLoRA, TargetModules: l.TargetModules}
}

// teacher is nil where nobody teaches beside the captions.
func teacher(t pipeline.TrainConfig) *train.Teacher {
	if t.Teacher == "" {
		return nil
	}
	return &train.Teacher{Weight: t.TeacherWeight, Temperature: t.TeacherTemperature}
}

// checkLoRA makes sure that a given adapter is what the config trains, and says of new layers that nothing trains.
func checkLoRA(net *model.Config, c pipeline.Config, from givenModel) (notes []string, err error) {
	t := train.Config{LoRA: lora(c.Train.LoRA), Parts: parts(c.Train)}
	if t.LoRA == nil {
		return nil, nil
	}
	if from.encoder != "" {
		drawn := "decoder.cross_attention"
		if net.Kind == model.Prefix {
			drawn = "projection"
		}
		fresh, err := train.FrozenOf(net, t, drawn)
		if err != nil {
			return nil, invalid("train.lora: %v", err)
		}
		if fresh != "" {
			notes = append(notes, fmt.Sprintf("train.lora: %s is new, drawn by seed, and frozen; train it whole, with "+
				"train.parts: [{match: %s, freeze: false}]", fresh, drawn))
		}
	}
	if from.adapter == "" {
		return notes, nil
	}
	has, given, err := model.ReadAdapter(from.adapter, net)
	if err != nil {
		return nil, invalid("model.adapter: %v", err)
	}
	if l := t.LoRA; has.R != l.R || has.Alpha != l.Alpha || has.RSLoRA != l.RSLoRA {
		return nil, invalid("model.adapter has r %d, lora_alpha %g, use_rslora %v; train.lora has %d, %g, %v: they must be "+
			"the same", has.R, has.Alpha, has.RSLoRA, l.R, l.Alpha, l.RSLoRA)
	}
	if _, err := train.Adapters(net, t, given, 0); err != nil {
		return nil, invalid("model.adapter: %v", err)
	}
	return notes, nil
}

// checkParts makes sure that a network has what the config's parts mean.
func checkParts(net *model.Config, t pipeline.TrainConfig) error {
	err := train.CheckParts(net, train.Config{Parts: parts(t), LayerDecay: t.LayerDecay, LoRA: lora(t.LoRA)})
	var pattern *train.PatternError
	var target *model.TargetError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &target):
		return invalid("train.lora.target_modules[%d]: %v", target.Target, err)
	case !errors.As(err, &pattern) && t.LoRA.R > 0:
		return invalid("train.lora: %v", err)
	case !errors.As(err, &pattern):
		return invalid("train.freeze: %v", err)
	case pattern.Part < len(t.Freeze):
		return invalid("train.freeze[%d]: %v", pattern.Part, err)
	}
	return invalid("train.parts[%d].match: %v", pattern.Part-len(t.Freeze), err)
}

// stepsInAll is the number of the last step of training, extension included, whose epochs are whole ones: it is
// counted from where the branch began, since max_steps or a stop may have cut short any epoch before.
func stepsInAll(w pipeline.Work, from *record.CheckpointRef) int64 {
	e := w.Extension
	if e == nil || from == nil {
		return scheduled(w)
	}
	return from.Step - from.EpochStep + stepsPerEpoch(w)*int64(e.After+e.Epochs-from.Epoch)
}

func augment(a pipeline.AugmentConfig) dataset.Augment {
	return dataset.Augment{Shift: a.Shift, Scale: a.Scale, Rotation: a.Rotation, Color: a.Color}
}
