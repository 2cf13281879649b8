package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ReadGenerate reads how a model directory's captions are decoded, as transformers'
// generate() does: from generation_config.json, or without one from what config.json,
// or in it the decoder, says of that. What is not supported and would change captions
// is refused: sampling, whose captions cannot be repeated, is. Every number is within
// the limits of GenerateOptions.
func ReadGenerate(dir string) (GenerateOptions, error) {
	keys, path, err := generationKeys(dir)
	if err != nil {
		return DefaultGenerate(), err
	}
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		value := strings.TrimSpace(string(keys[name]))
		if value != "" && value != "null" && !slices.Contains(refused[name], value) {
			return DefaultGenerate(), fmt.Errorf("%s: %s is %s, which is not supported", path, name, value)
		}
	}
	f, err := readGeneration(keys)
	if err == nil && f.DoSample {
		err = errors.New("do_sample is true; only greedy and beam search are supported")
	}
	if err != nil {
		return DefaultGenerate(), fmt.Errorf("%s: %w", path, err)
	}
	return f.options(), nil
}

// ReadPolicy reads what of ReadGenerate's options says which tokens may follow, whatever else,
// supported or not, the file holds.
func ReadPolicy(dir string) (GenerateOptions, error) {
	keys, path, err := generationKeys(dir)
	if err != nil {
		return GenerateOptions{}, err
	}
	f, err := readGeneration(keys)
	if err != nil {
		return GenerateOptions{}, fmt.Errorf("%s: %w", path, err)
	}
	return f.Policy(), nil
}

// generation is a generation_config.json as it is written.
type generation struct {
	GenerateOptions
	DoSample     bool `json:"do_sample"`
	MaxNewTokens int  `json:"max_new_tokens"`
	MinNewTokens int  `json:"min_new_tokens"`
}

// readGeneration checks every number by itself.
func readGeneration(keys map[string]json.RawMessage) (*generation, error) {
	f := &generation{GenerateOptions: DefaultGenerate()}
	// Keys are read one by one, so that an error names its key. Null means the default.
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if string(keys[name]) == "null" {
			continue
		}
		key, err := json.Marshal(map[string]json.RawMessage{name: keys[name]})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := json.Unmarshal(key, f); err != nil {
			return nil, fmt.Errorf("%s is %.100s: %w", name, keys[name], err)
		}
	}
	for _, n := range []struct {
		key   string
		value int
	}{{"max_new_tokens", f.MaxNewTokens}, {"min_new_tokens", f.MinNewTokens}} {
		if n.value < 0 || n.value > maxLength {
			return nil, fmt.Errorf("%s is %d; must be from 0 to %d", n.key, n.value, maxLength)
		}
	}
	return f, f.bounds()
}

// options counts tokens as generate() does.
func (f *generation) options() GenerateOptions {
	o := f.GenerateOptions
	usual := DefaultGenerate().MaxLength
	if o.MaxLength < 1 {
		o.MaxLength = usual
	}
	switch {
	case f.MaxNewTokens > 0:
		o.MaxLength = f.MaxNewTokens + 1
	case o.MaxLength == usual: // generate() takes its default, written out or not, for that many new tokens
		o.MaxLength++
	}
	if f.MinNewTokens > 0 {
		o.MinLength = f.MinNewTokens + 1
	}
	return o
}

// refused are keys that would change captions in a way that is not supported here, with
// the values beside null that do not.
var refused = map[string][]string{
	"num_beam_groups": {"1"}, "diversity_penalty": {"0", "0.0"}, "penalty_alpha": {"0", "0.0"},
	"guidance_scale":  {"1", "1.0"},
	"force_words_ids": {"[]"}, "constraints": {"[]"}, "sequence_bias": {"[]", "{}"},
	"exponential_decay_length_penalty": nil, "renormalize_logits": {"false"}, "dola_layers": nil,
	"watermarking_config": nil,
	"stop_strings":        {"[]"}, "max_time": nil,
}

// generationKeys are the keys of generation_config.json, or those that config.json has
// in its place (GenerationConfig.from_model_config), and the file's path.
func generationKeys(dir string) (keys map[string]json.RawMessage, path string, err error) {
	path = filepath.Join(dir, "generation_config.json")
	keys, err = readKeys(path)
	if !errors.Is(err, os.ErrNotExist) {
		return keys, path, err
	}
	path = filepath.Join(dir, configName)
	top, err := readKeys(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, path, nil
	}
	if err != nil {
		return nil, path, err
	}
	var decoder map[string]json.RawMessage
	if raw, ok := top["decoder"]; ok {
		if err := json.Unmarshal(raw, &decoder); err != nil {
			return nil, path, fmt.Errorf("%s: decoder: %w", path, err)
		}
	}
	keys = map[string]json.RawMessage{}
	for _, name := range generationNames() {
		// A default at the top gives way to what the decoder says.
		value, usual := top[name], usualValues[name]
		usually := value == nil || string(value) == "null" || slices.Contains(usual, string(value))
		if d, ok := decoder[name]; ok && string(d) != "null" && usually {
			value = d
		}
		if value != nil {
			keys[name] = value
		}
	}
	return keys, path, nil
}

// usualValues are GenerationConfig's defaults of the keys that options are read from.
var usualValues = map[string][]string{
	"max_length": {"20"}, "min_length": {"0"}, "num_beams": {"1"}, "length_penalty": {"1", "1.0"},
	"early_stopping": {"false"}, "no_repeat_ngram_size": {"0"}, "repetition_penalty": {"1", "1.0"},
	"do_sample": {"false"}, "max_new_tokens": nil,
	"min_new_tokens": nil, "bad_words_ids": nil, "suppress_tokens": nil, "begin_suppress_tokens": nil,
	"forced_bos_token_id": nil, "forced_eos_token_id": nil,
}

// generationNames are the keys that say how captions are decoded, special tokens apart:
// those of config.json are the Config's.
func generationNames() []string {
	return append(slices.Sorted(maps.Keys(usualValues)), slices.Sorted(maps.Keys(refused))...)
}

func readKeys(path string) (map[string]json.RawMessage, error) {
	b, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(b, &keys); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}
