package activities

import (
	"slices"
	"strings"
	"testing"

	"distilvit/artifact/record"
	"distilvit/model/train"
	"distilvit/pipeline"
)

// of so many training pictures, in batches of 10: 25 steps an epoch.
func scheduledWork(change func(*pipeline.Work)) pipeline.Work {
	c := pipeline.Default().Train
	c.Epochs, c.BatchSize, c.LearningRate = 4, 10, 1
	w := pipeline.Work{Train: c, Dataset: pipeline.Dataset{Rows: map[string]int{pipeline.SplitTrain: 250}}}
	change(&w)
	return w
}

func TestScheduleIsOfTheStepsThatAreTrained(t *testing.T) {
	w := scheduledWork(func(w *pipeline.Work) {})
	if c := optimisation(w); c.TotalSteps != 100 || c.WarmupSteps != 5 || c.Scheduler != "" || stepsInAll(w, nil) != 100 ||
		mostSteps(w, 3) != 0 {
		t.Errorf("%+v, %d steps", c, stepsInAll(w, nil))
	}
	w = scheduledWork(func(w *pipeline.Work) {
		w.Train.MaxSteps, w.Train.WarmupSteps, w.Train.LRSchedulerType = 60, 7, pipeline.CosineSchedule
		w.Train.LabelSmoothingFactor, w.Train.EMA = 0.1, 0.99
	})
	if c := optimisation(w); c.TotalSteps != 60 || c.WarmupSteps != 7 || c.Scheduler != train.Cosine ||
		c.LabelSmoothing != 0.1 || c.EMA != 0.99 {
		t.Errorf("%+v", c)
	}
	if stepsInAll(w, nil) != 60 || mostSteps(w, 1) != 35 || mostSteps(w, 2) != 10 {
		t.Errorf("%d steps, epochs of at most %d and %d", stepsInAll(w, nil), mostSteps(w, 1), mostSteps(w, 2))
	}
}

// The epoch that max_steps cut short is over; those of an extension are whole, and of the one after it.
func TestExtensionOfAShortEpochTrainsWholeOnes(t *testing.T) {
	for _, c := range []struct {
		after int
		from  record.CheckpointRef // where the extension's branch began
		want  int64
	}{
		{2, record.CheckpointRef{Epoch: 2, Step: 50}, 50 + 50},
		{3, record.CheckpointRef{Epoch: 3, Step: 60}, 60 + 50},
		{5, record.CheckpointRef{Epoch: 5, Step: 110}, 110 + 50},               // extended once more
		{5, record.CheckpointRef{Epoch: 6, Step: 135}, 110 + 50},               // and rolled back within it
		{3, record.CheckpointRef{Epoch: 2, Step: 57, EpochStep: 7}, 50 + 25*3}, // after a stop within the third
	} {
		w := scheduledWork(func(w *pipeline.Work) {
			w.Train.MaxSteps = 60
			w.Extension = &record.Extension{After: c.after, Epochs: 2, Step: min(60, int64(c.after)*25)}
		})
		if got := stepsInAll(w, &c.from); got != c.want || mostSteps(w, c.after) != 0 {
			t.Errorf("after %d epochs, from %+v: %d steps in all, want %d", c.after, c.from, got, c.want)
		}
		if opt := optimisation(w); opt.TotalSteps != 60 || opt.HoldStep != w.Extension.Step ||
			opt.HoldRate != opt.RateAfter(w.Extension.Step-1) {
			t.Errorf("%+v", opt)
		}
	}
}

func TestSchedulesOfTheConfigAreTheTrainers(t *testing.T) {
	for config, trainers := range map[string]string{
		pipeline.LinearSchedule: train.Linear, pipeline.CosineSchedule: train.Cosine,
		pipeline.ConstantSchedule: train.Constant, pipeline.ConstantAfterWarmup: train.ConstantWithWarmup,
	} {
		if config != trainers {
			t.Errorf("%s is %s in model/train", config, trainers)
		}
	}
}

func TestCardSaysWhatIsTrainedOtherwise(t *testing.T) {
	rate, no := 1e-5, false
	c := pipeline.TrainConfig{Freeze: pipeline.Paths{"encoder", "decoder.norm"}, LayerDecay: 0.8, Parts: []pipeline.PartConfig{
		{Match: "encoder.norm", LearningRate: &rate, Freeze: &no},
	}}
	want := "not trained: encoder, decoder.norm; learning rate times 0.8 a layer; encoder.norm, learning rate 1e-05, trained"
	if got := partsText(c); got != want {
		t.Errorf("%q", got)
	}
	c = pipeline.TrainConfig{LoRA: pipeline.LoRAConfig{R: 8, Alpha: 16, TargetModules: pipeline.Paths{"c_attn", "query"}}}
	want = "LoRA, r 8, lora_alpha 16 (lora_alpha / r), dropout 0, of c_attn, query; the rest not trained"
	if got := partsText(c); got != want {
		t.Errorf("%q", got)
	}
	if got := partsText(pipeline.TrainConfig{}); got != "" {
		t.Errorf("%q", got)
	}
}

// What the config freezes comes before its parts, so that a part can take a tensor out again.
func TestPartsThatMeanNothingAreNamedByTheirKey(t *testing.T) {
	net := network(pipeline.ModelConfig{
		ImageSize: 32, PatchSize: 16, HiddenSize: 16, EncoderLayer: 2, DecoderLayer: 2, Heads: 2, MLPSize: 32, Positions: 8,
	}, 300, 0)
	yes, no := true, false
	c := pipeline.TrainConfig{
		Freeze: pipeline.Paths{"encoder", "decoder.norm"}, Parts: []pipeline.PartConfig{{Match: "encoder.norm", Freeze: &no}},
	}
	check(t, checkParts(net, c))
	if all := parts(c); len(all) != 3 || !*all[0].Freeze || all[2].Match != "encoder.norm" || *all[2].Freeze {
		t.Errorf("%+v", all)
	}
	for want, change := range map[string]func(*pipeline.TrainConfig){
		`train.freeze[1]: no tensor has the name "encoder.layer.1"; near ones are encoder.layers.1`: func(c *pipeline.TrainConfig) {
			c.Freeze = pipeline.Paths{"decoder", "encoder.layer.1"}
		},
		`train.parts[0].match: no tensor has the name "decoder.layers.2" of "decoder.layers.0-2"`: func(c *pipeline.TrainConfig) {
			c.Parts[0] = pipeline.PartConfig{Match: "decoder.layers.0-2", Freeze: &yes}
		},
		`train.lora.target_modules[1]: no linear layer has the name "querry"; near ones are query`: func(c *pipeline.TrainConfig) {
			c.LoRA = pipeline.LoRAConfig{R: 8, TargetModules: pipeline.Paths{"c_attn", "querry"}}
		},
		"every tensor is frozen": func(c *pipeline.TrainConfig) { c.Freeze, c.Parts = pipeline.Paths{"*"}, nil },
	} {
		changed := c
		changed.Parts = slices.Clone(c.Parts)
		change(&changed)
		if err := checkParts(net, changed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestCardSaysHowTheRateGoes(t *testing.T) {
	for want, change := range map[string]func(*pipeline.TrainConfig){
		"linear decay, 0.05 of all steps warm-up": func(*pipeline.TrainConfig) {},
		"constant rate": func(c *pipeline.TrainConfig) { c.LRSchedulerType = pipeline.ConstantSchedule },
		"cosine decay, 30 steps warm-up; label smoothing 0.1; average of the weights, decay 0.999": func(c *pipeline.TrainConfig) {
			c.LRSchedulerType, c.WarmupSteps = pipeline.CosineSchedule, 30
			c.LabelSmoothingFactor, c.EMA = 0.1, 0.999
		},
	} {
		c := pipeline.Default().Train
		change(&c)
		if got := scheduleText(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
