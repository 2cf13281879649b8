package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFileBytes bounds every file read; GPT-2's tokenizer.json has 1.3 MB.
const maxFileBytes = 64 << 20

// Load reads a tokenizer in Hugging Face form: tokenizer.json, or else
// vocab.json and merges.txt. tokenizer_config.json and special_tokens_map.json,
// where they exist, name the end token; without them it is <|endoftext|>.
func Load(dir string) (*Tokenizer, error) {
	special, err := readSpecialNames(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "tokenizer.json")
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return loadVocabMerges(dir, special)
	}
	if err != nil {
		return nil, err
	}
	p, err := parseTokenizerJSON(data)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", path, err)
	}
	p.eos = special.eos()
	t, err := build(p)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", path, err)
	}
	return t, nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer: %w", err)
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("tokenizer %s: %d bytes, more than the %d allowed", path,
			info.Size(), maxFileBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer: %w", err)
	}
	return data, nil
}

// component is a normalizer, pre_tokenizer or decoder of tokenizer.json: the
// keys that matter of any kind.
type component struct {
	Type           string `json:"type"`
	AddPrefixSpace *bool  `json:"add_prefix_space"`
	UseRegex       *bool  `json:"use_regex"`
	Prepend        string `json:"prepend"`  // Prepend
	Content        string `json:"content"`  // Replace
	Behavior       string `json:"behavior"` // Split
	Invert         bool   `json:"invert"`
	Pattern        struct {
		String string `json:"String"`
		Regex  string `json:"Regex"`
	} `json:"pattern"` // Replace, Split
	IndividualDigits bool         `json:"individual_digits"` // Digits
	Normalizers      []*component `json:"normalizers"`
	PreTokenizers    []*component `json:"pretokenizers"`
	Decoders         []*component `json:"decoders"`
}

// byteLevel accepts a ByteLevel decoder, also alone in a sequence.
func (c *component) byteLevel() *component {
	if c == nil {
		return nil
	}
	if c.Type == "Sequence" && len(c.Decoders) == 1 {
		return c.Decoders[0].byteLevel()
	}
	if c.Type != "ByteLevel" {
		return nil
	}
	return c
}

func (c *component) kind() string {
	if c == nil {
		return "none"
	}
	return c.Type
}

type tokenizerJSON struct {
	AddedTokens  []addedToken    `json:"added_tokens"`
	Normalizer   json.RawMessage `json:"normalizer"`
	PreTokenizer json.RawMessage `json:"pre_tokenizer"`
	Decoder      *component      `json:"decoder"`
	Model        *struct {
		Dropout                 *float64          `json:"dropout"`
		UnkToken                string            `json:"unk_token"`
		ContinuingSubwordPrefix string            `json:"continuing_subword_prefix"`
		EndOfWordSuffix         string            `json:"end_of_word_suffix"`
		FuseUnk                 bool              `json:"fuse_unk"`
		ByteFallback            bool              `json:"byte_fallback"`
		IgnoreMerges            bool              `json:"ignore_merges"`
		Vocab                   map[string]int32  `json:"vocab"`
		Merges                  []json.RawMessage `json:"merges"`
	} `json:"model"`
}

// checkModelType refuses other models by name before their vocabularies, which have other forms, are read.
func checkModelType(data []byte) error {
	var file struct {
		Model struct {
			Type  *string         `json:"type"`
			Vocab json.RawMessage `json:"vocab"`
		} `json:"model"`
	}
	if json.Unmarshal(data, &file) != nil {
		return nil // whoever reads all of it says what is broken
	}
	kind := "BPE"
	switch {
	case file.Model.Type != nil:
		kind = *file.Model.Type
	case bytes.HasPrefix(file.Model.Vocab, []byte("[")):
		kind = "Unigram" // of pairs of a piece and its score
	}
	if kind != "BPE" {
		return fmt.Errorf("model is %q; only byte-level BPE is supported", kind)
	}
	return nil
}

// parseTokenizerJSON reads tokenizer.json. Files of old versions lack
// model.type and write merges as "a b"; new ones write ["a", "b"].
func parseTokenizerJSON(data []byte) (parts, error) {
	if err := checkModelType(data); err != nil {
		return parts{}, err
	}
	var file tokenizerJSON
	if err := json.Unmarshal(data, &file); err != nil {
		return parts{}, err
	}
	m := file.Model
	if m == nil {
		return parts{}, errors.New("no model")
	}
	if len(m.Vocab) == 0 {
		return parts{}, errors.New("no model.vocab")
	}
	if m.ByteFallback {
		return parts{}, errors.New("model.byte_fallback is true, as of Llama 2's and TinyLlama's tokenizers, " +
			"which came from SentencePiece; only byte-level BPE is supported, as GPT-2's and SmolLM2's")
	}
	p, err := parseText(file.Normalizer, file.PreTokenizer)
	if err != nil {
		return parts{}, err
	}
	if file.Decoder != nil && file.Decoder.byteLevel() == nil {
		return parts{}, fmt.Errorf("decoder is %s; only ByteLevel is supported", file.Decoder.kind())
	}
	for _, unsupported := range []struct {
		key string
		set bool
	}{
		{"dropout", m.Dropout != nil && *m.Dropout != 0},
		{"continuing_subword_prefix", m.ContinuingSubwordPrefix != ""},
		{"end_of_word_suffix", m.EndOfWordSuffix != ""},
	} {
		if unsupported.set {
			return parts{}, fmt.Errorf("model.%s is set, which byte-level BPE does not use", unsupported.key)
		}
	}
	p.vocab, p.added, p.unknown = m.Vocab, file.AddedTokens, m.UnkToken
	p.fuseUnknown, p.wholeWords = m.FuseUnk, m.IgnoreMerges
	p.merges = make([][2]string, 0, len(m.Merges))
	for i, raw := range m.Merges {
		pair, skip, err := parseMerge(raw)
		if err != nil {
			return parts{}, fmt.Errorf("merge %d: %w", i+1, err)
		}
		if !skip {
			p.merges = append(p.merges, pair)
		}
	}
	return p, nil
}

// parseText reads what is done to a text before words become tokens.
func parseText(normalizer, splitter json.RawMessage) (p parts, err error) {
	var norm, pre *component
	if len(normalizer) > 0 {
		err = json.Unmarshal(normalizer, &norm)
	}
	if err == nil && len(splitter) > 0 {
		err = json.Unmarshal(splitter, &pre)
	}
	if err != nil {
		return parts{}, err
	}
	if p.normalizers, err = newNormalizers(norm); err != nil {
		return parts{}, err
	}
	var last *component
	if p.splitters, last, err = newSplitters(pre); err != nil {
		return parts{}, err
	}
	if last == nil {
		return parts{}, errors.New("pre_tokenizer has no ByteLevel; only byte-level BPE is supported")
	}
	p.prefixSpace = last.AddPrefixSpace == nil || *last.AddPrefixSpace
	p.whole = last.UseRegex != nil && !*last.UseRegex
	if len(p.normalizers) > 0 {
		p.normalizerJSON = normalizer
	}
	if len(p.splitters) > 0 || p.whole {
		p.splitterJSON = splitter
	}
	return p, nil
}

func parseMerge(raw json.RawMessage) (pair [2]string, skip bool, err error) {
	var line string
	if json.Unmarshal(raw, &line) == nil {
		if strings.HasPrefix(line, "#version") {
			return pair, true, nil
		}
		pair, err = splitMerge(line)
		return pair, false, err
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil || len(list) != 2 {
		return pair, false, fmt.Errorf("%.60s is not a pair of tokens", raw)
	}
	return [2]string(list), false, nil
}

func splitMerge(line string) (pair [2]string, err error) {
	left, right, ok := strings.Cut(line, " ")
	if !ok || left == "" || right == "" || strings.Contains(right, " ") {
		return pair, fmt.Errorf("%.60q is not two tokens with a space between them", line)
	}
	return [2]string{left, right}, nil
}
