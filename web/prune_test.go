package web

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"distilvit/artifact/record"
	"distilvit/model"
	"distilvit/model/onnx"
)

// A pruned vocabulary loads in every version, and its captions are those of the whole one where that says them in
// kept tokens.
func TestPrunedVocabularyCaptionsAsTheWhole(t *testing.T) {
	need(t, "node", "node_modules/@huggingface/transformers", "node_modules/tjs3", "node_modules/tjs2")
	for name, p := range map[string]*published{"cross-attention": publish(t), "prefix": publishPrefix(t)} {
		t.Run(name, func(t *testing.T) { wantPrunedAlike(t, p) })
	}
}

func wantPrunedAlike(t *testing.T, p *published) {
	t.Helper()
	dtypes := []string{"fp32", "q8", "q4"}
	dir, keep := p.pruned(t, dtypes)
	for _, version := range []string{"2", "3", "4"} {
		got := map[string][]line{}
		for _, l := range run(t, version, record.DeviceNode, []string{dir}, p.work(dtypes)...) {
			got[l.Dtype] = append(got[l.Dtype], l)
		}
		for _, dtype := range dtypes {
			if version == "2" && dtype == "q4" {
				continue // it knows none
			}
			for i := range got[dtype] {
				for j, id := range got[dtype][i].TokenIDs {
					got[dtype][i].TokenIDs[j] = keep[id]
				}
			}
			if same := p.compare(t, dtype, got[dtype]); same < len(p.images) {
				t.Errorf("version %s, %s: %d of %d captions are those of the whole vocabulary", version, dtype, same,
					len(p.images))
			}
		}
	}
}

// pruned is the directory with the tokens that its captions are made of, and the ids that they had.
func (p *published) pruned(t *testing.T, dtypes []string) (string, []int32) {
	t.Helper()
	counts := map[int32]int64{}
	for _, dtype := range dtypes {
		for _, l := range p.lines[dtype] {
			for _, id := range l.TokenIDs {
				counts[id]++
			}
		}
	}
	o := model.GenerateOptions{MaxLength: maxLength}
	keep := p.tokens.Kept(counts, model.NamedTokens(p.config, o), 0)
	if len(keep) > p.config.VocabSize()-20 || !slices.Contains(keep, p.tokens.EOS()) {
		t.Fatalf("%d of %d tokens are kept", len(keep), p.config.VocabSize())
	}
	tokens, err := p.tokens.Prune(keep)
	check(t, err)
	c, w, o, err := model.Prune(p.config, p.weights, o, keep)
	check(t, err)
	dir := filepath.Join(t.TempDir(), "model")
	check(t, tokens.WriteDir(dir))
	for _, dtype := range dtypes {
		_, err := onnx.Write(dir, c, w, dtype)
		check(t, err)
	}
	check(t, onnx.WriteConfigs(dir, c, o, dtypes))
	processor, err := os.ReadFile(filepath.Join(p.dir, "preprocessor_config.json"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "preprocessor_config.json"), processor, 0o644))
	return dir, keep
}
