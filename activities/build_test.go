package activities

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/dataset"
	"distilvit/model"
	"distilvit/model/tokenizer"
	"distilvit/pipeline"
)

// pretrained writes a Hugging Face directory with random weights.
func pretrained(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	tok, err := tokenizer.Train(slices.Values([]string{"a red square", "a blue circle", "two green triangles"}), 270)
	check(t, err)
	check(t, tok.WriteDir(dir))
	m := tinyConfig().Model
	c := network(m, tok.VocabSize(), int(tok.EOS()))
	check(t, c.WriteFile(dir))
	check(t, dataset.NewProcessor(m.ImageSize).WriteFile(dir))
	check(t, model.WriteWeights(filepath.Join(dir, weightsFile), model.Init(c, 99), nil))
	return dir
}

func TestGivenWeightsAreTrainedFrom(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	dir := pretrained(t)
	ref := do[pipeline.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Weights: dir})
	for _, name := range []string{configFile, processorFile, weightsFile, "tokenizer.json"} {
		if o := ref.Files[name]; o.Key != "weights/"+ref.Digest+"/"+name {
			t.Errorf("%s is stored as %q", name, o.Key)
		}
	}
	scratch, _ := b.work("scratch", c)
	built := do[pipeline.ModelRef](b, b.BuildModel, pipeline.BuildModelInput{
		Run: "run", Model: pipeline.ModelConfig{Weights: dir}, Pretrained: &ref, Dataset: scratch.Dataset, Train: c.Train, MaxLength: c.Evaluate.MaxLength,
	})
	if built.Files[weightsFile] != ref.Files[weightsFile] || built.Files["generation_config.json"].Size == 0 {
		t.Errorf("built from given weights: %v", built.Files)
	}
	in := pipeline.TokenizeInput{Run: "run", Dataset: scratch.Dataset, Model: built, MaxLength: c.Train.MaxLength, Last: scratch.Dataset.Shards}
	plan := do[pipeline.TokenizePlan](b, b.PlanTokenize, in)
	tokens := do[pipeline.Tokens](b, b.FinishTokens, pipeline.FinishTokensInput{
		Run: "run", Tokens: plan.Tokens, Shards: do[pipeline.TokenizeResult](b, b.TokenizeShards, in).Shards,
	})
	w := scratch
	w.Run, w.Model, w.Tokens = "run", built, tokens
	w.Train.LearningRate = 1e-12 // stays where it started
	end := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	local := filepath.Join(t.TempDir(), "end")
	m, err := b.readCheckpoint(t.Context(), end.Checkpoint.Manifest)
	check(t, err)
	check(t, b.fetchAll(t.Context(), m.Files, local))
	net, err := model.ReadConfig(dir)
	check(t, err)
	given, err := model.ReadWeights(dir, net)
	check(t, err)
	trained, err := model.ReadWeights(local, net)
	check(t, err)
	for name, g := range given {
		for i, v := range trained[name].Data {
			if d := v - g.Data[i]; d > 1e-6 || d < -1e-6 {
				t.Fatalf("%s[%d] is %v, given %v", name, i, v, g.Data[i])
			}
		}
	}
}

func TestGivenFilesThatDoNotFitAreNamed(t *testing.T) {
	b := newBench(t)
	dir := pretrained(t)
	only := do[pipeline.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Tokenizer: dir})
	if only.Files["tokenizer.json"].Size == 0 || only.Files[configFile].Key != "" || only.Files[weightsFile].Key != "" {
		t.Errorf("a tokenizer alone is stored as %v", only.Files)
	}
	big := t.TempDir()
	tok, err := tokenizer.Train(slices.Values([]string{strings.Repeat("many different words in here ", 3)}), 290)
	check(t, err)
	check(t, tok.WriteDir(big))
	_, err = try[pipeline.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Weights: dir, Tokenizer: big})
	wantType(t, err, pipeline.InvalidInput, "the tokenizer has")
	check(t, os.Truncate(filepath.Join(dir, weightsFile), 5000))
	_, err = try[pipeline.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Weights: dir})
	wantType(t, err, pipeline.InvalidInput, "model.weights: ")
}
