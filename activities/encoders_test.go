package activities

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset/pixels"
	"distilvit/model"
	"distilvit/pipeline"
)

// A run that starts from the directory of a SigLIP, a CLIP or a DINOv2 goes through every stage, and what it
// publishes is that encoder with its own processor.
func TestARunStartsFromAnEncoderOfEachKind(t *testing.T) {
	clip := pixels.NewProcessor(16)
	clip.Resample, clip.Resized = pixels.Bicubic, pixels.Resized{ShortestEdge: 16}
	clip.Mean = [3]float32{0.48145466, 0.4578275, 0.40821073}
	clip.Std = [3]float32{0.26862954, 0.26130258, 0.27577711}
	siglip := pixels.NewProcessor(16)
	siglip.Resample = pixels.Bicubic
	for _, kind := range []struct {
		name      string
		kind      model.EncoderKind
		processor *pixels.Processor // nil: the directory's own
		adapters  bool              // of the decoder are trained; else the decoder
		of        string            // the config's kind
		card      string            // what the card says of the decoder
	}{
		{"siglip", model.SigLIP, &siglip, false, "", "GPT-2 with cross-attention"},
		{"siglip", model.SigLIP, &siglip, false, pipeline.ModelPrefix, "GPT-2 behind 4 vectors of the picture"},
		{"clip", model.CLIP, &clip, true, "", "GPT-2 with cross-attention"},
		{"dinov2", model.DINOv2, nil, false, "", "GPT-2 with cross-attention"},
	} {
		t.Run(kind.name+kind.of, func(t *testing.T) {
			encoder := t.TempDir()
			check(t, os.CopyFS(encoder, os.DirFS("../model/testdata/variants/parts-"+kind.name+"/encoder")))
			if kind.processor != nil {
				check(t, kind.processor.WriteFile(encoder))
			}
			want, err := pixels.ReadProcessor(encoder)
			check(t, err)
			dir, given := publishFrom(t, encoder, kind.of, kind.adapters)
			c, err := model.ReadConfig(dir)
			check(t, err)
			if c.Encoder.Kind != kind.kind || c.Encoder.ImageSize != 16 {
				t.Errorf("the published encoder is %+v", c.Encoder)
			}
			wantFrozen(t, dir, given, "encoder")
			if kind.adapters {
				wantFrozen(t, dir, given, "decoder.layers.0.mlp")
				wantAdapter(t, dir, given)
			}
			if got, err := pixels.ReadProcessor(dir); err != nil || got != want {
				t.Errorf("the published processor is %+v, %v, want %+v", got, err, want)
			}
			card, err := os.ReadFile(filepath.Join(dir, cardFile))
			check(t, err)
			if !strings.Contains(string(card), "| Encoder | "+c.Encoder.Name()+", 2 layers, width 12") {
				t.Errorf("the card does not name the encoder:\n%s", card)
			}
			if prefix := kind.of == pipeline.ModelPrefix; c.GPT2 != prefix || !strings.Contains(string(card), kind.card) ||
				strings.Contains(string(card), "before a GPT-2's tokens (`LlavaForConditionalGeneration`)") != prefix {
				t.Errorf("the decoder is %+v, and the card\n%s", c, card)
			}
		})
	}
}

// wantFrozen compares a published directory's weights with those that training began with: a part that is frozen
// is the same, and some of the others are not.
func wantFrozen(t *testing.T, published, given, part string) {
	t.Helper()
	c, err := model.ReadConfig(published)
	check(t, err)
	after, err := model.ReadWeights(published, c)
	check(t, err)
	before, err := model.ReadWeights(given, c)
	check(t, err)
	names, err := c.Match(part)
	check(t, err)
	trained := 0
	for name, x := range before {
		same := slices.Equal(x.Data, after[name].Data)
		if !same {
			trained++
		}
		if slices.Contains(names, name) && !same {
			t.Errorf("frozen %s has changed", name)
		}
	}
	if trained == 0 {
		t.Error("nothing was trained")
	}
}

// wantAdapter makes sure that the published adapter makes of the weights that training began with those that are
// published.
func wantAdapter(t *testing.T, published, given string) {
	t.Helper()
	c, err := model.ReadConfig(published)
	check(t, err)
	after, err := model.ReadWeights(published, c)
	check(t, err)
	w, err := model.ReadWeights(given, c)
	check(t, err)
	l, adapter, err := model.ReadAdapter(filepath.Join(published, "adapter"), c)
	check(t, err)
	if l.R != 4 || adapter["decoder.transformer.h.0.attn.c_attn.lora_B.weight"] == nil {
		t.Errorf("the adapter is %+v with %d tensors", l, len(adapter))
	}
	maps.Copy(w, adapter)
	for name, x := range l.Merge(c, w) {
		if !slices.Equal(x.Data, after[name].Data) {
			t.Errorf("%s of the adapter is another one", name)
		}
	}
}

// publishFrom runs every stage from an encoder's directory, with few pictures and the encoder frozen, and answers
// the published directory and that which training began with. With adapters of the decoder only they and
// cross-attention are trained.
func publishFrom(t *testing.T, encoder, kind string, adapters bool) (published, given string) {
	_, decoder := apart(t)
	c := tinyConfig()
	c.Model = pipeline.ModelConfig{Kind: kind, Encoder: encoder, Decoder: decoder}
	c.Export.Dtypes = []string{pipeline.DtypeQ8}
	c.Train.Freeze = pipeline.Paths{"encoder"}
	if adapters {
		train := false
		c.Train.Freeze, c.Train.LoRA = nil, pipeline.LoRAConfig{R: 4, TargetModules: pipeline.Paths{"c_attn"}}
		c.Train.Parts = []pipeline.PartConfig{{Match: "decoder.cross_attention", Freeze: &train}}
	}
	b := newBench(t)
	published, w := publishSmall(b, c)
	given, err := b.modelDir(t.Context(), w.Model, true)
	check(t, err)
	return published, given
}

// publishSmall runs every stage of a config, with few pictures, and answers the published directory.
func publishSmall(b *bench, c pipeline.Config) (string, pipeline.Work) {
	t := b.T
	shapes := &c.Dataset[0].Shapes
	shapes.Train, shapes.Validation, shapes.Test, shapes.TestUnseen = 16, 4, 4, 0
	c = do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: c}).Config
	w, sources := b.work("run", c)
	epoch := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	test := do[pipeline.EvaluateResult](b, b.Evaluate, pipeline.EvaluateInput{
		Work: w, Split: pipeline.SplitTest, Checkpoint: epoch.Checkpoint, Evaluate: c.Evaluate,
	})
	if !(epoch.Loss > 0) || test.Metrics.Samples != 4 {
		t.Errorf("epoch %+v, test %+v", epoch, test.Metrics)
	}
	m, err := artifact.ReadCheckpoint(t.Context(), b.Store, epoch.Checkpoint.Manifest)
	check(t, err)
	all := w.Model.Files[weightsFile].Size
	if frozen := len(c.Train.Freeze) > 0 || c.Train.LoRA.R > 0; frozen != (m.Frozen != "") || frozen && m.Files[weightsFile].Size >= all {
		t.Errorf("the checkpoint's weights have %d bytes, all weights %d", m.Files[weightsFile].Size, all)
	}
	check(t, b.CloseTrainer(t.Context(), w))
	if _, err := b.onnxRuntime(); err != nil {
		t.Skipf("no export: %v", err)
	}
	export := do[record.Export](b, b.Export, pipeline.ExportInput{
		Work: w, Checkpoint: epoch.Checkpoint, Export: c.Export, MaxLength: c.Evaluate.MaxLength,
	})
	result := do[pipeline.Result](b, b.Publish, pipeline.PublishInput{
		Run: "run", Name: "encoder", Branch: 1, Config: c, Backend: pipeline.BackendGo,
		Best: record.Best{Epoch: 1, Checkpoint: epoch.Checkpoint, Eval: test.Metrics},
		Test: test, TestedOn: pipeline.SplitTest, Export: export, Dataset: w.Dataset, Sources: sources,
		History: []record.EpochRecord{{Epoch: 1, Step: epoch.Checkpoint.Step, TrainLoss: epoch.Loss}},
	})
	dir := t.TempDir()
	check(t, artifact.FetchModel(t.Context(), b.Store, result.Model, dir, nil))
	return dir, w
}

// A kind that the given networks are not of is refused with what to do.
func TestNetworksOfAnotherKindAreRefused(t *testing.T) {
	llama := &model.Config{Kind: model.Prefix}
	for want, d := range map[string]givenModel{
		"model.kind is cross_attention, and model.decoder is a Llama, which cannot have any: leave the key out": {
			kind: pipeline.ModelCrossAttention, encoder: "e", decoder: "d",
		},
		"model.kind is cross_attention, and model.weights is of the other kind: leave the key out": {
			kind: pipeline.ModelCrossAttention, weights: "w",
		},
	} {
		if err := d.ofKind(llama); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for _, kind := range []string{"", pipeline.ModelPrefix} {
		if err := (givenModel{kind: kind, weights: "w"}).ofKind(llama); err != nil {
			t.Errorf("%q: %v", kind, err)
		}
	}
}
