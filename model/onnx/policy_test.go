package onnx

import (
	"reflect"
	"slices"
	"testing"

	"distilvit/model"
)

// An export says what its model says under a policy, and another word than without it.
func TestExportsFollowThePolicy(t *testing.T) {
	c := testConfig(32, 32)
	w := lively(c, 7)
	ref, dir := captioner(t, c, w), export(t, c, w, "fp32")
	session := open(t, dir, "fp32")
	free, err := session.Generate(PixelValues(picture(0, 32), model.HalfNormalization), greedy)
	if err != nil {
		t.Fatal(err)
	}
	if len(free) < 4 {
		t.Fatalf("caption %v is too short to forbid anything", free)
	}
	first, other, end := free[0], free[0]%7+1, int32(c.EOSTokenID)
	for name, change := range map[string]func(*model.GenerateOptions){
		"bad_words_ids": func(o *model.GenerateOptions) {
			o.BadWordsIDs = []model.TokenIDs{{free[1]}, slices.Clone(free[1:3])}
		},
		"suppress_tokens":       func(o *model.GenerateOptions) { o.SuppressTokens = model.TokenIDs{free[2]} },
		"begin_suppress_tokens": func(o *model.GenerateOptions) { o.BeginSuppressTokens = model.TokenIDs{first} },
		"forced_bos_token_id":   func(o *model.GenerateOptions) { o.ForcedBOSTokenID = &other },
		"forced_eos_token_id": func(o *model.GenerateOptions) {
			o.MaxLength, o.ForcedEOSTokenID = 4, model.TokenIDs{end}
		},
		"repetition_penalty": func(o *model.GenerateOptions) { o.RepetitionPenalty = 3 },
		"eos_token_id":       func(o *model.GenerateOptions) { o.EOSTokenID = model.TokenIDs{end, free[1]} },
		"start":              func(o *model.GenerateOptions) { o.DecoderStartTokenID = &other },
	} {
		o := greedy
		change(&o)
		got, err := session.Generate(PixelValues(picture(0, 32), model.HalfNormalization), o)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(got, free) {
			t.Errorf("%s changes nothing of %v", name, free)
		}
		check, err := Verify(t.Context(), runtimeLibrary(t), dir, "fp32", ref, examples(t, ref, 3), words,
			VerifyOptions{Generate: o})
		if err != nil || check.EqualIDs != 3 {
			t.Errorf("%s: %+v, %v", name, check, err)
		}
	}
}

// What is published is the policy again, in the words of both libraries.
func TestThePolicyIsPublished(t *testing.T) {
	c, dir := testConfig(32, 32), t.TempDir()
	end, five := int32(c.EOSTokenID), int32(5)
	o := model.GenerateOptions{
		MaxLength: 33, NumBeams: 4, MinLength: 3, NoRepeatNGramSize: 2, RepetitionPenalty: 1.5,
		BadWordsIDs:    []model.TokenIDs{{end}, {7, 8}, {9}, {7, 8}},
		SuppressTokens: model.TokenIDs{9, 10, end}, BeginSuppressTokens: model.TokenIDs{11},
		ForcedBOSTokenID: &five, ForcedEOSTokenID: model.TokenIDs{end}, EOSTokenID: model.TokenIDs{end, 12},
	}
	if err := WriteConfigs(dir, c, o, []string{"fp32"}); err != nil {
		t.Fatal(err)
	}
	got, err := model.ReadGenerate(dir)
	if err != nil {
		t.Fatal(err)
	}
	start := int32(c.DecoderStartTokenID)
	want := o
	want.NumBeams, want.LengthPenalty, want.DecoderStartTokenID = 1, 1, &start
	want.BadWordsIDs = []model.TokenIDs{{7, 8}, {9}, {10}} // without the end token, with the suppressed ones
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v is read back instead of %+v", got, want)
	}

	plain := t.TempDir()
	if err := WriteConfigs(plain, c, model.GenerateOptions{MaxLength: 33}, []string{"fp32"}); err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	decode(t, read(t, plain, "generation_config.json"), &keys)
	if len(keys) != 6 {
		t.Errorf("without a policy it has %v", keys)
	}
}
