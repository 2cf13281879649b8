package tokenizer

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// count is how often each token comes in captions.
func count(tok *Tokenizer, captions []string) map[int32]int64 {
	counts := map[int32]int64{}
	for _, c := range captions {
		for _, id := range tok.Encode(c) {
			counts[id]++
		}
	}
	return counts
}

func prune(t *testing.T, tok *Tokenizer, keep []int32) *Tokenizer {
	t.Helper()
	pruned, err := tok.Prune(keep)
	if err != nil {
		t.Fatal(err)
	}
	return pruned
}

// goldenPruned is of a tokenizer what some of the captions are made of.
func goldenPruned(t *testing.T, name string) (whole, pruned *Tokenizer, keep []int32) {
	t.Helper()
	whole = load(t, filepath.Join("testdata", name))
	keep = whole.Kept(count(whole, captions(t)[:20]), nil, 0)
	return whole, prune(t, whole, keep), keep
}

// The files of a pruned tokenizer are those that tokenizers has read to make its golden ids.
func TestPrunedTokenizerEncodesAsHuggingFace(t *testing.T) {
	for name, golden := range map[string]string{"hf": "pruned", "smollm2": "smollm2/pruned"} {
		t.Run(name, func(t *testing.T) { wantPrunedAsGolden(t, name, golden) })
	}
}

func wantPrunedAsGolden(t *testing.T, name, golden string) {
	t.Helper()
	whole, pruned, keep := goldenPruned(t, name)
	beside := filepath.Join("testdata", golden)
	if *update {
		if err := pruned.WriteDir(beside); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(keep) > whole.VocabSize()-100 || pruned.VocabSize() != len(keep) {
		t.Fatalf("%d ids are kept of %d, %d are there", len(keep), whole.VocabSize(), pruned.VocabSize())
	}
	dir := t.TempDir()
	if err := pruned.WriteDir(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tokenizer.json", "vocab.json", "merges.txt"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(beside, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from %s, %v", name, beside, err)
		}
	}
	checkGolden(t, golden, pruned)
}

// What the kept tokens come from is encoded to the same tokens, and all other text still means the same.
func TestPrunedTokenizerEncodesWhatItKeepsAlike(t *testing.T) {
	for _, name := range []string{"hf", "odd", "trained", "smollm2"} {
		whole, some := load(t, filepath.Join("testdata", name)), captions(t)[:150]
		keep := whole.Kept(count(whole, some), nil, 0)
		pruned := prune(t, whole, keep)
		if len(keep) >= whole.VocabSize() {
			t.Errorf("%s: nothing is left out of %d tokens", name, len(keep))
		}
		for _, c := range some {
			ids := pruned.Encode(c)
			for i := range ids {
				ids[i] = keep[ids[i]]
			}
			if want := whole.Encode(c); !slices.Equal(ids, want) {
				t.Errorf("%s: %q is %v, want %v", name, c, ids, want)
			}
		}
		for _, text := range golden().Texts {
			got, want := pruned.Decode(pruned.Encode(text), false), whole.Decode(whole.Encode(text), false)
			if got != want {
				t.Errorf("%s: %q comes back as %q, from the whole vocabulary as %q", name, text, got, want)
			}
		}
	}
}

func TestTheMostFrequentTokensAreKept(t *testing.T) {
	whole := load(t, "testdata/hf")
	counts := count(whole, captions(t))
	least := whole.Kept(nil, nil, 1)
	if len(least) != 257 {
		t.Errorf("%d tokens are kept in any case, not the bytes and the end", len(least))
	}
	all, most := whole.Kept(counts, nil, 0), 300
	keep := whole.Kept(counts, nil, most)
	if len(keep) != most || len(all) <= most {
		t.Errorf("%d tokens are kept of %d, want %d", len(keep), len(all), most)
	}
	for _, kept := range [][]int32{keep, all} {
		for _, id := range kept {
			for _, part := range whole.parts(id) {
				if !slices.Contains(kept, part) && id != whole.EOS() { // which is no word
					t.Errorf("%d is kept without %d, which it is made of", id, part)
				}
			}
			if !slices.Contains(all, id) {
				t.Errorf("%d is kept of %d, and not of all", id, most)
			}
		}
	}
	byCount := slices.SortedFunc(maps.Keys(counts), func(a, b int32) int { return int(counts[b] - counts[a]) })
	for _, id := range byCount[:8] {
		if !slices.Contains(keep, id) {
			t.Errorf("%d, one of the most frequent, is left out", id)
		}
	}
	if again := whole.Kept(counts, nil, len(all)); !slices.Equal(again, all) {
		t.Errorf("%d of %d tokens are kept where all have room", len(again), len(all))
	}
	if named := whole.Kept(counts, []int32{all[len(all)-1]}, 300); !slices.Contains(named, all[len(all)-1]) {
		t.Error("a token that must be kept is not")
	}
}

func TestPruneRefusesIdsOutOfOrder(t *testing.T) {
	whole := load(t, "testdata/hf")
	for _, keep := range [][]int32{{2, 1}, {1, 1}, {-1}, {5}} { // the last: without the end token
		if _, err := whole.Prune(keep); err == nil {
			t.Errorf("%v is accepted", keep)
		}
	}
}
