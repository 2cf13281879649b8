package tokenizer

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/trained")

func unzip(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// goldenFile is what Hugging Face's tokenizers made of the same texts.
type goldenFile struct {
	Texts      []string
	RandomIDs  [][]int32 `json:"random_ids"`
	Tokenizers map[string]struct {
		IDs                      [][]int32
		Decoded, Skipped, Random []string
	}
}

var (
	golden        = sync.OnceValue(func() goldenFile { return readGolden("testdata/golden.json.gz") })
	goldenSmolLM2 = sync.OnceValue(func() goldenFile { return readGolden("testdata/smollm2/golden.json.gz") })
)

func readGolden(name string) (g goldenFile) {
	f, err := os.Open(name)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		panic(err)
	}
	if err := json.NewDecoder(z).Decode(&g); err != nil {
		panic(err)
	}
	return g
}

func load(t testing.TB, dir string) *Tokenizer {
	t.Helper()
	tok, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// checkGolden compares with tokenizers and says which texts differ.
func checkGolden(t *testing.T, name string, tok *Tokenizer) {
	t.Helper()
	g, least := golden(), 2000
	if strings.HasPrefix(name, "smollm2") {
		g, least = goldenSmolLM2(), 400
	}
	want, ok := g.Tokenizers[name]
	if !ok || len(g.Texts) < least {
		t.Fatalf("%d golden texts, %s: %v", len(g.Texts), name, ok)
	}
	wrong := 0
	complain := func(format string, args ...any) {
		if wrong++; wrong < 10 {
			t.Errorf(format, args...)
		}
	}
	for i, text := range g.Texts {
		ids := tok.Encode(text)
		if !slices.Equal(ids, want.IDs[i]) {
			complain("encode %q: %v, want %v", text, ids, want.IDs[i])
		}
		if got := tok.Decode(want.IDs[i], false); got != want.Decoded[i] {
			complain("decode %v: %q, want %q", want.IDs[i], got, want.Decoded[i])
		}
		if got := tok.Decode(want.IDs[i], true); got != want.Skipped[i] {
			complain("decode %v without special tokens: %q, want %q", want.IDs[i], got, want.Skipped[i])
		}
	}
	for i, ids := range g.RandomIDs {
		if got := tok.Decode(ids, false); got != want.Random[i] {
			complain("decode %v: %q, want %q", ids, got, want.Random[i])
		}
	}
	if wrong > 0 {
		t.Errorf("%d differences", wrong)
	}
}

func TestEncodesAsHuggingFace(t *testing.T) {
	for _, name := range []string{"hf", "odd", "trained", "smollm2"} {
		t.Run(name, func(t *testing.T) {
			checkGolden(t, name, load(t, filepath.Join("testdata", name)))
		})
	}
}

func TestWrittenTokenizerEncodesTheSame(t *testing.T) {
	for _, name := range []string{"hf", "odd", "trained", "smollm2"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tok := load(t, filepath.Join("testdata", name))
			if err := tok.WriteDir(dir); err != nil {
				t.Fatal(err)
			}
			again := load(t, dir)
			checkGolden(t, name, again)
			if tok.Digest() != again.Digest() {
				t.Error("digest changed by writing and reading")
			}
		})
	}
}

// TestReadsEveryForm gives the same tokenizer in the forms it comes in.
func TestReadsEveryForm(t *testing.T) {
	data, err := os.ReadFile("testdata/hf/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	edit := func(change func(model map[string]any)) []byte {
		var file map[string]any
		if err := json.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		change(file["model"].(map[string]any))
		out, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	asStrings := func(model map[string]any) {
		merges := model["merges"].([]any)
		for i, m := range merges {
			pair := m.([]any)
			merges[i] = fmt.Sprintf("%s %s", pair[0], pair[1])
		}
	}
	forms := map[string][]byte{
		"merges as strings": edit(asStrings),
		"no model.type":     edit(func(model map[string]any) { delete(model, "type") }),
		"old": edit(func(model map[string]any) {
			delete(model, "type")
			delete(model, "ignore_merges")
			delete(model, "byte_fallback")
			asStrings(model)
		}),
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), form, 0o666); err != nil {
				t.Fatal(err)
			}
			checkGolden(t, "hf", load(t, dir))
		})
	}
	t.Run("vocab.json and merges.txt", func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{"vocab.json", "merges.txt"} {
			data, err := os.ReadFile(filepath.Join("testdata/hf", name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		checkGolden(t, "hf", load(t, dir))
	})
}

func TestSplitsEveryCodePointAsHuggingFace(t *testing.T) {
	names := map[string]class{"letter": letter, "number": number, "space": space, "other": other}
	var want class
	from := rune(0)
	check := func(to rune) {
		for r := from; r < to; r++ {
			if got := unicodeClass(r); got != want {
				t.Fatalf("%U is of class %d, want %d", r, got, want)
			}
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(string(unzip(t, "classes.txt.gz"))), "\n") {
		var start rune
		var name string
		if _, err := fmt.Sscanf(line, "%x %s", &start, &name); err != nil {
			t.Fatal(err)
		}
		check(start)
		from, want = start, names[name]
	}
	check(0x110000)
}

func TestEndTokenIsTheConfiguredOne(t *testing.T) {
	tok := load(t, "testdata/hf")
	if tok.EOS() != 0 || tok.Decode([]int32{tok.EOS()}, false) != EndOfText ||
		tok.Decode([]int32{tok.EOS()}, true) != "" {
		t.Errorf("end token %d", tok.EOS())
	}
	dir := t.TempDir()
	if err := load(t, "testdata/odd").WriteDir(dir); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{
		`{"eos_token": "<mask>"}`, `{"eos_token": {"content": "<mask>", "lstrip": true}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(form), 0o666); err != nil {
			t.Fatal(err)
		}
		odd := load(t, dir)
		if want, _ := odd.ID("<mask>"); odd.EOS() != want {
			t.Errorf("end token %d, want %d", odd.EOS(), want)
		}
	}
}

func TestDecodeSkipsIDsWithoutToken(t *testing.T) {
	tok := load(t, "testdata/hf")
	ids := append([]int32{-1, 1 << 30, int32(tok.VocabSize())}, tok.Encode("a dog")...)
	if got := tok.Decode(ids, false); got != "a dog" {
		t.Errorf("%q", got)
	}
}

func TestScanAndHeapMergeAlike(t *testing.T) {
	for _, name := range []string{"hf", "odd", "trained", "smollm2"} {
		tok := load(t, filepath.Join("testdata", name))
		for _, text := range golden().Texts {
			ids := tok.appendBytes(nil, text)
			a, b := slices.Clone(ids), slices.Clone(ids)
			a, b = a[:tok.mergeByScan(a)], b[:tok.mergeByHeap(b)]
			if !slices.Equal(a, b) {
				t.Fatalf("%s: %q: scan %v, heap %v", name, text, a, b)
			}
		}
	}
}

func TestGoroutinesShareATokenizer(t *testing.T) {
	tok := load(t, "testdata/hf")
	g := golden()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i, text := range g.Texts {
				if !slices.Equal(tok.Encode(text), g.Tokenizers["hf"].IDs[i]) {
					t.Errorf("encode %q", text)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkEncode(b *testing.B) {
	tok := load(b, "testdata/hf")
	data, err := os.ReadFile("testdata/captions.txt")
	if err != nil {
		b.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		for _, line := range lines {
			tok.Encode(line)
		}
	}
}

// BenchmarkEncodeNew has words it has never seen.
func BenchmarkEncodeNew(b *testing.B) {
	tok := load(b, "testdata/hf")
	data, err := os.ReadFile("testdata/captions.txt")
	if err != nil {
		b.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), "\n", " ")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tok.cache.words = nil
		tok.Encode(text)
	}
}
