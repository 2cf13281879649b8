package activities

import (
	"os"
	"path/filepath"
	"reflect"
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

// pretrained writes a Hugging Face directory with random weights.
func pretrained(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	tok, err := tokenizer.Train(slices.Values([]string{
		"a red square", "a blue circle", "two green triangles",
	}), 270)
	check(t, err)
	check(t, tok.WriteDir(dir))
	m := tinyConfig().Model
	c := network(m, tok.VocabSize(), int(tok.EOS()))
	check(t, c.WriteFile(dir))
	check(t, pixels.NewProcessor(m.ImageSize).WriteFile(dir))
	check(t, model.WriteWeights(filepath.Join(dir, weightsFile), model.Init(c, 99), nil))
	return dir
}

func TestGivenWeightsAreTrainedFrom(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	dir := pretrained(t)
	ref := do[record.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Weights: dir})
	for _, name := range []string{configFile, processorFile, weightsFile, "tokenizer.json"} {
		if o := ref.Files[name]; o.Key != "weights/"+ref.Digest+"/"+name {
			t.Errorf("%s is stored as %q", name, o.Key)
		}
	}
	scratch, _ := b.work("scratch", c)
	built := do[record.ModelRef](b, b.BuildModel, pipeline.BuildModelInput{
		Run: "run", Model: pipeline.ModelConfig{Weights: dir}, Pretrained: &ref, Dataset: scratch.Dataset,
		Train: c.Train, MaxLength: c.Evaluate.MaxLength,
	})
	for _, from := range []pipeline.BuildModelInput{{Model: c.Model}, {Pretrained: &ref}} {
		from.Run, from.Dataset, from.Train, from.MaxLength = "run", scratch.Dataset, c.Train, c.Evaluate.MaxLength
		from.Train.Dropout = 0.25
		var d struct{ Decoder model.GPT2Config }
		check(t, b.Store.GetJSON(t.Context(), do[record.ModelRef](b, b.BuildModel, from).Files[configFile].Key, &d))
		if d := d.Decoder; d.EmbdPdrop != 0.25 || d.AttnPdrop != 0.25 || d.ResidPdrop != 0.25 {
			t.Errorf("trained with dropout 0.25, config.json says %g, %g and %g",
				d.EmbdPdrop, d.AttnPdrop, d.ResidPdrop)
		}
	}
	if built.Files[weightsFile] != ref.Files[weightsFile] || built.Files["generation_config.json"].Size == 0 {
		t.Errorf("built from given weights: %v", built.Files)
	}
	in := pipeline.TokenizeInput{
		Run: "run", Dataset: scratch.Dataset, Model: built, MaxLength: c.Train.MaxLength,
		Last: scratch.Dataset.Shards,
	}
	plan := do[pipeline.TokenizePlan](b, b.PlanTokenize, in)
	tokens := do[pipeline.Tokens](b, b.FinishTokens, pipeline.FinishTokensInput{
		Run: "run", Tokens: plan.Tokens, Shards: do[pipeline.TokenizeResult](b, b.TokenizeShards, in).Shards,
	})
	w := scratch
	w.Run, w.Model, w.Tokens = "run", built, tokens
	w.Train.LearningRate = 1e-12 // stays where it started
	end := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	local := filepath.Join(t.TempDir(), "end")
	m, err := artifact.ReadCheckpoint(t.Context(), b.Store, end.Checkpoint.Manifest)
	check(t, err)
	check(t, artifact.Fetch(t.Context(), b.Store, m.Files, local))
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

// A run forbids what its config and its weights' generation_config.json forbid, and says so in its own.
func TestWhatCaptionsMaySayIsKept(t *testing.T) {
	b := newBench(t)
	dir, c := pretrained(t), tinyConfig()
	const policy = `{"do_sample": true, "num_beams": 5, "bad_words_ids": [[7], [8, 9]],
		"repetition_penalty": 1.5, "no_repeat_ngram_size": 3}`
	check(t, os.WriteFile(filepath.Join(dir, generationFile), []byte(policy), 0o644))
	plain := do[record.ModelRef](
		b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Weights: pretrained(t)},
	)
	if o := plain.Files[generationFile]; o.Key != "" {
		t.Errorf("weights without a policy are stored with %v", o)
	}
	ref := do[record.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Weights: dir})
	tok, err := tokenizer.Load(dir)
	check(t, err)
	in := pipeline.BuildModelInput{
		Run: "run", Model: pipeline.ModelConfig{Weights: dir}, Pretrained: &ref, Train: c.Train,
		MaxLength: c.Evaluate.MaxLength,
		Generate: pipeline.GenerateConfig{
			BadWords: []string{"red"}, SuppressTokens: []int{3}, RepetitionPenalty: 1.2,
		},
	}
	built := do[pipeline.BuiltModel](b, b.BuildModel, in)
	warned := []string{
		"Transformers.js 2: bad_words_ids forbids the last token of a word of several tokens until the caption is " +
			"longer than the word",
		"Transformers.js 2: repetition_penalty is applied as often as a token came",
	}
	if !slices.Equal(built.Warnings, warned) {
		t.Errorf("the run is told %q, want %q", built.Warnings, warned)
	}
	o, err := b.generateOptions(t.Context(), built.ModelRef, 12)
	check(t, err)
	want := model.GenerateOptions{
		MaxLength: 12, NumBeams: 1, LengthPenalty: 1, RepetitionPenalty: 1.2, NoRepeatNGramSize: 3,
		BadWordsIDs:    []model.TokenIDs{{7}, {8, 9}, tok.Encode("red"), tok.Encode(" red"), {3}},
		SuppressTokens: model.TokenIDs{3}, EOSTokenID: o.EOSTokenID,
		DecoderStartTokenID: o.DecoderStartTokenID,
	}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("captions are decoded by %+v instead of %+v", o, want)
	}
	in.Generate.SuppressTokens = []int{5000}
	_, err = try[record.ModelRef](b, b.BuildModel, in)
	wantType(t, err, pipeline.InvalidInput, "generate: suppress_tokens has the token id 5000")
}

func TestGivenFilesThatDoNotFitAreNamed(t *testing.T) {
	b := newBench(t)
	dir := pretrained(t)
	only := do[record.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Tokenizer: dir})
	if only.Files["tokenizer.json"].Size == 0 || only.Files[configFile].Key != "" ||
		only.Files[weightsFile].Key != "" {
		t.Errorf("a tokenizer alone is stored as %v", only.Files)
	}
	big := t.TempDir()
	tok, err := tokenizer.Train(slices.Values([]string{strings.Repeat("many different words in here ", 3)}), 290)
	check(t, err)
	check(t, tok.WriteDir(big))
	_, err = try[record.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{
		Run: "run", Weights: dir, Tokenizer: big,
	})
	wantType(t, err, pipeline.InvalidInput, "the tokenizer has")
	check(t, os.Truncate(filepath.Join(dir, weightsFile), 5000))
	_, err = try[record.ModelRef](b, b.StorePretrained, pipeline.PretrainedInput{Run: "run", Weights: dir})
	wantType(t, err, pipeline.InvalidInput, "model.weights: ")
}

// Thai, say: what captions need is found out, by a tokenizer trained on them, and what no length holds is cut
// and counted, also when the tokens are found again.
func TestLengthsAreFittedToTheTrainingCaptions(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	w, _ := b.work("run", c)
	c.Train.MaxLength, c.Evaluate.MaxLength = 0, 0
	in := pipeline.BuildModelInput{Run: "run", Model: c.Model, Dataset: w.Dataset, Train: c.Train}
	want := pipeline.Lengths{Train: 32, Evaluate: 32} // the positions
	if c.Model.Positions > 32 {
		want.Evaluate = 33
	}
	built := do[pipeline.BuiltModel](b, b.BuildModel, in)
	var g struct {
		MaxLength int `json:"max_length"`
	}
	check(t, b.Store.GetJSON(t.Context(), built.Files["generation_config.json"].Key, &g))
	if built.Lengths != want || g.MaxLength != want.Evaluate {
		t.Errorf("%+v, generation_config.json: %d, want %+v", built.Lengths, g.MaxLength, want)
	}
	in.Model.Positions = 4
	built = do[pipeline.BuiltModel](b, b.BuildModel, in)
	if want := (pipeline.Lengths{Train: 4, Evaluate: 4}); built.Lengths != want {
		t.Errorf("of 4 positions %+v are used", built.Lengths)
	}
	cut := pipeline.TokenizeInput{
		Run: "run", Dataset: w.Dataset, Model: built.ModelRef, MaxLength: 4, Last: w.Dataset.Shards,
	}
	plan := do[pipeline.TokenizePlan](b, b.PlanTokenize, cut)
	shards := do[pipeline.TokenizeResult](b, b.TokenizeShards, cut)
	finish := pipeline.FinishTokensInput{Run: "run", Tokens: plan.Tokens, Shards: shards.Shards}
	do[pipeline.Tokens](b, b.FinishTokens, finish) // a program that did not count
	finish.Cut = shards.Cut
	do[pipeline.Tokens](b, b.FinishTokens, finish)
	if again := do[pipeline.TokenizePlan](b, b.PlanTokenize, cut); shards.Cut == 0 || !again.Reused || again.Cut != 0 {
		t.Errorf("%d are cut; found again: %+v", shards.Cut, again)
	}
	cut.MaxLength = 3
	finish.Tokens = do[pipeline.TokenizePlan](b, b.PlanTokenize, cut).Tokens
	shards = do[pipeline.TokenizeResult](b, b.TokenizeShards, cut)
	finish.Shards, finish.Cut = shards.Shards, shards.Cut
	do[pipeline.Tokens](b, b.FinishTokens, finish)
	if again := do[pipeline.TokenizePlan](b, b.PlanTokenize, cut); again.Cut != shards.Cut {
		t.Errorf("%d are cut; found again: %+v", shards.Cut, again)
	}
}
