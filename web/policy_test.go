package web

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"distilvit/artifact/record"
	"distilvit/internal/transformersjs"
	"distilvit/model"
	"distilvit/model/onnx"
)

// What a published generation_config.json says may follow, Transformers.js lets follow: the ids are Go's, but
// where Deviations says that a version decodes otherwise.
func TestPoliciesAreKeptAsInGo(t *testing.T) {
	need(t, "node", "node_modules/@huggingface/transformers", "node_modules/tjs3", "node_modules/tjs2")
	p := publish(t)
	images := p.images[:4]
	cases := policies(p)
	var options []model.GenerateOptions
	for _, c := range cases {
		options = append(options, c.options)
	}
	want, err := p.captionByModel(options...)
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for i, c := range cases {
		if same := equal(want[i], want[0], len(images)); (same == len(images)) != c.idle {
			t.Errorf("%s: %d of %d captions are those of no policy", c.name, same, len(images))
		}
		dirs = append(dirs, p.under(t, c.options))
	}
	for _, version := range []string{"2", "3", "4"} {
		got := map[string][][]int32{}
		work := transformersjs.Work{Dtype: "fp32", Images: images}
		for _, l := range run(t, version, record.DeviceNode, dirs, work) {
			got[l.Model] = append(got[l.Model], l.TokenIDs)
		}
		for i, c := range cases {
			said := slices.ContainsFunc(onnx.Deviations(p.config, c.options),
				func(d onnx.Deviation) bool { return slices.Contains(d.Versions, version) })
			same := equal(got[dirs[i]], want[i], len(images))
			if said == (same == len(images)) {
				t.Errorf("version %s, %s: %d of %d captions are Go's, a deviation is said: %v; got %v, want %v",
					version, c.name, same, len(images), said, got[dirs[i]], want[i])
			}
		}
	}
}

// policy is a case: what is allowed, and whether that changes no caption.
type policy struct {
	name    string
	options model.GenerateOptions
	idle    bool
}

// policies are made of the tokens that pictures have without one, which is the first case.
func policies(p *published) []policy {
	free := p.lines["fp32"][0].TokenIDs
	start, end := int32(p.config.DecoderStartTokenID), int32(p.config.EOSTokenID)
	other := free[0] - 1 // no caption begins with it
	list := []policy{{name: "none", idle: true, options: model.GenerateOptions{MaxLength: maxLength, NumBeams: 1}}}
	add := func(name string, idle bool, change func(*model.GenerateOptions)) {
		o := list[0].options
		change(&o)
		list = append(list, policy{name, o, idle})
	}
	add("bad_words_ids of one token", false, func(o *model.GenerateOptions) {
		o.BadWordsIDs = []model.TokenIDs{{free[1]}, {free[2]}}
	})
	add("bad_words_ids of several tokens", false, func(o *model.GenerateOptions) {
		o.BadWordsIDs = []model.TokenIDs{free[:2], {other, free[0]}}
	})
	add("bad_words_ids that no caption has", true, func(o *model.GenerateOptions) {
		o.BadWordsIDs = []model.TokenIDs{{start, free[0]}, {end}, {end, free[1]}}
	})
	add("bad_words_ids from another start token", false, func(o *model.GenerateOptions) {
		o.DecoderStartTokenID = &other
		for id := range end {
			o.BadWordsIDs = append(o.BadWordsIDs, model.TokenIDs{other, id})
		}
	})
	add("suppress_tokens", false, func(o *model.GenerateOptions) { o.SuppressTokens = free[1:3] })
	add("suppress_tokens with the end token", false, func(o *model.GenerateOptions) {
		o.EOSTokenID, o.SuppressTokens = model.TokenIDs{end, free[1]}, free[1:2]
	})
	add("begin_suppress_tokens", false, func(o *model.GenerateOptions) { o.BeginSuppressTokens = free[:1] })
	add("forced_bos_token_id", false, func(o *model.GenerateOptions) { o.ForcedBOSTokenID = &other })
	add("forced_bos_token_id and begin_suppress_tokens", false, func(o *model.GenerateOptions) {
		o.ForcedBOSTokenID, o.BeginSuppressTokens = &free[0], free[1:2]
	})
	add("forced_eos_token_id", false, func(o *model.GenerateOptions) {
		o.MaxLength, o.ForcedEOSTokenID = 5, model.TokenIDs{end}
	})
	add("forced_eos_token_id, two", false, func(o *model.GenerateOptions) {
		o.MaxLength, o.ForcedEOSTokenID = 5, model.TokenIDs{end, other}
	})
	add("no_repeat_ngram_size", false, func(o *model.GenerateOptions) { o.NoRepeatNGramSize = 2 })
	add("repetition_penalty", false, func(o *model.GenerateOptions) { o.RepetitionPenalty = 1.3 })
	add("min_length", false, func(o *model.GenerateOptions) {
		o.EOSTokenID, o.MinLength = model.TokenIDs{end, free[1]}, 6
	})
	add("eos_token_id, two", false, func(o *model.GenerateOptions) {
		o.EOSTokenID = model.TokenIDs{end, free[1]}
	})
	add("several", false, func(o *model.GenerateOptions) {
		o.BadWordsIDs, o.NoRepeatNGramSize = []model.TokenIDs{{free[1]}}, 2
		o.ForcedBOSTokenID, o.SuppressTokens = &free[0], free[2:3]
	})
	return list
}

// under is the model's directory with other options.
func (p *published) under(t *testing.T, o model.GenerateOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == "generation_config.json" {
			continue
		}
		if err := os.Symlink(filepath.Join(p.dir, f.Name()), filepath.Join(dir, f.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if err := onnx.WriteGenerationConfig(dir, p.config, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

// equal counts which of the first pictures have the same ids.
func equal(got, want [][]int32, pictures int) (n int) {
	for i := range min(pictures, len(got)) {
		if slices.Equal(got[i], want[i]) {
			n++
		}
	}
	return n
}
