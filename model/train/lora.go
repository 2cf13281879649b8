package train

import (
	"fmt"
	"maps"
	"slices"

	"distilvit/internal/device"
	"distilvit/model"
)

// Adapters are the initial weights of c's adapters: drawn by seed, or those given, which must be of the same layers
// and shapes; what else is given must be trained, and is returned with them.
func Adapters(mc *model.Config, c Config, given model.Weights, seed uint64) (model.Weights, error) {
	if c.LoRA == nil {
		return nil, nil
	}
	p, err := c.plan(mc)
	if err != nil {
		return nil, err
	}
	drawn := c.LoRA.Init(mc, p.modules, seed)
	if given == nil {
		return drawn, nil
	}
	var missing, unknown []string
	for name := range drawn {
		if given[name] == nil {
			missing = append(missing, name)
		}
	}
	for name := range given {
		if !slices.Contains(p.names, name) {
			unknown = append(unknown, name)
		}
	}
	for _, wrong := range []struct {
		names []string
		what  string
	}{
		{missing, "lacks %s and %d more that train.lora trains"},
		{unknown, "has %s and %d more that train.lora and train.parts do not train"},
	} {
		if slices.Sort(wrong.names); len(wrong.names) > 0 {
			return nil, fmt.Errorf(wrong.what+"; train.lora.target_modules must be those of the adapter, and train.parts "+
				"unfreeze what it has whole", wrong.names[0], len(wrong.names)-1)
		}
	}
	return given, nil
}

// FrozenOf is the first tensor of those that a pattern means which is not trained; "" if all are.
func FrozenOf(mc *model.Config, c Config, pattern string) (string, error) {
	p, err := c.plan(mc)
	if err != nil {
		return "", err
	}
	names, err := mc.Match(pattern)
	for _, name := range names {
		if slices.Contains(p.frozen, name) {
			return name, nil
		}
	}
	return "", err
}

// shapes are those of all tensors, trained and frozen.
func (p plan) shapes(mc *model.Config, l *model.LoRA) map[string][]int {
	shapes := mc.Shapes()
	if l != nil {
		maps.Copy(shapes, l.Shapes(mc, p.modules))
	}
	return shapes
}

func weightsOf(modules []string) []string {
	names := make([]string, len(modules))
	for i, module := range modules {
		names[i] = module + ".weight"
	}
	return names
}

// mergeModules puts the weights of the layers that have an adapter, adapter merged, on the first device, in the order
// of the plan's modules. The host computes them, in the same way for an export. So captions cost what they cost
// without adapters; two products more a layer and token, each of a matrix, would cost more than this once a validation.
func (t *Trainer) mergeModules() error {
	if t.config.LoRA == nil || t.merged != nil {
		return nil
	}
	adapters, err := t.download(t.names, t.shown())
	if err != nil {
		return err
	}
	for _, module := range t.plan.modules {
		at := slices.Index(t.plan.frozen, module+".weight")
		weight, err := t.download(t.plan.frozen[at:at+1], t.frozen.Slice(at, at+1))
		if err != nil {
			t.dropMerged()
			return err
		}
		names := model.LoRANames([]string{module})
		whole := t.config.LoRA.MergedModule(
			t.model, module, weight[module+".weight"], adapters[names[0]], adapters[names[1]])
		x, err := device.Upload(t.be, whole.Data, whole.Shape...)
		if err != nil {
			t.dropMerged()
			return fmt.Errorf("tensor %s.weight, merged: %w", module, err)
		}
		t.merged = append(t.merged, x)
	}
	return nil
}

// dropMerged frees what the next step makes stale.
func (t *Trainer) dropMerged() {
	device.Free(t.merged...)
	t.merged = nil
}
