package model

import (
	"fmt"
	"math"
	"slices"
	"strings"

	. "github.com/gomlx/gomlx/core/graph"

	"distilvit/internal/spelling"
)

// LoRA trains a network by low-rank adapters beside some of its linear layers, whose weights stay as they are:
// y = W·x + scale · B·A·x, with A [r, in] and B [out, r]. See https://arxiv.org/abs/2106.09685; names, initial values
// and arithmetic are those of PEFT's LoraConfig and lora.Linear.
type LoRA struct {
	R       int     `json:"r"`                      // rank of B·A
	Alpha   float64 `json:"lora_alpha"`             // see Scale
	Dropout float64 `json:"lora_dropout,omitempty"` // of A's input, 0 to below 1
	RSLoRA  bool    `json:"use_rslora,omitempty"`   // see Scale

	// patterns of the layers that get an adapter, see Modules; none: those of LoRATargets
	TargetModules []string `json:"target_modules,omitempty"`
}

// Ends of the names of an adapter's tensors, behind that of its layer.
const (
	loraA = ".lora_A.weight"
	loraB = ".lora_B.weight"
)

// allLinear is PEFT's word for every linear layer but that of the logits.
const allLinear = "all-linear"

// Scale is what B·A is multiplied with: alpha / r, or with RSLoRA alpha / √r (https://arxiv.org/abs/2312.03732).
func (l *LoRA) Scale() float64 {
	if l.RSLoRA {
		return l.Alpha / math.Sqrt(float64(l.R))
	}
	return l.Alpha / float64(l.R)
}

// Validate reports values that cannot work.
func (l *LoRA) Validate() error {
	switch {
	case l.R < 1 || l.R > maxSize:
		return fmt.Errorf("r is %d; must be from 1 to %d", l.R, maxSize)
	case !(l.Alpha > 0) || math.IsInf(l.Alpha, 0):
		return fmt.Errorf("lora_alpha is %g; must be above 0", l.Alpha)
	case !(l.Dropout >= 0 && l.Dropout < 1):
		return fmt.Errorf("lora_dropout is %g; must be from 0 to below 1", l.Dropout)
	}
	return nil
}

// LoRATargets are the target_modules of a captioner where none are given, for which PEFT knows none: its default for
// GPT-2, c_attn (queries, keys and values in one), and the encoder's queries and values, as LoRA's authors have them; of
// a Prefix the decoder's alone: queries and values, PEFT's default for a Llama, or c_attn.
func (c *Config) LoRATargets() []string {
	n := c.Encoder.Names()
	last := func(name string) string { return name[strings.LastIndex(name, ".")+1:] }
	switch {
	case c.HasLlama():
		return []string{llamaLayers + ".*.self_attn.q_proj", llamaLayers + ".*.self_attn.v_proj"}
	case c.Kind == Prefix:
		return []string{gpt2Layers + ".*.attn.c_attn"}
	}
	return []string{"c_attn", last(n.Query), last(n.Value)}
}

// LinearNames are the names of the layers that may have an adapter, sorted: every linear layer but that of the
// patches, which is a convolution, and that of the logits.
func (c *Config) LinearNames() []string {
	var names []string
	for _, l := range c.linears() {
		names = append(names, l.name)
	}
	slices.Sort(names)
	return names
}

func (c *Config) linears() []linear {
	return New(c, func(string, ...int) *Node { return nil }).linears()
}

// MatchLinear lists the layers of LinearNames that a pattern means, sorted: all with all-linear; those that Match would
// find; and as PEFT has it those whose name ends in it behind a dot, such as c_attn or attn.c_attn.
func (c *Config) MatchLinear(pattern string) ([]string, error) {
	names := c.LinearNames()
	if pattern == allLinear {
		return names, nil
	}
	var found []string
	for _, one := range eachNumber(pattern) {
		matched := append(c.matchOne(one, names), c.matchOne("*."+one, names)...)
		if matched == nil {
			if all := c.Names(); c.matchOne(one, all) != nil || c.matchOne("*."+one, all) != nil {
				return nil, fmt.Errorf("%q is no linear layer of attention or MLP, which alone have adapters: train it "+
					"whole, with train.parts", one)
			}
			return nil, c.noLinear(one, pattern, names)
		}
		found = append(found, matched...)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// noLinear says of a pattern that no layer has it, and what has.
func (c *Config) noLinear(one, pattern string, names []string) error {
	ends := []string{allLinear}
	for _, name := range names {
		parts := strings.Split(name, ".")
		for n := range min(3, len(parts)) {
			ends = append(ends, strings.Join(parts[len(parts)-1-n:], "."))
		}
	}
	slices.Sort(ends)
	if near := spelling.Near(one, slices.Compact(ends), 3); near != nil {
		return fmt.Errorf("no linear layer has the name %q; near ones are %s", one, strings.Join(near, ", "))
	}
	return c.noMatch(one, pattern, names)
}

// LoRANames are the names of the adapters' tensors of these layers, sorted if those are.
func LoRANames(modules []string) []string {
	var names []string
	for _, m := range modules {
		names = append(names, m+loraA, m+loraB)
	}
	return names
}

// Modules lists the layers that get an adapter, sorted: those that one of TargetModules means, see MatchLinear. A
// pattern that means none is a *TargetError.
func (l *LoRA) Modules(c *Config) ([]string, error) {
	patterns := l.TargetModules
	if len(patterns) == 0 {
		patterns = c.LoRATargets()
	}
	var all []string
	for i, pattern := range patterns {
		found, err := c.MatchLinear(pattern)
		if err != nil {
			return nil, &TargetError{i, err}
		}
		all = append(all, found...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// TargetError is a pattern that means no linear layer.
type TargetError struct {
	Target int // of LoRA.TargetModules
	Err    error
}

func (e *TargetError) Error() string { return e.Err.Error() }

// LoRAModule is the layer whose adapter a tensor belongs to.
func LoRAModule(name string) (module string, ok bool) {
	for _, end := range []string{loraA, loraB} {
		if module, ok = strings.CutSuffix(name, end); ok {
			return module, true
		}
	}
	return "", false
}

// Shapes are those of the tensors of the adapters of these layers.
func (l *LoRA) Shapes(c *Config, modules []string) map[string][]int {
	shapes, whole := map[string][]int{}, c.Shapes()
	for _, layer := range c.linears() {
		if slices.Contains(modules, layer.name) {
			out, in := layer.sides(whole[layer.name+".weight"])
			shapes[layer.name+loraA], shapes[layer.name+loraB] = []int{l.R, in}, []int{out, l.R}
		}
	}
	return shapes
}

// sides are a layer's widths by its weight's shape.
func (l linear) sides(weight []int) (out, in int) {
	if l.transposed {
		return weight[1], weight[0]
	}
	return weight[0], weight[1]
}

// Init draws adapters of these layers as PEFT does, each tensor a function of the seed and its name: A by
// kaiming_uniform with a = √5, which is uniform below 1/√in, and B = 0, so that they change nothing yet.
func (l *LoRA) Init(c *Config, modules []string, seed uint64) Weights {
	w := Weights{}
	for name, shape := range l.Shapes(c, modules) {
		t := &Tensor{Shape: shape, Data: make([]float32, elements(shape))}
		if strings.HasSuffix(name, loraA) {
			rng, bound := generator(name, seed), 1/math.Sqrt(float64(shape[1]))
			for i := range t.Data {
				t.Data[i] = float32((2*rng.Float64() - 1) * bound)
			}
		}
		w[name] = t
	}
	return w
}

// MergedModule is a layer's weight with its adapter in it: W + scale · B·A, computed in float64 and rounded once, the
// same on every machine.
func (l *LoRA) MergedModule(c *Config, module string, weight, a, b *Tensor) *Tensor {
	layers := c.linears()
	transposed := layers[slices.IndexFunc(layers, func(x linear) bool { return x.name == module })].transposed
	left, right := b.Data, a.Data // W [rows, columns] += scale · left [rows, r] · right [r, columns]
	if transposed {
		left, right = transpose(a), transpose(b)
	}
	rows, columns := weight.Shape[0], weight.Shape[1]
	merged, sum := &Tensor{Shape: weight.Shape, Data: make([]float32, rows*columns)}, make([]float64, columns)
	for row := range rows {
		clear(sum)
		for k := range l.R {
			x := float64(left[row*l.R+k])
			for j, y := range right[k*columns : (k+1)*columns] {
				sum[j] += float64(x * float64(y)) // the conversion keeps the product from being fused with the sum
			}
		}
		for j, s := range sum {
			at := row*columns + j
			merged.Data[at] = float32(float64(weight.Data[at]) + float64(l.Scale()*s))
		}
	}
	return merged
}

// transpose: [n, m] → values of [m, n]
func transpose(t *Tensor) []float32 {
	n, m := t.Shape[0], t.Shape[1]
	out := make([]float32, n*m)
	for i := range n {
		for j := range m {
			out[j*n+i] = t.Data[i*m+j]
		}
	}
	return out
}

// Merge is the network of weights, in which its adapters are tensors of their own: ordinary weights without them.
func (l *LoRA) Merge(c *Config, w Weights) Weights {
	merged := Weights{}
	for name, t := range w {
		if _, ok := LoRAModule(name); !ok {
			merged[name] = t
		}
	}
	for name := range w {
		if module, ok := strings.CutSuffix(name, loraA); ok {
			at := module + ".weight"
			merged[at] = l.MergedModule(c, module, w[at], w[name], w[module+loraB])
		}
	}
	return merged
}

// LowRank is an adapter beside a linear layer.
type LowRank struct {
	A, B  *Node // [r, in], [out, r]
	scale float64
	drop  *Dropout // of A's input
}

// add adds to a layer's y [..., out] what its adapter, if it has one, makes of x [..., in].
func (l *LowRank) add(y, x *Node) *Node {
	if l == nil {
		return y
	}
	last := []int{x.Rank() - 1}
	h := dot(l.drop.Hidden(x), last, nil, l.A, []int{1}, nil) // [..., r]
	return Add(y, dot(MulScalar(h, l.scale), last, nil, l.B, []int{1}, nil))
}

// Sites at which the adapters' dropout begins to count: others than the decoder's own.
const (
	pictureSites = 1 << 20
	captionSites = 1 << 21
)

// Adapt puts adapters beside these layers. The input of A is dropped with keys as Dropout has them, [B·K] of B pictures,
// or without keys not at all; what is made of a picture alone, once for all its captions, by the key of its first.
func (m *VisionEncoderDecoder) Adapt(l *LoRA, modules []string, bind Bind, keys *Node, pictures int) {
	var ofPicture, ofCaption *Dropout
	if keys != nil && l.Dropout > 0 {
		captions := keys.Shape().Dim(0) / pictures
		first := Reshape(Slice(Reshape(keys, pictures, captions), AxisRange(), AxisRange(0, 1)), pictures)
		ofPicture = &Dropout{Rate: l.Dropout, Keys: first, sites: pictureSites}
		ofCaption = &Dropout{Rate: l.Dropout, Keys: keys, sites: captionSites}
	}
	for _, layer := range m.linears() {
		if !slices.Contains(modules, layer.name) {
			continue
		}
		drop := ofCaption
		if layer.ofPictures {
			drop = ofPicture
		}
		out, in := layer.sides((*layer.weight).Shape().Dimensions)
		*layer.lora = &LowRank{
			A: bind(layer.name+loraA, l.R, in), B: bind(layer.name+loraB, out, l.R), scale: l.Scale(), drop: drop,
		}
	}
}
