package hub

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
)

// Select chooses what to fetch out of the files a revision has. Its error says
// what is missing.
type Select func(files []string) ([]string, error)

// Patterns selects the files that match one of these patterns, as path.Match
// understands them.
func Patterns(patterns ...string) Select {
	return func(files []string) ([]string, error) {
		var chosen []string
		for _, f := range files {
			for _, p := range patterns {
				match, err := path.Match(p, f)
				if err != nil {
					return nil, fmt.Errorf("pattern %q: %w", p, err)
				}
				if match {
					chosen = append(chosen, f)
					break
				}
			}
		}
		slices.Sort(chosen)
		return chosen, nil
	}
}

const (
	configFile  = "config.json"
	indexSuffix = ".index.json"
)

// weightsForms are the forms of weights, those that are taken first before the others.
var weightsForms = []struct {
	file  string
	shard *regexp.Regexp
}{
	{"model.safetensors", regexp.MustCompile(`^model-\d+-of-(\d+)\.safetensors$`)},
	{"pytorch_model.bin", regexp.MustCompile(`^pytorch_model-\d+-of-(\d+)\.bin$`)},
}

// tokenizerFiles are all that a byte-level BPE tokenizer may be read from.
var tokenizerFiles = []string{
	"tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json",
}

// TokenizerFiles selects a tokenizer.
func TokenizerFiles(files []string) ([]string, error) {
	chosen, err := Patterns(tokenizerFiles...)(files)
	if err == nil && !slices.Contains(chosen, "tokenizer.json") && !slices.Contains(chosen, "vocab.json") {
		err = errors.New("it has neither tokenizer.json nor vocab.json and merges.txt")
	}
	return chosen, err
}

// AdapterFiles selects a LoRA adapter in PEFT's form.
func AdapterFiles(files []string) ([]string, error) {
	for _, weights := range []string{"adapter_model.safetensors", "adapter_model.bin"} {
		if slices.Contains(files, weights) && slices.Contains(files, "adapter_config.json") {
			return []string{"adapter_config.json", weights}, nil
		}
	}
	return nil, errors.New("it has no adapter: adapter_config.json and adapter_model.safetensors")
}

// ConfigFiles selects a model's small files: configs and tokenizer. That the
// weights can be had is checked all the same.
func ConfigFiles(files []string) ([]string, error) {
	if _, err := weightFiles(files); err != nil {
		return nil, err
	}
	small := append([]string{configFile, "generation_config.json", "preprocessor_config.json"},
		tokenizerFiles...)
	chosen, err := Patterns(small...)(files)
	if err == nil && !slices.Contains(chosen, configFile) {
		err = errors.New("it has no config.json: not a model that Transformers loads")
	}
	return chosen, err
}

// ModelFiles selects a model: its small files and its weights.
func ModelFiles(files []string) ([]string, error) {
	small, err := ConfigFiles(files)
	if err != nil {
		return nil, err
	}
	weights, err := weightFiles(files)
	return append(small, weights...), err
}

// weightFiles are model.safetensors, or its index and every shard; without them pytorch_model.bin, or its.
func weightFiles(files []string) ([]string, error) {
	for _, form := range weightsForms {
		if slices.Contains(files, form.file) {
			return []string{form.file}, nil
		}
		if slices.Contains(files, form.file+indexSuffix) {
			return shards(files, form.file, form.shard)
		}
	}
	return nil, errors.New("it has neither model.safetensors nor pytorch_model.bin")
}

// shards are the index and every shard; their names say how many there are.
func shards(files []string, whole string, pattern *regexp.Regexp) ([]string, error) {
	chosen, want := []string{whole + indexSuffix}, ""
	for _, f := range files {
		if parts := pattern.FindStringSubmatch(f); parts != nil {
			chosen, want = append(chosen, f), parts[1]
		}
	}
	have := len(chosen) - 1
	if n, err := strconv.Atoi(want); err != nil || n != have {
		return nil, fmt.Errorf("it has %d of %s shards of %s", have, cmp.Or(want, "the"), whole)
	}
	slices.Sort(chosen)
	return chosen, nil
}
