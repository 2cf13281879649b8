package activities

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset/pixels"
	"distilvit/model"
	"distilvit/model/tokenizer"
	"distilvit/pipeline"
)

// apart writes a ViT with its processor and a GPT-2 with its tokenizer into
// directories of their own.
func apart(t *testing.T) (encoder, decoder string) {
	t.Helper()
	encoder, decoder = t.TempDir(), t.TempDir()
	tok, err := tokenizer.Train(slices.Values([]string{
		"a red square", "a blue circle", "two green triangles",
	}), 270)
	check(t, err)
	check(t, tok.WriteDir(decoder))
	proc := pixels.NewProcessor(32)
	proc.Mean[0] = 0.25
	check(t, proc.WriteFile(encoder))
	m := tinyConfig().Model
	m.ImageSize = 32
	c := network(m, tok.VocabSize(), int(tok.EOS()))
	config, err := c.MarshalJSON()
	check(t, err)
	for dir, part := range map[string]string{encoder: "encoder", decoder: "decoder"} {
		_, own, _ := strings.Cut(string(config), `"`+part+`":`)
		own = own[:strings.Index(own, "}")+1]
		own = strings.Replace(own, `"add_cross_attention":true,`, "", 1) // which a GPT-2 by itself has not
		check(t, os.WriteFile(filepath.Join(dir, configFile), []byte(own), 0o644))
		w := model.Weights{}
		for name, x := range model.Init(c, 99) {
			if name, ok := strings.CutPrefix(name, part+"."); ok && !strings.Contains(name, "cross") {
				w[name] = x
			}
		}
		check(t, model.WriteWeights(filepath.Join(dir, weightsFile), w, nil))
	}
	return encoder, decoder
}

func TestEncoderAndDecoderAreJoinedBySeed(t *testing.T) {
	b := newBench(t)
	encoder, decoder := apart(t)
	c := tinyConfig()
	c.Model = pipeline.ModelConfig{Encoder: encoder, Decoder: decoder}
	do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: c})
	in := pipeline.PretrainedInput{Run: "run", Encoder: encoder, Decoder: decoder, Seed: 3}
	ref := do[record.ModelRef](b, b.StorePretrained, in)
	for _, name := range []string{configFile, processorFile, weightsFile, "tokenizer.json"} {
		if ref.Files[name].Size == 0 {
			t.Errorf("%s is not stored", name)
		}
	}
	local := t.TempDir()
	check(t, artifact.Fetch(t.Context(), b.Store, ref.Files, local))
	net, err := model.ReadConfig(local)
	check(t, err)
	stored, err := model.ReadWeights(local, net)
	check(t, err)
	_, want, err := (model.Parts{Encoder: encoder, Decoder: decoder}).Read(3)
	check(t, err)
	for name, w := range want {
		if !slices.Equal(stored[name].Data, w.Data) {
			t.Errorf("%s is stored otherwise", name)
		}
	}
	if proc, err := pixels.ReadProcessor(local); err != nil || proc.Mean[0] != 0.25 {
		t.Errorf("the processor is not the encoder's: %+v, %v", proc, err)
	}
	if again := do[record.ModelRef](b, b.StorePretrained, in); again.Digest != ref.Digest {
		t.Error("the same seed is stored twice")
	}
	in.Seed = 4
	if other := do[record.ModelRef](b, b.StorePretrained, in); other.Digest == ref.Digest {
		t.Error("another seed draws the same weights")
	}
	check(t, os.Remove(filepath.Join(decoder, weightsFile)))
	_, err = try[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "other", Config: c})
	wantType(t, err, pipeline.InvalidInput, "model.encoder and model.decoder: "+decoder+
		" has neither model.safetensors nor pytorch_model.bin")
}

// A DINOv2 for larger pictures is made one for those that its processor cuts out.
func TestAnEncoderIsFittedToItsProcessorsPictures(t *testing.T) {
	b := newBench(t)
	_, decoder := apart(t)
	encoder := "../model/testdata/variants/parts-dinov2/encoder"
	c := tinyConfig()
	c.Model = pipeline.ModelConfig{Encoder: encoder, Decoder: decoder}
	do[pipeline.PreflightResult](b, b.Preflight, pipeline.PreflightInput{Run: "run", Config: c})
	in := pipeline.PretrainedInput{Run: "run", Encoder: encoder, Decoder: decoder, Seed: 3}
	ref := do[record.ModelRef](b, b.StorePretrained, in)
	local := t.TempDir()
	check(t, artifact.Fetch(t.Context(), b.Store, ref.Files, local))
	net, err := model.ReadConfig(local)
	check(t, err)
	if net.Encoder.Kind != model.DINOv2 || net.Encoder.ImageSize != 16 {
		t.Errorf("the encoder is %+v", net.Encoder)
	}
	_, err = model.ReadWeights(local, net)
	check(t, err)
	proc, err := pixels.ReadProcessor(local)
	if err != nil || proc.Resized.ShortestEdge != 19 || proc.Width != 16 || proc.Resample != pixels.Bicubic {
		t.Errorf("the processor is %+v, %v", proc, err)
	}
}

func TestATextModelBesideTheEncoderIsNamed(t *testing.T) {
	b := newBench(t)
	_, decoder := apart(t)
	encoder := t.TempDir()
	check(t, os.CopyFS(encoder, os.DirFS("../model/testdata/variants/parts-siglip/encoder")))
	c := tinyConfig()
	c.Model = pipeline.ModelConfig{Encoder: encoder, Decoder: decoder}
	in := pipeline.PreflightInput{Run: "run", Config: c}
	_, err := try[pipeline.PreflightResult](b, b.Preflight, in)
	wantType(t, err, pipeline.InvalidInput, processorFile+": does not exist")
	check(t, pixels.NewProcessor(24).WriteFile(encoder))
	_, err = try[pipeline.PreflightResult](b, b.Preflight, in)
	wantType(t, err, pipeline.InvalidInput, "pictures are 24 pixels high, the encoder takes 16")
	check(t, pixels.NewProcessor(16).WriteFile(encoder))
	out := do[pipeline.PreflightResult](b, b.Preflight, in)
	if !strings.Contains(strings.Join(out.Warnings, "\n"), "the SigLIP vision model is taken; its text model") {
		t.Errorf("warnings %q", out.Warnings)
	}
}
