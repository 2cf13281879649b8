package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distilvit/internal/script"
)

func captions(t testing.TB) []string {
	t.Helper()
	data, err := os.ReadFile("testdata/captions.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

func train(t testing.TB, lines []string, size int) *Tokenizer {
	t.Helper()
	tok, err := Train(slices.Values(lines), size)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestTrainMakesTheGoldenTokenizer holds the files that tokenizers has read to
// make its golden ids.
func TestTrainMakesTheGoldenTokenizer(t *testing.T) {
	tok := train(t, captions(t), 700)
	if *update {
		if err := tok.WriteDir("testdata/trained"); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir()
	if err := tok.WriteDir(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt",
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("testdata/trained", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from testdata/trained", name)
		}
	}
	checkGolden(t, "trained", tok)
}

func TestTrainFindsTheMergesOfHuggingFace(t *testing.T) {
	got := train(t, captions(t), 700).pairs
	want := load(t, "testdata/hf").pairs
	if !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("merge %d: %q, want %q", i, got[i], want[i])
			}
		}
		t.Fatalf("%d merges, want %d", len(got), len(want))
	}
}

func TestTrainDoesNotDependOnOrder(t *testing.T) {
	lines := captions(t)
	want := train(t, lines, 500).Digest()
	for seed := range uint64(3) {
		shuffled := slices.Clone(lines)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(shuffled), func(i, j int) {
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		})
		if got := train(t, shuffled, 500).Digest(); got != want {
			t.Fatalf("seed %d: another tokenizer", seed)
		}
	}
}

func TestTrainPutsTheEndTokenLast(t *testing.T) {
	for _, size := range []int{257, 258, 300, 100000} {
		tok := train(t, captions(t), size)
		if tok.VocabSize() > size || int(tok.EOS()) != tok.VocabSize()-1 {
			t.Errorf("size %d: %d tokens, end token %d", size, tok.VocabSize(), tok.EOS())
		}
		if size == 257 && len(tok.pairs) > 0 {
			t.Errorf("size 257 has merges")
		}
	}
	if _, err := Train(slices.Values([]string{"a"}), 256); err == nil {
		t.Error("256 tokens accepted")
	}
	if _, err := Train(slices.Values([]string{"", EndOfText}), 300); err == nil {
		t.Error("no captions accepted")
	}
}

func TestTrainedTokenizerGivesTextBack(t *testing.T) {
	tok := train(t, captions(t), 400)
	for _, text := range golden().Texts {
		if got := tok.Decode(tok.Encode(text), false); got != text {
			t.Fatalf("%q came back as %q", text, got)
		}
	}
	for b := range 256 { // whatever is no UTF-8 comes back as U+FFFD
		text := string([]byte{'a', byte(b), 'b'})
		if got := tok.Decode(tok.Encode(text), false); got != string(lossy(text)) {
			t.Fatalf("%q came back as %q", text, got)
		}
	}
}

func TestWrittenFilesAreWhatHuggingFaceReads(t *testing.T) {
	var file struct {
		AddedTokens []addedToken `json:"added_tokens"`
		Model       struct {
			Type   string
			Merges []string
			Vocab  map[string]int32
		}
	}
	tok := train(t, captions(t), 300)
	if err := json.Unmarshal(tok.Bytes(), &file); err != nil {
		t.Fatal(err)
	}
	want := []addedToken{{ID: tok.EOS(), Content: EndOfText, Special: true}}
	if file.Model.Type != "BPE" || len(file.Model.Merges) != len(tok.pairs) ||
		!slices.Equal(file.AddedTokens, want) || file.Model.Vocab[EndOfText] != tok.EOS() {
		t.Errorf("%+v", file)
	}
}

func FuzzTrainedRoundTrip(f *testing.F) {
	tok := train(f, captions(f), 400)
	f.Add("two dogs  run\n\n'll \xff" + EndOfText)
	f.Add(strings.Repeat("é", 100))
	f.Fuzz(func(t *testing.T, text string) {
		if got := tok.Decode(tok.Encode(text), false); got != string(lossy(text)) {
			t.Fatalf("%q came back as %q", text, got)
		}
	})
}

func BenchmarkTrain(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	lines := make([]string, 50000)
	for i := range lines {
		for range 10 {
			lines[i] += fmt.Sprintf(" w%x", int(r.ExpFloat64()*5000))
		}
	}
	for b.Loop() {
		train(b, lines, 4000)
	}
}

// A caption of a script without spaces is several tokens, however often it is said, and
// English is not touched by that.
func TestTokensOfScriptsWithoutSpacesStayShort(t *testing.T) {
	captions := []string{}
	for range 50 {
		captions = append(captions, "两个红色的圆形和一个蓝色的正方形", "วงกลมสีแดงสองวง", "赤い星", "aVeryLongWordThatIsSaidOften")
	}
	tok, err := TrainLimited(slices.Values(captions), 1000, MaxSpaceless)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{captions[0]: 8, captions[1]: 4, captions[2]: 2} {
		ids := tok.Encode(text)
		if len(ids) < want || len(ids) > len([]rune(text)) {
			t.Errorf("%s: %d tokens", text, len(ids))
		}
		if got := tok.Decode(ids, false); got != text {
			t.Errorf("%s comes back as %s", text, got)
		}
		for _, id := range ids {
			if piece := tok.Decode([]int32{id}, false); script.Syllabic([]rune(piece)[0]) && len([]rune(piece)) > 2 {
				t.Errorf("%q of %s is one token", piece, text)
			}
		}
	}
	if ids := tok.Encode(captions[3]); len(ids) != 1 {
		t.Errorf("an English word is %d tokens", len(ids))
	}
}
