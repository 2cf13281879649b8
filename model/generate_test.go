package model

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGenerationConfigIsRead(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want GenerateOptions
		says string
	}{
		"absent":  {"", DefaultGenerate(), ""},
		"empty":   {"{}", DefaultGenerate(), ""},
		"beams":   {`{"max_length": 16, "num_beams": 4, "early_stopping": true}`, GenerateOptions{MaxLength: 16, NumBeams: 4, LengthPenalty: 1, EarlyStopping: StopFull, RepetitionPenalty: 1}, ""},
		"never":   {`{"early_stopping": "never", "length_penalty": 0}`, GenerateOptions{MaxLength: 20, NumBeams: 1, EarlyStopping: StopNever, RepetitionPenalty: 1}, ""},
		"new":     {`{"max_new_tokens": 30, "max_length": 5}`, GenerateOptions{MaxLength: 31, NumBeams: 1, LengthPenalty: 1, RepetitionPenalty: 1}, ""},
		"null":    {`{"max_new_tokens": null, "num_beams": null}`, DefaultGenerate(), ""},
		"zero":    {`{"max_length": 0}`, DefaultGenerate(), ""},
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
		case c.says == "" && (err != nil || got != c.want):
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
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
		"repetition_penalty is -1":   func(o *GenerateOptions) { o.RepetitionPenalty = -1 },
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
