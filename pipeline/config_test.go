package pipeline

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write generated files")

const minimal = "dataset: [{kind: shapes}]\n"

func mustDecode(t *testing.T, text string, set ...string) Config {
	t.Helper()
	c, err := Decode([]byte(text), set...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// problems are "path: message" without lines.
func problems(t *testing.T, err error) []string {
	t.Helper()
	var e *ConfigError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a ConfigError", err)
	}
	var all []string
	for _, p := range e.Problems {
		all = append(all, p.Path+": "+p.Message)
	}
	return all
}

func TestAbsentKeysTakeDefaultsAndZeroStaysZero(t *testing.T) {
	c := mustDecode(t, minimal+"train: {dropout: 0, patience: 0}\nprepare: {max_bad_fraction: 0}\n")
	if c.Train.Dropout != 0 || c.Train.Patience != 0 || c.Prepare.MaxBadFraction != 0 {
		t.Errorf("a written 0 was replaced: %+v", c.Train)
	}
	want := Default()
	if c.Train.Beta2 != want.Train.Beta2 || c.Train.Epochs != want.Train.Epochs || c.Backend != "auto" {
		t.Errorf("an absent key has no default: %+v", c)
	}
	if got := c.Dataset[0].Shapes; got != defaultShapes() {
		t.Errorf("shapes without sizes: %+v", got)
	}
	c = mustDecode(t, "dataset: [{kind: shapes, shapes: {test_unseen: 0, train: 10}}]")
	if got := c.Dataset[0].Shapes; got.TestUnseen != 0 || got.Train != 10 || got.Validation != 300 {
		t.Errorf("shapes with some sizes: %+v", got)
	}
}

func TestSchedulesAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		"lr_scheduler_type: cosin": `train.lr_scheduler_type: is "cosin"; must be one of linear, cosine, ` +
			"constant_with_warmup, constant; did you mean cosine?",
		"lr_scheduler_type: constant, warmup_steps: 5": "train.warmup_steps: is 5; train.lr_scheduler_type " +
			"constant has no warm-up, constant_with_warmup has",
		"max_steps: 4, warmup_steps: 5": "train.warmup_steps: is 5; must be at most train.max_steps 4",
		"max_steps: -1":                 "train.max_steps: is -1; must be at least 0",
		"label_smoothing_factor: 1":     "train.label_smoothing_factor: is 1; must be at least 0 and below 1",
		"ema: 1":                        "train.ema: is 1; must be at least 0 and below 1",
	} {
		_, err := Decode([]byte(minimal + "train: {" + text + "}"))
		if got := problems(t, err); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q", text, got)
		}
	}
	// a run that began before there were these keys still has the same config
	text, err := json.Marshal(mustDecode(t, minimal).Train)
	for _, key := range []string{"lr_scheduler_type", "warmup_steps", "max_steps", "eval_steps", "label_smoothing", "ema"} {
		if err != nil || strings.Contains(string(text), key) {
			t.Errorf("%s has %s: %v", text, key, err)
		}
	}
	mustDecode(t, minimal+"train: {lr_scheduler_type: cosine, warmup_steps: 100, max_steps: 5000, ema: 0.999}")
}

func TestPartsAreChecked(t *testing.T) {
	given := "dataset: [{kind: shapes}]\nmodel: {weights: hf:a/b}\n"
	for text, want := range map[string]string{
		"lora: {lora_alpha: 8}":         "train.lora.r: is 0; must be from 1 to 4096",
		"lora: {r: 8, lora_dropout: 1}": "train.lora.lora_dropout: is 1; must be at least 0 and below 1",
		"lora: {r: 8, lora_alfa: 1}":    "train.lora.lora_alfa: unknown key; did you mean train.lora.lora_alpha?",
		"freeze: [encoder, '']":         "train.freeze[1]: is empty",
		"layer_decay: 1.5":              "train.layer_decay: is 1.5; must be from 0.01 to 1",
		"parts: [{learning_rate: 0.1}]": "train.parts[0].match: is missing; it names tensors, such as encoder or decoder.layers.0-2",
		"parts: [{match: encoder}]": "train.parts[0]: changes nothing; it wants learning_rate, " +
			"weight_decay or freeze",
		"parts: [{match: a, freez: true, weight_decay: 0}]": "train.parts[0].freez: unknown key; " +
			"did you mean train.parts[0].freeze?",
		"parts: [{match: encoder, learning_rate: 0}]": "train.parts[0].learning_rate: is 0; must be above 0 and at most 1, " +
			"or freeze: true",
	} {
		_, err := Decode([]byte(given + "train: {" + text + "}"))
		if got := problems(t, err); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q", text, got)
		}
	}
	_, err := Decode([]byte(minimal + "train: {freeze: encoder, parts: [{match: decoder, freeze: true}]}"))
	for i, path := range []string{"train.freeze", "train.parts[0].freeze"} {
		want := path + ": freezes weights drawn by seed, which know nothing yet; it needs model.weights, or " +
			"model.encoder and model.decoder"
		if got := problems(t, err); len(got) != 2 || got[i] != want {
			t.Errorf("%q", got)
		}
	}
	_, err = Decode([]byte(minimal + "train: {lora: {r: 8}}"))
	if got := problems(t, err); len(got) != 1 || !strings.HasPrefix(got[0], "train.lora: freezes weights drawn by seed") {
		t.Errorf("%q", got)
	}
	_, err = Decode([]byte("dataset: [{kind: shapes}]\nmodel: {weights: hf:a/b, adapter: hf:a/c}\n"))
	if got := problems(t, err); len(got) != 1 || !strings.HasPrefix(got[0], "model.adapter: goes on with adapters") {
		t.Errorf("%q", got)
	}
	if l := mustDecode(t, given+"train: {lora: {r: 4}}").Resolve().Train; l.LoRA.Alpha != 16 || l.LearningRate != 5e-4 {
		t.Errorf("%+v", l)
	}
	c := mustDecode(t, given+"train: {freeze: encoder, layer_decay: 0.8, "+
		"parts: [{match: encoder.layers.11, learning_rate: 1e-5, freeze: false}]}")
	if p := c.Train.Parts[0]; len(c.Train.Freeze) != 1 || *p.LearningRate != 1e-5 || *p.Freeze || p.WeightDecay != nil {
		t.Errorf("%+v", c.Train)
	}
	text, err := json.Marshal(mustDecode(t, minimal).Train)
	for _, key := range []string{"freeze", "layer_decay", "parts", "lora"} {
		if err != nil || strings.Contains(string(text), key) {
			t.Errorf("%s has %s: %v", text, key, err)
		}
	}
}

func TestAllMistakesAreReportedAtOnceWithPathLineAndWhatIsAllowed(t *testing.T) {
	_, err := Decode([]byte(`name: Über
dataset:
  - kind: coca
  - kind: folder
    images: https://example.org/pictures
    sha256: {captions: abc, picture: x}
train:
  epoch: 3
  batch_size: many
  dropout: 1
  augment: [1]
model:
  preset: tiny
  patch_size: 7
  epochs: 3
evaluate: {batch_size: 2.5, limit: -1}
`))
	want := []string{
		`line 1: name: is "Über"; must be 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit`,
		`line 3: dataset[0].kind: is "coca"; must be one of shapes, coco, karpathy, folder, json, webdataset, parquet; did you mean coco?`,
		`line 5: dataset[1].images: is a URL; it must name a .zip`,
		`line 6: dataset[1].sha256.captions: is "abc"; must be 64 lower-case hex digits`,
		`line 6: dataset[1].sha256: knows only the keys captions, images and files`,
		`line 8: train.epoch: unknown key; did you mean train.epochs?`,
		`line 9: train.batch_size: wants a whole number, not the text "many"`,
		`line 10: train.dropout: is 1; must be at least 0 and below 1`,
		`line 11: train.augment: wants keys and values, not a list`,
		`line 14: model.patch_size: is 7; must divide model.image_size 64`,
		`line 15: model.epochs: unknown key here; did you mean train.epochs?`,
		`line 16: evaluate.batch_size: wants a whole number, not 2.5`,
		`line 16: evaluate.limit: is -1; must be at least 0`,
	}
	got := map[string]bool{}
	for _, line := range strings.Split(err.Error(), "\n") {
		got[line] = true
	}
	for _, line := range want {
		if !got[line] {
			t.Errorf("missing: %s", line)
		}
		delete(got, line)
	}
	delete(got, "dataset[1].captions: is missing; kind folder needs it")
	for line := range got {
		t.Errorf("unexpected: %s", line)
	}
}

func TestImpossibleValuesAreRejected(t *testing.T) {
	for _, c := range []struct{ set, path string }{
		{"model.heads=3", "model.heads"},
		{"model.image_size=60", "model.patch_size"},
		{"model.vocab_size=256", "model.vocab_size"},
		{"train.micro_batch_size=5", "train.micro_batch_size"},
		{"train.precision=fp16", "train.precision"},
		{"train.max_length=65", "train.max_length"},
		{"evaluate.max_length=65", "evaluate.max_length"},
		{"train.learning_rate=2", "train.learning_rate"},
		{"train.epochs=0", "train.epochs"},
		{"train.epochs=-1", "train.epochs"},
		{"train.keep_checkpoints=0", "train.keep_checkpoints"},
		{"prepare.test_fraction=0.97", "prepare.test_fraction"},
		{"export.dtypes=[]", "export.dtypes"},
		{"export.dtypes=[q8, q8]", "export.dtypes[1]"},
		{"export.dtypes=[q3]", "export.dtypes[0]"},
		{"backend=gpu", "backend"},
		{"dataset=[]", "dataset"},
		{"dataset[0].split=train", "dataset"},
		{"dataset[0].split=test", "dataset"},
		{"dataset[0].shapes.validation=0", "dataset"},
		{"dataset[0].shapes.language=xx", "dataset[0].shapes.language"},
		{"dataset[0].shapes.max_objects=4", "dataset[0].shapes.max_objects"},
		{"dataset[0].captions=c.json", "dataset[0].captions"},
		{"dataset[0].files=c.parquet", "dataset[0].files"},
		{"dataset[0].id_column=id", "dataset[0].id_column"},
		{"seed=-1", "seed"},
		{"model.weights=gpt", "model.preset"},
		{"train.augment.scale=.nan", "train.augment.scale"},
		{"train=3", "train"},
		{"train.epochs", "train.epochs"},
		{"train.epochs=", "train.epochs"},
		{"train.epochs=[", "train.epochs"},
		{"dataset[3].limit=1", "dataset[3].limit"},
		{"epochs=3", "epochs"},
	} {
		_, err := Decode([]byte(minimal+"model: {preset: tiny}\n"), c.set)
		if err == nil {
			t.Errorf("%s is accepted", c.set)
			continue
		}
		if found := problems(t, err); !strings.HasPrefix(found[0], c.path+": ") {
			t.Errorf("%s: %q does not begin with %s", c.set, found, c.path)
		}
	}
}

func TestThePureGoBackendTrainsInFloat32Only(t *testing.T) {
	text := []byte(minimal + "model: {preset: tiny}\ntrain: {precision: bf16}\n")
	if _, err := Decode(text, "backend=xla"); err != nil {
		t.Error(err)
	}
	if _, err := Decode(text, "backend=go"); err == nil ||
		!strings.Contains(err.Error(), "train.precision: is bf16; backend go trains in float32 only") {
		t.Errorf("got %v", err)
	}
}

func TestAssignmentsOverrideWithTheKeysType(t *testing.T) {
	c := mustDecode(t, minimal, "train.epochs=7", "name=123", "export.dtypes=[\"fp32\"]", "dataset.0.limit=5",
		"dataset[1]={\"kind\":\"coco\",\"captions\":\"a.json\",\"images\":\"i\"}",
		"dataset[1].sha256.images="+strings.Repeat("0", 64), "train.learning_rate=1e-4",
		"train.augment.rotation=5", "prepare.exif_orientation=true")
	if c.Train.Epochs != 7 || c.Name != "123" || !reflect.DeepEqual(c.Export.Dtypes, []string{"fp32"}) ||
		c.Dataset[0].Limit != 5 || c.Dataset[1].Kind != "coco" ||
		c.Dataset[1].SHA256["images"] == "" || c.Train.LearningRate != 1e-4 ||
		c.Train.Augment.Rotation != 5 || !c.Prepare.ExifOrientation {
		t.Errorf("%+v", c)
	}
	if c := mustDecode(t, "", "dataset.0.kind=shapes"); len(c.Dataset) != 1 {
		t.Errorf("%+v", c.Dataset)
	}
}

func TestDocumentsThatCannotBeReadGiveOneLine(t *testing.T) {
	for _, c := range [][2]string{
		{`{"dataset": [`, "line 1: not valid JSON: unexpected end of JSON input"},
		{"{\"name\": \"a\",\n}",
			"line 2: not valid JSON: invalid character '}' looking for beginning of object key string"},
		{"dataset: [", "line 1: not valid YAML: did not find expected node content"},
		{"a: b: c", "not valid YAML"},
		{"[1, 2]", "wants keys and values, not a list"},
		{minimal + "---\nname: b", "holds more than one YAML document"},
		{minimal + "name: a\nname: b", "line 3: name: given twice"},
		{"", "dataset: is missing"},
	} {
		text, want := c[0], c[1]
		_, err := Decode([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestJSONPayloadIsAsStrictAndRoundTrips(t *testing.T) {
	c := mustDecode(
		t, minimal+"seed: 18446744073709551615\ntrain: {dropout: 0}\nname: \"\\U0001F600\"\n", "name=x",
	)
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var back Config
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, back) {
		t.Errorf("%+v\n%+v", c, back)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(data) {
		t.Errorf("%s\n%s", data, again)
	}
	if fromFile := mustDecode(t, string(data)); !reflect.DeepEqual(c, fromFile) {
		t.Errorf("%+v\n%+v", c, fromFile)
	}

	err = json.Unmarshal([]byte("{\n\t\"dataset\": [{\"kind\": \"shapes\"}],\n\t\"train\": {\"epoch\": "+
		"3, \"dropout\": 2},\n\t\"seed\": \"one\"}"), new(Config))
	if err == nil || err.Error() != "line 3: train.epoch: unknown key; did you mean train.epochs?\nline "+
		"3: train.dropout: is 2; must be at least 0 and below 1\nline 4: seed: wants a whole number from "+
		"0, not the text \"one\"" {
		t.Errorf("%v", err)
	}
	if err := json.Unmarshal([]byte(`{"train": {"epochs": 3.0}}`), &back); err != nil ||
		back.Train.Epochs != 3 || back.Train.Beta1 != 0.9 {
		t.Errorf("%v %+v", err, back.Train)
	}
	if err := back.Validate(); err == nil || !strings.Contains(err.Error(), "dataset: is missing") {
		t.Errorf("%v", err)
	}
}

func TestKindsOfModelsAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		"kind: prefixed": `model.kind: is "prefixed"; must be one of cross_attention, ` +
			"prefix; did you mean prefix?",
		"kind: prefix, preset: tiny":                 "model.preset: is tiny, which is not of the kind prefix",
		"kind: cross_attention, preset: modern-tiny": "model.preset: is modern-tiny, which is not of the kind cross_attention",
		"preset: tiny, projection: mlp":              "model.projection: is that of the kind prefix",
		"preset: tiny, prompt: a photo of":           "model.prompt: is that of the kind prefix",
		"preset: tiny, scale_factor: 2":              "model.scale_factor: is that of the kind prefix",
		"preset: modern-tiny, scale_factor: 3":       "model.scale_factor: is 3; must divide the 8 patches of a picture's side",
		"preset: modern-tiny, projection: mlp, scale_factor: 2": "model.scale_factor: is in the place of model.projection; " +
			"leave one of them out",
		"weights: hf:a/b, projection: mlp":        "model.projection: is given by the config.json of model.weights; leave it out",
		"weights: hf:a/b, decoder_heads: 3":       "model.decoder_heads: is given by the config.json of model.weights; leave it out",
		"preset: modern-tiny, projection: mpl":    `model.projection: is "mpl"; must be one of mlp, linear; did you mean mlp?`,
		"preset: modern-tiny, key_value_heads: 3": "model.key_value_heads: is 3; must divide model.decoder_heads 4",
		"preset: modern-tiny, decoder_heads: 128, key_value_heads: 2": "model.decoder_heads: is 128; twice that must divide " +
			"model.decoder_hidden_size 128",
		"preset: modern-tiny, positions: 65": "model.positions: is 65; must be at least 66",
	} {
		c, err := Decode([]byte(minimal + "model: {" + text + "}\n"))
		if err == nil {
			err = c.Resolve().Validate()
		}
		if got := problems(t, err); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q", text, got)
		}
	}
	_, err := Decode([]byte(minimal + "model: {preset: modern-tiny}\ntrain: {max_length: 65}\n"))
	if got := problems(t, err); len(got) != 1 || got[0] != "train.max_length: is 65; must be at most what the "+
		"picture's vectors leave of model.positions, 64" {
		t.Errorf("%q", got)
	}
	text, err := json.Marshal(mustDecode(t, minimal).Resolve().Model)
	for _, key := range []string{"kind", "projection", "decoder_h", "decoder_m", "key_value"} {
		if err != nil || strings.Contains(string(text), `"`+key) {
			t.Errorf("%s has %s: %v", text, key, err)
		}
	}
}

func TestResolveFillsSizesOnceAndForAll(t *testing.T) {
	for text, want := range map[string]ModelConfig{
		"preset: tiny": {
			Preset: "tiny", ImageSize: 64, PatchSize: 8, HiddenSize: 128, EncoderLayer: 3, DecoderLayer: 3,
			Heads: 4, MLPSize: 512, VocabSize: 2000, Positions: 64,
		},
		"preset: base, image_size: 384": {
			Preset: "base", ImageSize: 384, PatchSize: 16, HiddenSize: 768, EncoderLayer: 12, DecoderLayer: 6,
			Heads: 12, MLPSize: 3072, VocabSize: 50257, Positions: 1024,
		},
		"heads: 4": {
			Preset: "small", ImageSize: 128, PatchSize: 16, HiddenSize: 256, EncoderLayer: 6, DecoderLayer: 4,
			Heads: 4, MLPSize: 1024, VocabSize: 8000, Positions: 128,
		},
		"weights: some/dir": {Weights: "some/dir"},
		"kind: prefix": {
			Kind: ModelPrefix, Preset: "modern-tiny", ImageSize: 64, PatchSize: 8, HiddenSize: 128, EncoderLayer: 3,
			DecoderLayer: 3, Heads: 4, MLPSize: 512, VocabSize: 2000, Positions: 128, DecoderHiddenSize: 128, DecoderHeads: 4,
			KeyValueHeads: 2, DecoderMLPSize: 384,
		},
		"preset: modern-large, projection: linear": {
			Kind: ModelPrefix, Preset: "modern-large", Projection: "linear", ImageSize: 224, PatchSize: 16, HiddenSize: 768,
			EncoderLayer: 12, DecoderLayer: 32, Heads: 12, MLPSize: 3072, VocabSize: 49152, Positions: 8192,
			DecoderHiddenSize: 960, DecoderHeads: 15, KeyValueHeads: 5, DecoderMLPSize: 2560,
		},
	} {
		c := mustDecode(t, minimal+"model: {"+text+"}\n").Resolve()
		if !reflect.DeepEqual(c.Model, want) {
			t.Errorf("%s: %+v", text, c.Model)
		}
		if !reflect.DeepEqual(c, c.Resolve()) {
			t.Errorf("%s: resolving twice changes something", text)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: resolved config is not valid: %v", text, err)
		}
		if c.Train.MicroBatchSize != 32 || c.Train.LearningRate == 0 || c.Evaluate.MaxLength != 0 ||
			c.Dataset[0].Shapes.ImageSize == 0 {
			t.Errorf("%s: %+v", text, c)
		}
	}
}

func TestRunIDsThatCannotBeKeysAreRefused(t *testing.T) {
	for id, ok := range map[string]bool{"a": true, "emoji-1.2_b": true, "": false, "A": false, "-a": false,
		"a/b": false, "a b": false, strings.Repeat("a", 64): false} {
		if (CheckRunID(id) == nil) != ok {
			t.Errorf("%q: %v", id, CheckRunID(id))
		}
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	docs := structDocs()
	var visit func(reflect.Type)
	visit = func(s reflect.Type) {
		if docs[s.Name()].text == "" {
			t.Errorf("%s has no comment", s.Name())
		}
		for i := range s.NumField() {
			if docs[s.Name()].fields[s.Field(i).Name] == "" {
				t.Errorf("%s.%s has no comment", s.Name(), s.Field(i).Name)
			}
			inner := s.Field(i).Type
			if inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				visit(inner)
			}
		}
	}
	visit(reflect.TypeFor[Config]())
}

// What captions may say is read with both forms of nothing, and wrong ids are named.
func TestGenerateIsReadAndChecked(t *testing.T) {
	const source = "dataset: [{kind: shapes}]\n"
	c, err := Decode([]byte(source + "generate: {bad_words: [dog], bad_words_ids: [[1, 2]], " +
		"forced_bos_token_id: 0, forced_eos_token_id: null}"))
	if err != nil {
		t.Fatal(err)
	}
	zero := 0
	want := GenerateConfig{BadWords: []string{"dog"}, BadWordsIDs: [][]int{{1, 2}}, ForcedBOSTokenID: &zero}
	if !reflect.DeepEqual(c.Generate, want) {
		t.Errorf("%+v instead of %+v", c.Generate, want)
	}
	for text, says := range map[string]string{
		"{bad_words: [' dog']}":              `generate.bad_words[0]: is " dog"; must be text without space`,
		"{bad_words_ids: [[1], []]}":         "generate.bad_words_ids[1]: is empty",
		"{suppress_tokens: [-1]}":            "generate.suppress_tokens: has the token id -1",
		"{forced_eos_token_id: 99999999999}": "generate.forced_eos_token_id: has the token id 99999999999",
		"{forced_bos_token_id: a}":           "generate.forced_bos_token_id: wants a whole number",
		"{no_repeat_ngram_size: -1}":         "generate.no_repeat_ngram_size: is -1",
		"{repetition_penalty: 1.0e+300}":     "generate.repetition_penalty: is 1e+300",
	} {
		if _, err := Decode([]byte(source + "generate: " + text)); err == nil ||
			!strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}

func TestVocabularyIsAutoOrANumber(t *testing.T) {
	const source = "dataset: [{kind: shapes}]\nexport: {prune_vocab: "
	for text, most := range map[string]int{"auto": 0, "10000": 10000, "10_000": 10000, "1e4": 10000, "'300'": 300, "''": 0} {
		c, err := Decode([]byte(source + text + "}"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := c.Export.PruneVocab.Most(); got != most || err != nil || (c.Export.PruneVocab == "") != (text == "''") {
			t.Errorf("%s: %q is %d, %v", text, c.Export.PruneVocab, got, err)
		}
	}
	for text, says := range map[string]string{
		"256": "must be auto or a number of tokens, at least 257", "-1": "at least 257", "all": "must be auto or",
		"true": "wants auto or a whole number", "1.5": "wants auto or a whole number", "[1]": "wants auto or a whole number",
	} {
		if _, err := Decode([]byte(source + text + "}")); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
	c, err := Decode([]byte(minimal), "export.prune_vocab=5000")
	if err != nil || c.Export.PruneVocab != "5000" {
		t.Errorf("%q, %v", c.Export.PruneVocab, err)
	}
	raw, err := json.Marshal(Default().Export)
	if err != nil || strings.Contains(string(raw), "prune") {
		t.Errorf("a config without it is written as %s, %v", raw, err)
	}
}

func TestPresetOfACaptionerIsItsWeights(t *testing.T) {
	for name, weights := range map[string]string{
		"distilvit": "hf:Mozilla/distilvit", "vit-gpt2": "hf:nlpconnect/vit-gpt2-image-captioning",
	} {
		c := mustDecode(t, minimal, "model.preset="+name).Resolve()
		if c.Model.Weights != weights || c.Model.Preset != "" || c.Train.LearningRate != 5e-5 ||
			c.Model.HiddenSize != 0 {
			t.Errorf("%s: %+v", name, c.Model)
		}
	}
	for set, want := range map[string]string{
		"model={preset: distilvit, hidden_size: 64}": "model.hidden_size: is given",
		"model={preset: distilvit, weights: a}":      "model.preset: is given",
		"model.preset=distilvot":                     "did you mean distilvit?",
		"train.metric_for_best_model=rougeL":         "eval_rougeL",
		"evaluate.words=words":                       "must be one of auto, rouge_score, unicode",
		"export.min_equal=90":                        "must be from 0 to 1",
		"export.calibrate=-1":                        "must be",
		"export.damage=-1":                           "must be",
		"export.max_size_mib=-1":                     "must be from 0 to 2048",
		"export.mixed=true":                          "names neither q4 nor q4f16",
	} {
		if _, err := Decode([]byte(minimal), set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", set, err)
		}
	}
	if got := mustDecode(t, minimal, "compat=seed").Resolve().Evaluate.Words; got != WordsRougeScore {
		t.Errorf("compat: seed is evaluated on words %q", got)
	}
}

// The hub refuses a card whose metadata it does not know: that is to be said before training.
func TestPublishTakesWhatTheHubTakes(t *testing.T) {
	c := mustDecode(t, minimal, "publish={repo_id: me/captioner, license: other, license_name: acme-1.0, "+
		"language: [en, 'no'], base_model: Mozilla/distilvit}")
	want := PublishConfig{RepoID: "me/captioner", License: "other", LicenseName: "acme-1.0",
		Language: Paths{"en", "no"}, BaseModel: Paths{"Mozilla/distilvit"}}
	if !reflect.DeepEqual(c.Publish, want) {
		t.Errorf("%+v instead of %+v", c.Publish, want)
	}
	_, err := Decode([]byte(minimal), "publish={license: other, license_name: a, license_link: /home/me/LICENSE}")
	if err == nil || !strings.Contains(err.Error(), "must be a URL, or a file's name such as LICENSE") {
		t.Error(err)
	}
	for set, says := range map[string]string{
		"license=Apache-2.0":                    "did you mean apache-2.0?",
		"license=proprietary":                   "write other, and publish.license_name",
		"license=other":                         "publish.license_name: is \"\"",
		"license_link=https://example.org":      "publish.license_link: is for publish.license other only",
		"language=English":                      "publish.language[0]: is \"English\"",
		"language=[en, en]":                     "publish.language[1]: names en a second time",
		"base_model=hf:Mozilla/distilvit":       "publish.base_model[0]: is \"hf:Mozilla/distilvit\"",
		"base_model=/home/me/captioner":         "publish.base_model[0]",
		"repo_id=captioner":                     "publish.repo_id: is \"captioner\"; must be ORG/NAME",
		"repo_id=me/a--b":                       "without -- and ..",
		"repo_id=me/a.git":                      "publish.repo_id",
		"repo_id=me/" + strings.Repeat("a", 96): "publish.repo_id",
	} {
		if _, err := Decode([]byte(minimal), "publish."+set); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", set, err, says)
		}
	}
}

func TestReferenceIsUpToDate(t *testing.T) {
	const path = "../docs/config.md"
	if *update {
		if err := os.MkdirAll("../docs", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != Reference() {
		t.Errorf("%s is not what the comments of config.go say: run go generate ./pipeline (%v)", path, err)
	}
}

func TestPathsAreOneTextOrAList(t *testing.T) {
	c := mustDecode(t, "dataset: [{kind: folder, captions: c.csv, images: a.zip}, {kind: coco, split: "+
		"train, captions: c.json, images: [a.zip, b/]}]",
		"dataset[0].images=odd: name", "dataset[1].images[2]=c.zip")
	if got := c.Dataset[0].Images; !reflect.DeepEqual(got, Paths{"odd: name"}) {
		t.Errorf("one: %q", got)
	}
	if got := c.Dataset[1].Images; !reflect.DeepEqual(got, Paths{"a.zip", "b/", "c.zip"}) {
		t.Errorf("several: %q", got)
	}
	text, err := json.Marshal(c.Dataset)
	if err != nil || !strings.Contains(string(text), `"images":"odd: name"`) ||
		strings.Contains(string(text), "files") || strings.Contains(string(text), "clean") ||
		strings.Contains(string(text), "weight") {
		t.Errorf("%s, %v", text, err)
	}
	var back []SourceConfig
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, c.Dataset) {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestKeysOfOtherKindsAreRejected(t *testing.T) {
	for _, c := range [][2]string{
		{"kind: parquet", "dataset[1].files: is missing; kind parquet needs it"},
		{"kind: parquet, files: a, captions: b",
			"dataset[1].captions: is not for kind parquet, whose files hold the captions"},
		{"kind: webdataset, files: a, images: b",
			"dataset[1].images: is not for kind webdataset, whose files hold captions and pictures"},
		{"kind: parquet, files: a, images: 'https://x.org/z.tar'",
			"dataset[1].images: is a URL; it must name a .zip"},
		{"kind: parquet, files: [a, a]", "dataset[1].files[1]: names a a second time"},
		{"kind: parquet, files: 'https://x.org/data'", "dataset[1].files: is a URL; it must name a .parquet"},
		{"kind: parquet, files: a, clean: {min_words: 3, max_words: 2}",
			"dataset[1].clean.min_words: is 3; must be at most clean.max_words 2"},
		{"kind: shapes, clean: {lower: true}",
			"dataset[1].clean: is not for kind shapes, whose captions are made by rule"},
		{"kind: shapes, weight: -1", "dataset[1].weight: is -1; must be from 0 to 100"},
		{"kind: shapes, weight: 2, split: test",
			"dataset[1].weight: is for training pictures; this source's split is test"},
		{"kind: parquet, files: 3", "dataset[1].files: wants text or a list, not 3"},
		{"kind: parquet, files: a, caption_columns: ['']", "dataset[1].caption_columns[0]: is empty"},
		{"kind: folder, captions: a, images: b, files: c",
			"dataset[1].files: is for kinds parquet and webdataset only; this source is folder"},
		{"kind: coco, captions: a, images: b, split_column: s",
			"dataset[1].split_column: is for kinds parquet, folder only; this source is coco"},
		{"kind: coco, captions: a, images: b, where: {x: y}",
			"dataset[1].where: is for kinds folder, webdataset, parquet only; this source is coco"},
		{"kind: folder, images: b, where: {x: []}",
			"dataset[1].where.x: is empty; it wants a text, a list of texts, or * for any value"},
		{"kind: folder, captions: a.csv, images: b, caption: c, caption_columns: [d]",
			"dataset[1].caption: is every picture's only caption; leave caption_columns out"},
		{"captions: a.json",
			"dataset[1].kind: is missing, and the names of the files do not tell it; " +
				"must be one of shapes, coco, karpathy, folder, json, webdataset, parquet"},
		{"kind: coco, captions: a, images: ['https://x.org/z.tar', b]",
			"dataset[1].images[0]: is a URL; it must name a .zip"},
		{"kind: coco, captions: a, images: [b, c], sha256: {images: " + strings.Repeat("ab", 32) + "}",
			"dataset[1].sha256.images: can only be given for one file; images are 2"},
	} {
		source, want := c[0], c[1]
		_, err := Decode([]byte("dataset: [{kind: shapes}, {" + source + "}]"))
		if err == nil {
			t.Errorf("%s: no error", source)
		} else if got := problems(t, err); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, not %q", source, got, want)
		}
	}
	mustDecode(t, "dataset: [{kind: karpathy, captions: d.zip#d.json, images: [a, b]}]\nprepare: "+
		"{validation_fraction: 0}")
	mustDecode(t, "dataset: [{kind: parquet, files: [data/train-*.parquet], split_column: "+
		"split}]\nprepare: {validation_fraction: 0}")
}

func TestNamesOfFilesTellTheKind(t *testing.T) {
	for source, want := range map[string]string{
		"captions: c.json, images: i":                               KindJSON,
		"captions: a.zip#x/c.json, images: i":                       KindJSON,
		"captions: c.TSV, images: i":                                KindFolder,
		"captions: c.jsonl, images: i":                              KindFolder,
		"images: photos/":                                           KindFolder,
		"images: [a.zip, b.zip]":                                    KindFolder,
		"files: data/train-*.parquet":                               KindParquet,
		"files: hf:datasets/org/name/data/train-00000.parquet":      KindParquet,
		"files: names.parquet, images: i":                           KindParquet,
		"files: ['https://x.org/shard-000000.tar']":                 KindWebDataset,
		"files: 'shard-{000..127}.tar'":                             KindWebDataset,
		"kind: karpathy, captions: dataset_coco.json, images: i":    KindKarpathy,
		"captions: c.csv, images: i, where: {label: 1, ok: '*'}":    KindFolder,
		"images: i, caption: a document, where: {kind: [doc, map]}": KindFolder,
	} {
		c := mustDecode(t, "dataset: [{"+source+"}]").Resolve()
		if got := c.Dataset[0].Kind; got != want {
			t.Errorf("%s: %s, not %s", source, got, want)
		}
		if !reflect.DeepEqual(c.Resolve(), c) {
			t.Errorf("%s: resolved twice it is another", source)
		}
	}
	for pattern, want := range map[string]Paths{
		"shard-{000..002}.tar": {"shard-000.tar", "shard-001.tar", "shard-002.tar"},
		"a{8..10}/b{0..1}.tar": {
			"a8/b0.tar", "a8/b1.tar", "a9/b0.tar", "a9/b1.tar", "a10/b0.tar", "a10/b1.tar",
		},
		"{2..1}.tar":                {"{2..1}.tar"},
		"{0..99999999999999999}.ta": {"{0..99999999999999999}.ta"},
		"{0..999}{0..999}.tar":      {"{0..999}{0..999}.tar"},
		"plain.tar":                 {"plain.tar"},
	} {
		if got := (Paths{pattern}).numbered(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %.5q", pattern, got)
		}
	}
}

func TestEntriesOfZipsAreCutOff(t *testing.T) {
	for path, want := range map[string][2]string{
		"a/b.zip#c/d.json":               {"a/b.zip", "c/d.json"},
		"https://x.org/B.ZIP#d.json":     {"https://x.org/B.ZIP", "d.json"},
		"odd#name.json":                  {"odd#name.json", ""},
		"b.zip":                          {"b.zip", ""},
		"https://x.org/b.zip?v=1#c.json": {"https://x.org/b.zip?v=1#c.json", ""},
	} {
		if file, entry := CutEntry(path); file != want[0] || entry != want[1] {
			t.Errorf("%s: %q, %q", path, file, entry)
		}
	}
}

func TestCompatSeedMeansWhatTheScriptHas(t *testing.T) {
	c := mustDecode(t, `compat: seed
dataset: [{kind: coco, captions: a, images: b}, {kind: parquet, files: c},
          {kind: parquet, files: d, clean: {keep: all}}, {kind: shapes}]
`).Resolve()
	if c.Train.MaxLength != 128 || c.Train.CaptionsPerPicture != 1 || c.Evaluate.MaxLength != 50 {
		t.Errorf("%+v, %+v", c.Train, c.Evaluate)
	}
	want := []CleanConfig{
		{Keep: KeepAll, Raw: true}, {Keep: KeepFirst, Raw: true}, {Keep: KeepAll, Raw: true},
		{Keep: KeepFirst},
	}
	for i, s := range c.Dataset {
		if s.Clean != want[i] {
			t.Errorf("dataset[%d].clean is %+v instead of %+v", i, s.Clean, want[i])
		}
	}
	if err := c.Validate(); err != nil || !reflect.DeepEqual(c.Resolve(), c) {
		t.Errorf("resolved twice: %v", err)
	}
	set := mustDecode(t, minimal+"train: {max_length: 20}\n").Resolve()
	if set.Train.MaxLength != 20 || set.Evaluate.MaxLength != 21 {
		t.Errorf("max_length 20: %+v", set.Evaluate)
	}
	plain := mustDecode(t, minimal).Resolve()
	if plain.Train.MaxLength != 0 || plain.Evaluate.MaxLength != 0 || plain.Train.CaptionsPerPicture != 5 ||
		plain.Dataset[0].Clean != (CleanConfig{}) {
		t.Errorf("without it: %+v", plain.Train)
	}
	for _, c := range [][2]string{
		{"compat: sead", `compat: is "sead"; must be one of seed; did you mean seed?`},
		{"compat: seed\ntrain: {max_length: 64}",
			"train.max_length: is 64; compat: seed pads every caption to 128 tokens, leave it out"},
		{"compat: seed\nmodel: {preset: tiny}",
			"model.positions: is 64; compat: seed pads captions to 128 tokens, which need as many"},
		{"train: {captions_per_picture: -1}", "train.captions_per_picture: is -1; must be at least 1"},
		{"dataset: [{kind: shapes, clean: {keep: last}}]",
			`dataset[0].clean.keep: is "last"; must be one of all, first`},
	} {
		text, want := c[0], c[1]
		if !strings.Contains(text, "dataset") {
			text = minimal + text
		}
		_, err := Decode([]byte(text))
		if err == nil {
			t.Errorf("%s: no error", text)
		} else if got := problems(t, err); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, not %q", text, got, want)
		}
	}
}

func TestPriorityIsCheckedAndNoPartOfWhatIsFrozen(t *testing.T) {
	first, err := Decode([]byte("dataset: [{kind: shapes}]"), "priority=1")
	if err != nil {
		t.Fatal(err)
	}
	usual, err := Decode([]byte("dataset: [{kind: shapes}]"))
	if err != nil {
		t.Fatal(err)
	}
	if first.Priority != 1 || usual.Priority != 0 || !reflect.DeepEqual(first.Frozen(), usual.Frozen()) {
		t.Errorf("priorities %d and %d", first.Priority, usual.Priority)
	}
	if text, err := json.Marshal(first.Frozen()); err != nil || strings.Contains(string(text), "priority") {
		t.Errorf("frozen: %s, %v", text, err) // as in configs frozen before there were priorities
	}
	if _, err := Decode([]byte("dataset: [{kind: shapes}]\npriority: 6")); err == nil ||
		!strings.Contains(err.Error(), "priority: is 6; must be from 1 (first) to 5 (last), or 0") {
		t.Errorf("priority 6: %v", err)
	}
}
