package tokenizer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadSaysWhatIsWrong(t *testing.T) {
	tokenizerJSON := func(model string) map[string]string {
		return map[string]string{
			"tokenizer.json": `{"pre_tokenizer": {"type": "ByteLevel"}, "model": ` + model + `}`,
		}
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing":       {nil, "neither tokenizer.json nor vocab.json"},
		"no merges.txt": {map[string]string{"vocab.json": `{"a": 0}`}, "merges.txt"},
		"empty":         {map[string]string{"tokenizer.json": ""}, "unexpected end of JSON"},
		"not JSON":      {map[string]string{"tokenizer.json": "\x89PNG"}, "invalid character"},
		"null":          {map[string]string{"tokenizer.json": "null"}, "no model"},
		"other model":   {tokenizerJSON(`{"type": "Unigram", "vocab": {}}`), "Unigram"},
		"model of pieces": {
			tokenizerJSON(`{"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]}`),
			`model is "Unigram"; only byte-level`,
		},
		"SentencePiece": {
			tokenizerJSON(`{"type": "BPE", "byte_fallback": true, "vocab": {"<0x00>": 0}, "merges": []}`),
			"model.byte_fallback is true, as of Llama 2's",
		},
		"no vocabulary":   {tokenizerJSON(`{"type": "BPE"}`), "no model.vocab"},
		"vocabulary list": {tokenizerJSON(`{"vocab": [["a", 0]]}`), "model is \"Unigram\""},
		"WordPiece prefix": {
			tokenizerJSON(`{"vocab": {"a": 0}, "continuing_subword_prefix": "##"}`),
			"continuing_subword_prefix",
		},
		"negative id":      {tokenizerJSON(`{"vocab": {"a": -1}}`), "id -1"},
		"huge id":          {tokenizerJSON(`{"vocab": {"a": 2147483647}}`), "id 2147483647"},
		"id beyond 32 bit": {tokenizerJSON(`{"vocab": {"a": 4294967296}}`), "cannot unmarshal"},
		"two of one id":    {tokenizerJSON(`{"vocab": {"a": 0, "b": 0}}`), `"a" and "b" both have id 0`},
		"empty token":      {tokenizerJSON(`{"vocab": {"": 0}}`), "empty"},
		"merge of unknown": {
			tokenizerJSON(`{"vocab": {"a": 0, "b": 1}, "merges": ["a b"]}`), `"ab" is not in the vocabulary`,
		},
		"merge of one":     {tokenizerJSON(`{"vocab": {"a": 0}, "merges": ["a"]}`), "merge 1"},
		"merge of three":   {tokenizerJSON(`{"vocab": {"a": 0}, "merges": [["a", "a", "a"]]}`), "not a pair"},
		"merge of numbers": {tokenizerJSON(`{"vocab": {"a": 0}, "merges": [7]}`), "not a pair"},
		"no end token":     {tokenizerJSON(`{"vocab": {"a": 0}}`), "end token"},
		"unknown missing":  {tokenizerJSON(`{"vocab": {"a": 0}, "unk_token": "<unk>"}`), "unknown token"},
		"metaspace": {map[string]string{
			"tokenizer.json": `{"pre_tokenizer": {"type": "Metaspace"}, "model": {"vocab": {"a": 0}}}`,
		}, "Metaspace"},
		"no pre_tokenizer": {map[string]string{"tokenizer.json": `{"model": {"vocab": {"a": 0}}}`}, "none"},
		"normalizer": {map[string]string{
			"tokenizer.json": `{"normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "ByteLevel"},` +
				` "model": {"vocab": {"a": 0}}}`,
		}, "BertNormalizer"},
		"added id": {map[string]string{
			"tokenizer.json": `{"added_tokens": [{"id": 5, "content": "a"}],` +
				` "pre_tokenizer": {"type": "ByteLevel"}, "model": {"vocab": {"a": 0}}}`,
		}, "has id 5"},
		"bad merges.txt": {
			map[string]string{"vocab.json": `{"a": 0}`, "merges.txt": "#version: 0.2\na b c\n"}, "line 2",
		},
		"bad config": {map[string]string{"tokenizer_config.json": "[]"}, "tokenizer_config.json"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range c.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Load(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, c.want)
			}
		})
	}
}

func TestLoadRefusesHugeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokenizer.json")
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxFileBytes+1); err != nil {
		t.Skip(err)
	}
	if _, err := Load(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("error %v", err)
	}
}

// FuzzLoad gives tokenizer.json any bytes: an error or a tokenizer that can be
// used, never a panic.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(
		`{"added_tokens":[{"id":3,"content":"<|endoftext|>","lstrip":true}],` +
			`"pre_tokenizer":{"type":"ByteLevel"},"model":{"vocab":{"a":0,"b":1,"ab":2},` +
			`"merges":["a b",["a","b"]]}}`,
	))
	f.Add([]byte(
		`{"pre_tokenizer":{"type":"Sequence","pretokenizers":[null]},"normalizer":{},` +
			`"model":{"merges":[{}],"vocab":{"<|endoftext|>":9}}}`,
	))
	f.Add([]byte(
		`{"version":"1.0","added_tokens":[{"id":0,"content":"<|endoftext|>","single_word":true,` +
			`"special":true}],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true,` +
			`"use_regex":true},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","dropout":null,` +
			`"unk_token":"<unk>","fuse_unk":true,"ignore_merges":true,"vocab":{"<unk>":1,"Ġ":2,"d":3,"o":4,` +
			`"do":5,"Ġdo":6},"merges":[["d","o"],["Ġ","do"]]}}`,
	))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseTokenizerJSON(data)
		if err != nil {
			return
		}
		p.eos = EndOfText
		tok, err := build(p)
		if err != nil {
			return
		}
		ids := tok.Encode("two  dogs' ab \xff" + EndOfText + " ab")
		for _, id := range ids {
			if _, ok := tok.Token(id); !ok {
				t.Fatalf("id %d has no token", id)
			}
		}
		tok.Decode(ids, true)
		p, err = parseTokenizerJSON(tok.Bytes())
		if err != nil {
			t.Fatalf("our own file: %v", err)
		}
		p.eos = EndOfText
		again, err := build(p)
		if err != nil {
			t.Fatalf("our own file: %v", err)
		}
		if again.Digest() != tok.Digest() {
			t.Fatal("digest changed by writing and reading")
		}
	})
}

// FuzzLoadVocabMerges does the same with GPT-2's old files.
func FuzzLoadVocabMerges(f *testing.F) {
	f.Add([]byte(`{"<|endoftext|>":0,"Ġ":1,"d":2,"o":3,"do":4,"Ġdo":5}`),
		[]byte("#version: 0.2\nd o\nĠ do\n"), []byte(`{"<pad>":6}`))
	f.Add([]byte(`{"a":2147483647,"<|endoftext|>":-1}`), []byte("a a a\n"), []byte(`{"a":0}`))
	f.Add([]byte(`{"<|endoftext|>":99999999}`), []byte(""), []byte("null"))
	f.Fuzz(func(t *testing.T, vocab, merges, added []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{
			"vocab.json": vocab, "merges.txt": merges, "added_tokens.json": added,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		tok, err := Load(dir)
		if err != nil {
			return
		}
		tok.Decode(tok.Encode("two  dogs' ab \xff"+EndOfText+" ab"), true)
	})
}
