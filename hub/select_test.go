package hub

import (
	"slices"
	"testing"
)

func TestOnlyWhatAModelNeedsIsSelected(t *testing.T) {
	index, one, two := "model.safetensors.index.json", "model-00001-of-00002.safetensors",
		"model-00002-of-00002.safetensors"
	torchIndex, torchOne, torchTwo := "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin",
		"pytorch_model-00002-of-00002.bin"
	for _, c := range []struct {
		name        string
		files, want []string
		says        string
	}{
		{"one file", []string{
			"config.json", "model.safetensors", "vocab.json", "merges.txt", "tf_model.h5", "onnx/config.json",
		}, []string{"config.json", "merges.txt", "vocab.json", "model.safetensors"}, ""},
		{"one file beside shards", []string{
			"config.json", "model.safetensors", index, one, two,
		}, []string{"config.json", "model.safetensors"}, ""},
		{"shards", []string{
			"config.json", two, index, one, "consolidated.safetensors",
		}, []string{"config.json", one, two, index}, ""},
		{"a shard is missing", []string{"config.json", index, one}, nil, "1 of 00002 shards"},
		{"all shards are missing", []string{"config.json", index}, nil, "0 of the shards"},
		{"PyTorch's form", []string{
			"config.json", "pytorch_model.bin", "flax_model.msgpack",
		}, []string{"config.json", "pytorch_model.bin"}, ""},
		{"both forms", []string{
			"config.json", "pytorch_model.bin", index, one, two,
		}, []string{"config.json", one, two, index}, ""},
		{"PyTorch's shards", []string{
			"config.json", torchIndex, torchOne, torchTwo,
		}, []string{"config.json", torchOne, torchTwo, torchIndex}, ""},
		{"a shard of PyTorch's is missing", []string{"config.json", torchIndex, torchTwo}, nil,
			"1 of 00002 shards of pytorch_model.bin"},
		{
			"no weights", []string{"config.json", "onnx/model.onnx"}, nil,
			"neither model.safetensors nor pytorch_model.bin",
		},
		{"no config", []string{"model.safetensors"}, nil, "no config.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ModelFiles(c.files)
			if c.says != "" {
				fails(t, err, c.says)
				return
			}
			check(t, err)
			if !slices.Equal(got, c.want) {
				t.Errorf("%v instead of %v", got, c.want)
			}
		})
	}
	if got, err := TokenizerFiles(
		[]string{"config.json", "tokenizer.json", "model.safetensors"},
	); err != nil || !slices.Equal(got, []string{"tokenizer.json"}) {
		t.Errorf("tokenizer: %v, %v", got, err)
	}
	_, err := TokenizerFiles([]string{"config.json", "spiece.model"})
	fails(t, err, "neither tokenizer.json")
	_, err = Patterns("[")([]string{"x"})
	fails(t, err, "pattern")
}
