package activities

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/model"
	"distilvit/model/tokenizer"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// A pruned model is published with a vocabulary of what training captions are made of, which says them as before,
// and tells what that did.
func TestPrunedVocabularyIsPublished(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	c.Model.Tokenizer = "../model/tokenizer/testdata/hf"
	c.Export.PruneVocab = pipeline.PruneAuto
	dir, w := publishSmall(b, c)

	whole, err := tokenizer.Load(c.Model.Tokenizer)
	check(t, err)
	pruned, err := tokenizer.Load(dir)
	check(t, err)
	network, err := model.ReadConfig(dir)
	check(t, err)
	if pruned.VocabSize() != network.Decoder.VocabSize || pruned.VocabSize() > whole.VocabSize()-100 ||
		int(pruned.EOS()) != network.EOSTokenID {
		t.Errorf("%d of %d tokens are published, the config says %+v", pruned.VocabSize(), whole.VocabSize(), network)
	}
	_, err = model.ReadWeights(dir, network)
	check(t, err)
	var failed error
	for caption := range b.captions(t.Context(), w.Dataset, &failed) {
		if got, want := names(pruned, caption), names(whole, caption); !slices.Equal(got, want) {
			t.Errorf("%q is %q, was %q", caption, got, want)
		}
	}
	check(t, failed)

	raw, err := os.ReadFile(filepath.Join(dir, layout.ManifestFile))
	check(t, err)
	var m record.ModelManifest
	check(t, json.Unmarshal(raw, &m))
	p := m.Pruning
	if p == nil || p.Tokens != pruned.VocabSize() || p.WholeTokens != whole.VocabSize() || p.Pictures != 4 ||
		p.EqualIDs != p.Kept {
		t.Fatalf("the manifest says %+v", p)
	}
	for _, check := range m.Checks {
		if check.WholeBytes <= check.Bytes {
			t.Errorf("%s has %d bytes of %d", check.Dtype, check.Bytes, check.WholeBytes)
		}
	}
	card, err := os.ReadFile(filepath.Join(dir, cardFile))
	check(t, err)
	if !strings.Contains(string(card), fmt.Sprintf("tokens, byte-level BPE; %d before pruning |", whole.VocabSize())) ||
		!strings.Contains(string(card), fmt.Sprintf("of %d tokens, which the training captions", whole.VocabSize())) {
		t.Errorf("the card is silent:\n%s", card)
	}
	manifest, err := artifact.RunTokens(t.Context(), b.Store, "run")
	if err != nil || manifest != w.Tokens.Manifest {
		t.Errorf("the run's tokens are %s, %v, want %s", manifest, err, w.Tokens.Manifest)
	}
}

// names are a caption's tokens as text.
func names(t *tokenizer.Tokenizer, caption string) []string {
	var out []string
	for _, id := range t.Encode(caption) {
		name, _ := t.Token(id)
		out = append(out, name)
	}
	return out
}
