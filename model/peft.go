package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Files of an adapter in PEFT's form.
const (
	AdapterConfigName  = "adapter_config.json"
	AdapterWeightsName = "adapter_model.safetensors"
	adapterTorchName   = "adapter_model.bin"
)

// peftPrefix begins the names of tensors in PEFT's files, before the captioner's.
const peftPrefix = "base_model.model."

// peftConfig are the keys of PEFT's LoraConfig that an adapter of ours has; the others keep PEFT's defaults.
type peftConfig struct {
	Base          *string  `json:"base_model_name_or_path"`
	Bias          string   `json:"bias"`
	FanInFanOut   bool     `json:"fan_in_fan_out"` // a layer's weight is [in, out]; PEFT looks at each layer's kind, too
	InferenceMode bool     `json:"inference_mode"`
	Alpha         float64  `json:"lora_alpha"`
	Dropout       float64  `json:"lora_dropout"`
	ModulesToSave []string `json:"modules_to_save"`
	Type          string   `json:"peft_type"`
	R             int      `json:"r"`
	TargetModules []string `json:"target_modules"`
	TaskType      *string  `json:"task_type"`
	RSLoRA        bool     `json:"use_rslora"`
}

// WriteAdapter writes what was trained of a network as PEFT does, into dir: the adapters, and whole the modules of the
// other trained tensors (modules_to_save). w are all of the network's tensors, adapters not merged; trained the names
// of those that were. base names the weights that the adapter is for, "" where they have no name.
// PeftModel.from_pretrained(base, dir) then computes what the merged network does.
func WriteAdapter(dir string, c *Config, l *LoRA, w Weights, trained []string, base string) error {
	j := peftConfig{
		Bias: "none", InferenceMode: true, Alpha: l.Alpha, Dropout: l.Dropout, Type: "LORA", R: l.R, RSLoRA: l.RSLoRA,
		TargetModules: []string{},
	}
	if base != "" {
		j.Base = &base
	}
	out, saved := Weights{}, map[string]bool{}
	for _, name := range trained {
		module, ok := LoRAModule(name)
		if !ok {
			saved[name[:strings.LastIndex(name, ".")]] = true
			continue
		}
		out[peftPrefix+c.inMemory(name)] = w[name]
		j.TargetModules = append(j.TargetModules, c.inMemory(module))
	}
	slices.Sort(j.TargetModules)
	j.TargetModules = slices.Compact(j.TargetModules)
	for _, layer := range c.linears() {
		j.FanInFanOut = j.FanInFanOut || layer.transposed && slices.Contains(j.TargetModules, c.inMemory(layer.name))
	}
	j.ModulesToSave = outermost(saved)
	for i, module := range j.ModulesToSave {
		for name, t := range w {
			if strings.HasPrefix(name, module+".") {
				out[peftPrefix+c.inMemory(name)] = t
			}
		}
		j.ModulesToSave[i] = c.inMemory(module)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write adapter: %w", err)
	}
	text, err := json.MarshalIndent(j, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, AdapterConfigName), append(text, '\n'), 0o644)
	}
	if err == nil {
		err = WriteWeights(filepath.Join(dir, AdapterWeightsName), out, nil)
	}
	if err != nil {
		return fmt.Errorf("write adapter: %w", err)
	}
	return nil
}

// outermost are the modules that are not within another of them, sorted; nil, as PEFT has it, of none.
func outermost(modules map[string]bool) (list []string) {
	for _, m := range slices.Sorted(maps.Keys(modules)) {
		if len(list) == 0 || !strings.HasPrefix(m, list[len(list)-1]+".") {
			list = append(list, m)
		}
	}
	return list
}

// ReadAdapterConfig reads the adapter_config.json of a LoRA adapter, its target_modules left out: its tensors say what
// layers it is of. What PEFT has and this program does not (DoRA, ranks by layer, biases, other methods) is an error.
func ReadAdapterConfig(dir string) (*LoRA, error) {
	path := filepath.Join(dir, AdapterConfigName)
	text, err := readSmall(path)
	if err != nil {
		return nil, fmt.Errorf("read adapter: %w", err)
	}
	var j peftConfig
	var all map[string]any
	if err = json.Unmarshal(text, &all); err == nil {
		delete(all, "target_modules") // text or a list
		text, _ = json.Marshal(all)
		err = json.Unmarshal(text, &j)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if j.Type != "LORA" {
		return nil, fmt.Errorf("read %s: peft_type is %q; only LORA is known", path, j.Type)
	}
	for _, key := range []string{
		"use_dora", "use_qalora", "lora_bias", "rank_pattern", "alpha_pattern", "layer_replication",
		"trainable_token_indices", "target_parameters",
	} {
		if on(all[key]) {
			return nil, fmt.Errorf("read %s: %s is %v; adapters of this kind are not known", path, key, all[key])
		}
	}
	if j.Bias != "none" && j.Bias != "" {
		return nil, fmt.Errorf("read %s: bias is %q; only none is known", path, j.Bias)
	}
	if how, ok := all["init_lora_weights"].(string); ok && how != "gaussian" && how != "orthogonal" && how != "eva" {
		return nil, fmt.Errorf("read %s: init_lora_weights is %q, which changes the base's weights, too; convert the adapter "+
			"to an ordinary one with PEFT's path_initial_model_for_weight_conversion", path, how)
	}
	l := &LoRA{R: j.R, Alpha: j.Alpha, Dropout: j.Dropout, RSLoRA: j.RSLoRA}
	if err := l.Validate(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return l, nil
}

// on says whether a key of a config does something.
func on(value any) bool {
	switch x := value.(type) {
	case nil:
		return false
	case bool:
		return x
	case map[string]any:
		return len(x) > 0
	case []any:
		return len(x) > 0
	}
	return true
}

// HasAdapter says whether dir holds an adapter in PEFT's form.
func HasAdapter(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, AdapterConfigName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// ReadAdapter reads an adapter of c's network: how its B·A is scaled, and its tensors by the network's names, those of
// modules_to_save among them. What it has of the encoder's pooler, which captioners do not use, is left out.
func ReadAdapter(dir string, c *Config) (*LoRA, Weights, error) {
	l, err := ReadAdapterConfig(dir)
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, AdapterWeightsName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		path = filepath.Join(dir, adapterTorchName)
	}
	f := &tensorFiles{dir: dir, found: map[string]tensorAt{}}
	defer f.close()
	if err := f.open(path); err != nil {
		return nil, nil, err
	}
	f.rename(func(name string) string { return c.tensorName(strings.TrimPrefix(name, peftPrefix)) })
	shapes := c.Shapes()
	maps.Copy(shapes, l.Shapes(c, c.LinearNames()))
	for name := range shapes {
		if _, ok := f.found[name]; !ok {
			delete(shapes, name)
		}
	}
	w, err := f.read(shapes)
	if err == nil && len(w) == 0 {
		err = fmt.Errorf("read %s: there is no tensor of the network in it", path)
	}
	return l, w, err
}
