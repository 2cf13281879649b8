package onnx

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"distilvit/model"
)

// WriteConfigs writes config.json and generation_config.json. dtypes are those that the directory will hold: without fp32,
// which Transformers.js takes by default under Node, config.json names the first as the default. maxLength counts tokens with the start
// token, as Hugging Face does.
func WriteConfigs(dir string, c *model.Config, maxLength int, dtypes []string) error {
	raw, err := json.Marshal(c)
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal(raw, &config); err != nil {
		return err
	}
	if len(dtypes) > 0 && !slices.Contains(dtypes, "fp32") {
		config["transformers.js_config"] = map[string]any{"dtype": dtypes[0]}
	}
	if err := writeJSON(filepath.Join(dir, "config.json"), config); err != nil {
		return err
	}
	// Captions are decoded greedily everywhere: Transformers.js knows no beams.
	return writeJSON(filepath.Join(dir, "generation_config.json"), map[string]any{
		"bos_token_id":           c.BOSTokenID,
		"decoder_start_token_id": c.DecoderStartTokenID,
		"eos_token_id":           c.EOSTokenID,
		"max_length":             maxLength,
		"num_beams":              1,
		"pad_token_id":           c.PadTokenID,
	})
}

// writeJSON writes v with sorted keys.
func writeJSON(path string, v any) error {
	err := writeFile(path, func(w io.Writer) error {
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
