package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"distilvit/internal/atomicfile"
)

// WriteDir writes the tokenizer in Hugging Face form: tokenizer.json,
// tokenizer_config.json, vocab.json, merges.txt and special_tokens_map.json.
// Equal tokenizers give equal bytes.
func (t *Tokenizer) WriteDir(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("write tokenizer: %w", err)
	}
	eos := t.tokens[t.eos]
	roles := map[string]any{"bos_token": eos, "eos_token": eos, "unk_token": eos, "pad_token": eos}
	config := map[string]any{
		"tokenizer_class":              "GPT2Tokenizer",
		"add_prefix_space":             t.prefixSpace,
		"clean_up_tokenization_spaces": false,
		"model_max_length":             1024,
	}
	for role, token := range roles {
		config[role] = token
	}
	if t.asGiven[0] != nil || t.asGiven[1] != nil { // GPT2Tokenizer would split as GPT-2 does
		config["tokenizer_class"] = "PreTrainedTokenizerFast"
		delete(config, "add_prefix_space")
	}
	files := map[string][]byte{
		"tokenizer.json":          t.Bytes(),
		"tokenizer_config.json":   indented(config),
		"special_tokens_map.json": indented(roles),
		"vocab.json":              t.vocabJSON(),
		"merges.txt":              t.mergesText(),
	}
	for name, data := range files {
		if err := atomicfile.WriteBytes(filepath.Join(dir, name), 0o644, data); err != nil {
			return fmt.Errorf("write tokenizer: %w", err)
		}
	}
	return nil
}

// Bytes is the tokenizer.json that WriteDir writes. Merges are strings, which
// every version of Transformers.js reads.
func (t *Tokenizer) Bytes() []byte {
	type byteLevel struct {
		Type           string `json:"type"`
		AddPrefixSpace bool   `json:"add_prefix_space"`
		TrimOffsets    bool   `json:"trim_offsets"`
		UseRegex       bool   `json:"use_regex"`
	}
	type bpe struct {
		Type                    string          `json:"type"`
		Dropout                 *float64        `json:"dropout"`
		UnkToken                *string         `json:"unk_token"`
		ContinuingSubwordPrefix string          `json:"continuing_subword_prefix"`
		EndOfWordSuffix         string          `json:"end_of_word_suffix"`
		FuseUnk                 bool            `json:"fuse_unk"`
		ByteFallback            bool            `json:"byte_fallback"`
		IgnoreMerges            bool            `json:"ignore_merges"`
		Vocab                   json.RawMessage `json:"vocab"`
		Merges                  []string        `json:"merges"`
	}
	model := bpe{
		Type:         "BPE",
		FuseUnk:      t.fuseUnknown,
		IgnoreMerges: t.wholeWords,
		Vocab:        t.vocabJSON(),
		Merges:       make([]string, len(t.pairs)),
	}
	if t.unknown != noToken {
		model.UnkToken = &t.tokens[t.unknown]
	}
	for i, pair := range t.pairs {
		model.Merges[i] = pair[0] + " " + pair[1]
	}
	added := t.added
	if added == nil {
		added = []addedToken{}
	}
	var normalizer, splitter any = nil, byteLevel{"ByteLevel", t.prefixSpace, true, true}
	if t.asGiven[0] != nil {
		normalizer = t.asGiven[0]
	}
	if t.asGiven[1] != nil {
		splitter = t.asGiven[1]
	}
	return indented(struct {
		Version       string       `json:"version"`
		Truncation    any          `json:"truncation"`
		Padding       any          `json:"padding"`
		AddedTokens   []addedToken `json:"added_tokens"`
		Normalizer    any          `json:"normalizer"`
		PreTokenizer  any          `json:"pre_tokenizer"`
		PostProcessor byteLevel    `json:"post_processor"`
		Decoder       byteLevel    `json:"decoder"`
		Model         bpe          `json:"model"`
	}{
		Version:       "1.0",
		AddedTokens:   added,
		Normalizer:    normalizer,
		PreTokenizer:  splitter,
		PostProcessor: byteLevel{"ByteLevel", true, false, true},
		Decoder:       byteLevel{"ByteLevel", true, true, true},
		Model:         model,
	})
}

// vocabJSON is the vocabulary as one JSON object in order of ids.
func (t *Tokenizer) vocabJSON() []byte {
	tokens := make([]string, 0, len(t.ids))
	for token := range t.ids {
		tokens = append(tokens, token)
	}
	slices.SortFunc(tokens, func(a, b string) int { return int(t.ids[a]) - int(t.ids[b]) })
	var out bytes.Buffer
	out.WriteByte('{')
	for i, token := range tokens {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, "%s:%d", plain(token), t.ids[token])
	}
	out.WriteByte('}')
	return out.Bytes()
}

func (t *Tokenizer) mergesText() []byte {
	var out strings.Builder
	out.WriteString("#version: 0.2\n")
	for _, pair := range t.pairs {
		out.WriteString(pair[0] + " " + pair[1] + "\n")
	}
	return []byte(out.String())
}

// plain is JSON without the escapes Go puts in for HTML.
func plain(v any) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // strings, numbers and our own structs always encode
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

func indented(v any) []byte {
	var out bytes.Buffer
	if err := json.Indent(&out, plain(v), "", "  "); err != nil {
		panic(err) // our own output
	}
	out.WriteByte('\n')
	return out.Bytes()
}
