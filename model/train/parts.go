package train

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"distilvit/model"
)

// Part is a choice of tensors and how they are trained otherwise than the rest. What is nil stays as it was.
type Part struct {
	Match        string   `json:"match"`                   // see model.Config.Match
	LearningRate *float64 `json:"learning_rate,omitempty"` // peak, in the place of Config's
	WeightDecay  *float64 `json:"weight_decay,omitempty"`  // in the place of Config's; vectors have none all the same
	Freeze       *bool    `json:"freeze,omitempty"`        // true: not trained
}

// pace is how a tensor is trained. Tensors of one pace are a group of parameters, as torch.optim has them.
type pace struct {
	rate  float64 // peak of the learning rate
	decay float64 // of matrices
}

// plan is what is trained, and how.
type plan struct {
	names   []string // of the tensors that are trained, sorted
	frozen  []string // of the others, sorted
	paces   []pace   // by names
	modules []string // the layers that have an adapter, sorted; the adapters' tensors are among names
}

// PatternError is a part whose pattern no tensor has.
type PatternError struct {
	Part int // of Config.Parts
	Err  error
}

func (e *PatternError) Error() string { return e.Err.Error() }

// CheckParts makes sure that every pattern of c's parts means a tensor of the network, a *PatternError where one
// does not, that every one of LoRA's targets means a layer, else a *model.TargetError, and that something is trained.
func CheckParts(mc *model.Config, c Config) error {
	_, err := c.plan(mc)
	return err
}

// plan applies the parts in their order, the last one wins; LayerDecay multiplies the learning rate that comes of it.
// With LoRA all but the adapters is frozen to begin with.
func (c *Config) plan(mc *model.Config) (plan, error) {
	var out plan
	all, frozen := mc.Names(), map[string]bool{}
	if c.LoRA != nil {
		modules, err := c.LoRA.Modules(mc)
		if err != nil {
			return plan{}, err
		}
		for _, name := range all {
			frozen[name] = true
		}
		all, out.modules = append(all, model.LoRANames(modules)...), modules
		slices.Sort(all)
	}
	paces := make(map[string]pace, len(all))
	for _, name := range all {
		paces[name] = pace{c.LearningRate, c.WeightDecay}
	}
	for i, part := range c.Parts {
		names, err := mc.MatchOf(part.Match, all)
		if err != nil {
			return plan{}, &PatternError{i, err}
		}
		for _, name := range names {
			p := paces[name]
			if part.LearningRate != nil {
				p.rate = *part.LearningRate
			}
			if part.WeightDecay != nil {
				p.decay = *part.WeightDecay
			}
			if part.Freeze != nil {
				frozen[name] = *part.Freeze
			}
			paces[name] = p
		}
	}
	all, err := out.adapters(mc, all, frozen)
	if err != nil {
		return plan{}, err
	}
	for _, name := range all {
		if frozen[name] {
			out.frozen = append(out.frozen, name)
			continue
		}
		p := paces[name]
		if c.LayerDecay > 0 {
			p.rate *= math.Pow(c.LayerDecay, float64(mc.Depth(name)))
		}
		out.names, out.paces = append(out.names, name), append(out.paces, p)
	}
	if out.names == nil {
		return out, errors.New("every tensor is frozen: there is nothing to train")
	}
	return out, nil
}

// adapters leaves out the adapters that are frozen, which would change nothing, and those of layers that are trained
// whole, as PEFT's modules_to_save are. It answers the names that are left, and refuses what PEFT has no form for.
func (p *plan) adapters(mc *model.Config, all []string, frozen map[string]bool) ([]string, error) {
	if p.modules == nil {
		return all, nil
	}
	gone := map[string]bool{}
	p.modules = slices.DeleteFunc(p.modules, func(module string) bool {
		names := model.LoRANames([]string{module})
		out := !frozen[module+".weight"] || frozen[names[0]] && frozen[names[1]]
		for _, name := range names {
			gone[name] = out
		}
		return out
	})
	for _, module := range p.modules {
		bias := module + ".bias"
		if slices.Contains(all, bias) && !frozen[bias] {
			return nil, fmt.Errorf("%s is trained beside an adapter, for which PEFT's files have no place: leave the bias "+
				"frozen, or train %s.weight, too, and so without adapter", bias, module)
		}
		if names := model.LoRANames([]string{module}); frozen[names[0]] != frozen[names[1]] {
			return nil, fmt.Errorf("one half of the adapter of %s is frozen: freeze both or none", module)
		}
	}
	if tied := mc.TiedEmbedding(); tied != "" && !frozen[tied] {
		return nil, fmt.Errorf("%s is trained beside adapters and is the logits' matrix, too: PEFT's files would have it "+
			"as one of the two; leave it frozen, or train without train.lora", tied)
	}
	return slices.DeleteFunc(all, func(name string) bool { return gone[name] }), nil
}

// validateParts reports values that cannot work; patterns are checked with the network.
func (c *Config) validateParts(check func(ok bool, format string, args ...any)) {
	finite := func(x *float64) bool { return x == nil || *x >= 0 && !math.IsInf(*x, 0) }
	for _, p := range c.Parts {
		check(finite(p.LearningRate), "learning_rate of %s is not from 0", p.Match)
		check(finite(p.WeightDecay), "weight_decay of %s is not from 0", p.Match)
	}
	check(c.LayerDecay >= 0 && c.LayerDecay <= 1, "layer_decay is %g; must be from 0 to 1", c.LayerDecay)
}

// Digest of tensors: SHA-256 over each name in order, its shape and its values as float32, little endian; "" of none.
func Digest(names []string, w model.Weights) string {
	if len(names) == 0 {
		return ""
	}
	sum := sha256.New()
	for _, name := range names {
		x := w[name]
		fmt.Fprintln(sum, name, x.Shape)
		binary.Write(sum, binary.LittleEndian, x.Data)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// WithFrozen joins a checkpoint's weights with the tensors it lacks, which are base's. digest is what the checkpoint
// says of them (record.State.Frozen); "" is that of one that has all.
func WithFrozen(trained, base model.Weights, digest string) (model.Weights, error) {
	all := model.Weights{}
	var frozen []string
	for name, x := range base {
		if trained[name] == nil {
			all[name] = x
			frozen = append(frozen, name)
		}
	}
	for name, x := range trained {
		all[name] = x
	}
	slices.Sort(frozen)
	if got := Digest(frozen, base); got != digest {
		return nil, fmt.Errorf("its frozen tensors (%s) are those of other weights: digest %q instead of %q",
			strings.Join(frozen[:min(3, len(frozen))], ", "), got, digest)
	}
	return all, nil
}
