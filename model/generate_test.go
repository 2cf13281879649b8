package model

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestGenerationConfigIsRead(t *testing.T) {
	usual, three := DefaultGenerate(), int32(3)
	usual.MaxLength++ // 20 of them new, beside the start token
	forced, words := usual, usual
	forced.ForcedEOSTokenID, forced.ForcedBOSTokenID = TokenIDs{0}, &three
	words.BadWordsIDs = []TokenIDs{{12}, {1, 2}}
	words.SuppressTokens, words.BeginSuppressTokens = TokenIDs{4}, TokenIDs{5}
	for name, c := range map[string]struct {
		file string
		want GenerateOptions
		says string
	}{
		"absent": {"", usual, ""},
		"empty":  {"{}", usual, ""},
		"beams": {`{"max_length": 16, "num_beams": 4, "early_stopping": true}`, GenerateOptions{
			MaxLength: 16, NumBeams: 4, LengthPenalty: 1, EarlyStopping: StopFull, RepetitionPenalty: 1,
		}, ""},
		"never": {
			`{"early_stopping": "never", "length_penalty": 0}`,
			GenerateOptions{MaxLength: 21, NumBeams: 1, EarlyStopping: StopNever, RepetitionPenalty: 1}, "",
		},
		"new": {
			`{"max_new_tokens": 30, "max_length": 5}`,
			GenerateOptions{MaxLength: 31, NumBeams: 1, LengthPenalty: 1, RepetitionPenalty: 1}, "",
		},
		"null": {`{"max_new_tokens": null, "num_beams": null}`, usual, ""},
		"zero": {`{"max_length": 0}`, usual, ""},
		"min new": {`{"min_new_tokens": 4, "min_length": 2}`, GenerateOptions{
			MaxLength: 21, MinLength: 5, NumBeams: 1, LengthPenalty: 1, RepetitionPenalty: 1,
		}, ""},
		"ends": {`{"eos_token_id": [0, 7], "decoder_start_token_id": 3}`, GenerateOptions{
			MaxLength: 21, NumBeams: 1, LengthPenalty: 1, RepetitionPenalty: 1, EOSTokenID: TokenIDs{0, 7},
			DecoderStartTokenID: &three,
		}, ""},
		"end": {`{"eos_token_id": 7}`, GenerateOptions{
			MaxLength: 21, NumBeams: 1, LengthPenalty: 1, RepetitionPenalty: 1, EOSTokenID: TokenIDs{7},
		}, ""},
		"forced":  {`{"forced_eos_token_id": 0, "forced_bos_token_id": 3}`, forced, ""},
		"words":   {`{"bad_words_ids": [[12], [1, 2]], "suppress_tokens": [4], "begin_suppress_tokens": [5]}`, words, ""},
		"no word": {`{"bad_words_ids": [[12], []]}`, GenerateOptions{}, "bad_words_ids has an empty list"},
		"null id": {
			`{"bad_words_ids": [[null]]}`, GenerateOptions{}, "bad_words_ids is [[null]]: null is no token id",
		},
		"text id": {`{"suppress_tokens": ["a"]}`, GenerateOptions{}, `suppress_tokens is ["a"]: `},
		"neg id":  {`{"suppress_tokens": [-1]}`, GenerateOptions{}, "suppress_tokens has the token id -1"},
		"large": {
			`{"num_beams": 9223372036854775807}`, GenerateOptions{},
			"generation_config.json: num_beams is 9223372036854775807; must be from 0 to 256",
		},
		"larger": {`{"max_length": 1e400}`, GenerateOptions{}, "max_length is 1e400: "},
		"new max": {
			`{"max_new_tokens": 9223372036854775807}`, GenerateOptions{},
			"max_new_tokens is 9223372036854775807; must be",
		},
		"both": {
			`{"num_beams": 300, "max_length": -1}`, GenerateOptions{},
			"from 0 to 1048576; num_beams is 300; must be",
		},
		"less": {`{"max_length": -1}`, GenerateOptions{}, "max_length is -1; must be from 0"},
		"power": {
			`{"length_penalty": 1e300}`, GenerateOptions{},
			"length_penalty is 1e+300; must be from -100 to 100",
		},
		"penalty": {
			`{"repetition_penalty": 1e-300}`, GenerateOptions{},
			"repetition_penalty is 1e-300; must be from 0.01",
		},
		"sampled": {`{"do_sample": true}`, GenerateOptions{}, "do_sample is true"},
		"groups":  {`{"num_beams": 4, "num_beam_groups": 2}`, GenerateOptions{}, "num_beam_groups is 2"},
		"early":   {`{"early_stopping": "soon"}`, GenerateOptions{}, `early_stopping is "soon"`},
		"broken":  {`{"num_beams": `, GenerateOptions{}, "generation_config.json"},
	} {
		dir := t.TempDir()
		if c.file != "" {
			if err := os.WriteFile(filepath.Join(dir, "generation_config.json"), []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		switch got, err := ReadGenerate(dir); {
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: error %v, want %q", name, err, c.says)
		case c.says == "" && (err != nil || !reflect.DeepEqual(got, c.want)):
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

// Without generation_config.json the model's config counts, and in it the decoder's where the top has a
// default.
func TestGenerationKeysOfAnOldConfigAreRead(t *testing.T) {
	dir := t.TempDir()
	config := `{"num_beams": 3, "max_length": 20, "length_penalty": 1.0, "bad_words_ids": null,
		"decoder": {"num_beams": 2, "max_length": 9, "length_penalty": 0.5, "no_repeat_ngram_size": 2,
			"diversity_penalty": 0.0, "eos_token_id": 4}}`
	if err := os.WriteFile(filepath.Join(dir, configName), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	want := GenerateOptions{
		MaxLength: 9, NumBeams: 3, LengthPenalty: 0.5, NoRepeatNGramSize: 2, RepetitionPenalty: 1,
	}
	if got, err := ReadGenerate(dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

func TestGenerateOptionsThatCannotWorkAreNamed(t *testing.T) {
	c, _ := Preset("tiny")
	c.Decoder.VocabSize = 100
	for name, change := range map[string]func(*GenerateOptions){
		"max_length is 1":            func(o *GenerateOptions) { o.MaxLength = 1 },
		"max_length is 65":           func(o *GenerateOptions) { o.MaxLength = 65 },
		"min_length is 21":           func(o *GenerateOptions) { o.MinLength = 21 },
		"num_beams is 51":            func(o *GenerateOptions) { o.NumBeams = 51 },
		"early_stopping is \"soon\"": func(o *GenerateOptions) { o.EarlyStopping = "soon" },
		"no_repeat_ngram_size is -1": func(o *GenerateOptions) { o.NoRepeatNGramSize = -1 },
		"eos_token_id has the token id 100; must be from 0 to below vocab_size, 100": func(o *GenerateOptions) {
			o.EOSTokenID = TokenIDs{5, 100}
		},
		"bad_words_ids has the token id 100": func(o *GenerateOptions) {
			o.BadWordsIDs = []TokenIDs{{1}, {2, 100}}
		},
		"num_beams is 256":         func(o *GenerateOptions) { o.NumBeams = 256 },
		"repetition_penalty is -1": func(o *GenerateOptions) { o.RepetitionPenalty = -1 },
	} {
		o := DefaultGenerate()
		if err := o.Validate(&c); err != nil {
			t.Fatal(err)
		}
		change(&o)
		if err := o.Validate(&c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
}
