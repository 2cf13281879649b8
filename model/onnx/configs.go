package onnx

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"distilvit/artifact/record"
	"distilvit/internal/atomicfile"
	"distilvit/model"
)

// WriteConfigs writes config.json and generation_config.json. dtypes are those that the directory will
// hold: config.json names those that Transformers.js 3 and 4 load unless they are told otherwise. Of the
// options lengths, special tokens and what may follow are written.
//
// Of a Prefix, config.json is what Transformers.js takes it for, a VisionEncoderDecoderModel, with Hugging Face's own
// config under the key llava.
func WriteConfigs(dir string, c *model.Config, o model.GenerateOptions, dtypes []string) error {
	config, err := keys(c)
	if err != nil {
		return err
	}
	if c.Kind == model.Prefix {
		config = asEncoderDecoder(c, config)
	}
	if defaults := defaultDtypes(dtypes, dtypes); defaults != nil {
		config[defaultsKey] = defaults
	}
	if err := writeJSON(filepath.Join(dir, configFile), config); err != nil {
		return err
	}
	return WriteGenerationConfig(dir, c, o)
}

// Folders of a published Prefix that have the configs for transformers in Python, by the model that it is there; the weights
// are those beside them.
const (
	LlavaFolder   = "llava"
	SmolVLMFolder = "smolvlm" // with pixel shuffle
)

// PythonFolder is that of a Prefix.
func PythonFolder(c *model.Config) string {
	if c.Projector.ScaleFactor > 0 {
		return SmolVLMFolder
	}
	return LlavaFolder
}

// WriteLlava writes the configs of a Prefix for transformers in Python into its PythonFolder of dir and answers their names;
// of another kind, whose configs are those of both libraries, none.
func WriteLlava(dir string, c *model.Config, o model.GenerateOptions) ([]string, error) {
	if c.Kind != model.Prefix {
		return nil, nil
	}
	name := PythonFolder(c)
	folder := filepath.Join(dir, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	config, err := keys(c)
	if err == nil {
		err = writeJSON(filepath.Join(folder, configFile), config)
	}
	if err != nil {
		return nil, err
	}
	options := generationConfig(c, o)
	for _, length := range []string{"max", "min"} { // which count the picture's vectors there
		if tokens, ok := options[length+"_length"].(int); ok {
			options[length+"_new_tokens"] = tokens - 1
			delete(options, length+"_length")
		}
	}
	delete(options, "decoder_start_token_id")
	err = writeJSON(filepath.Join(folder, generationFile), options)
	return []string{name + "/" + configFile, name + "/" + generationFile}, err
}

// keys are a config's as its config.json has them.
func keys(c *model.Config) (config map[string]any, err error) {
	raw, err := json.Marshal(c)
	if err == nil {
		err = json.Unmarshal(raw, &config)
	}
	return config, err
}

// asEncoderDecoder are the keys by which Transformers.js runs the two files of a Prefix: from those of a GPT-2 it
// computes which caches they have and of which shapes, from nothing else. llava is Hugging Face's config.
func asEncoderDecoder(c *model.Config, llava map[string]any) map[string]any {
	heads, size := c.KeyHeads()
	special := map[string]any{
		"bos_token_id": c.BOSTokenID, "eos_token_id": c.EOSTokenID, "pad_token_id": c.PadTokenID,
		"decoder_start_token_id": c.DecoderStartTokenID,
	}
	decoder := map[string]any{
		"model_type": "gpt2", "architectures": []string{"GPT2LMHeadModel"}, "is_decoder": true,
		"n_layer": c.DecoderLayers(), "n_head": heads, "n_embd": heads * size, "vocab_size": c.VocabSize(),
	}
	maps.Copy(decoder, special)
	config := map[string]any{
		"model_type": "vision-encoder-decoder", "architectures": []string{"VisionEncoderDecoderModel"},
		"is_encoder_decoder": true, "encoder": llava["vision_config"], "decoder": decoder, "llava": llava,
	}
	maps.Copy(config, special)
	return config
}

const (
	configFile     = "config.json"
	generationFile = "generation_config.json"
	defaultsKey    = "transformers.js_config"
)

// Recommend changes config.json where the dtype that it names for a device was checked there and is wrong, if another one is
// not. It answers whether it did.
func Recommend(dir string, checks []record.ExportCheck) (changed bool, err error) {
	path := filepath.Join(dir, configFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	var config map[string]any
	if err := json.Unmarshal(raw, &config); err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	without := func(devices ...string) (dtypes []string) {
		var all []string
		for _, c := range checks {
			all = append(all, c.Dtype)
			if !slices.ContainsFunc(c.Devices, func(d record.DeviceCheck) bool {
				return slices.Contains(devices, d.Device) && d.Wrong()
			}) {
				dtypes = append(dtypes, c.Dtype)
			}
		}
		if len(dtypes) == 0 {
			return all
		}
		return dtypes
	}
	defaults := defaultDtypes(without(record.DeviceNode, record.DeviceWasm), without(record.DeviceWebGPU))
	if reflect.DeepEqual(config[defaultsKey], any(defaults)) {
		return false, nil
	}
	config[defaultsKey] = defaults
	return true, writeJSON(path, config)
}

// What Transformers.js loads of the published dtypes unless a page asks for another, best first; of those that
// stand together the one that the config names first. By themselves the libraries take fp32 under Node and on
// WebGPU, and in WebAssembly q8 whether it is there or not.
//
// On WebGPU q4 comes first, as ONNX Runtime computes products of integers on the processor there. Not every
// device has float16: Transformers.js says so of fp16, but version 3 captions with q4f16 all the same, wrongly.
var (
	onProcessor = [][]string{{"q8", "int8", "q4"}, {"q4f16"}, {"fp16"}, {"fp32"}}
	onWebGPU    = [][]string{{"q4"}, {"q8", "int8"}, {"fp16"}, {"fp32"}, {"q4f16"}}
)

// defaultDtypes is config.json's transformers.js_config, of the dtypes that may be named for the processor and for
// WebGPU; nil where nothing is published.
func defaultDtypes(forProcessor, forWebGPU []string) map[string]any {
	if len(forProcessor) == 0 {
		return nil
	}
	processor, webgpu := best(forProcessor, onProcessor), best(forWebGPU, onWebGPU)
	defaults := map[string]any{"dtype": processor}
	if webgpu != processor {
		defaults["device_config"] = map[string]any{"webgpu": map[string]any{"dtype": webgpu}}
	}
	return defaults
}

// ForProcessor is which of the published dtypes config.json names for WebAssembly and Node; empty where none
// is published.
func ForProcessor(published []string) string { return best(published, onProcessor) }

// best is the first of the published dtypes that is in the first group that has any.
func best(published []string, groups [][]string) string {
	for _, group := range groups {
		for _, dtype := range published {
			if slices.Contains(group, dtype) {
				return dtype
			}
		}
	}
	return ""
}

// WriteGenerationConfig writes generation_config.json alone.
func WriteGenerationConfig(dir string, c *model.Config, o model.GenerateOptions) error {
	return writeJSON(filepath.Join(dir, generationFile), generationConfig(c, o))
}

// generationConfig are the keys by which transformers and Transformers.js caption alike. Captions are
// decoded greedily everywhere: Transformers.js knows no beams.
func generationConfig(c *model.Config, o model.GenerateOptions) map[string]any {
	ends := o.Ends(c)
	keys := map[string]any{
		"bos_token_id":           c.BOSTokenID,
		"decoder_start_token_id": o.Start(c),
		"eos_token_id":           oneOrAll(ends),
		"max_length":             o.MaxLength,
		"num_beams":              1,
		"pad_token_id":           c.PadTokenID,
	}
	set := func(key string, asked bool, value any) {
		if asked {
			keys[key] = value
		}
	}
	words := badWords(o, ends)
	set("min_length", o.MinLength > 0, o.MinLength)
	set("no_repeat_ngram_size", o.NoRepeatNGramSize > 0, o.NoRepeatNGramSize)
	set("repetition_penalty", o.RepetitionPenalty != 0 && o.RepetitionPenalty != 1, o.RepetitionPenalty)
	set("bad_words_ids", len(words) > 0, words)
	set("suppress_tokens", len(o.SuppressTokens) > 0, o.SuppressTokens)
	set("begin_suppress_tokens", len(o.BeginSuppressTokens) > 0, o.BeginSuppressTokens)
	set("forced_bos_token_id", o.ForcedBOSTokenID != nil, o.ForcedBOSTokenID)
	set("forced_eos_token_id", len(o.ForcedEOSTokenID) > 0, oneOrAll(o.ForcedEOSTokenID))
	return keys
}

// badWords are the options' sequences for both libraries. transformers passes over an end token by
// itself, and over a word that an end token stands in before its last, or that begins with a start token
// that ends captions: no caption has those. Transformers.js would forbid such a word's last token, so they
// are left out. Transformers.js 2 and 3 do not know suppress_tokens: they stand here, too.
func badWords(o model.GenerateOptions, ends []int32) []model.TokenIDs {
	var words []model.TokenIDs
	isEnd := func(id int32) bool { return slices.Contains(ends, id) }
	add := func(word model.TokenIDs) {
		last := len(word) - 1
		never := slices.ContainsFunc(word[:last], isEnd) || last == 0 && isEnd(word[0])
		if !never && !slices.ContainsFunc(words, func(w model.TokenIDs) bool { return slices.Equal(w, word) }) {
			words = append(words, word)
		}
	}
	for _, word := range o.BadWordsIDs {
		add(word)
	}
	for _, id := range o.SuppressTokens {
		add(model.TokenIDs{id})
	}
	return words
}

func oneOrAll(ids []int32) any {
	if len(ids) == 1 {
		return ids[0]
	}
	return ids
}

// writeJSON writes v with sorted keys.
func writeJSON(path string, v any) error {
	err := atomicfile.Write(path, 0o644, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(v)
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
