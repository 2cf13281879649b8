package pipeline

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// DecodeSweep reads a sweep as YAML or JSON, as strictly as Decode reads a config. The run's config stands under run,
// to which the assignments belong, or in the file that base names, which read answers.
func DecodeSweep(data []byte, read func(file string) (Config, error), set ...string) (Sweep, error) {
	root, problem := parse(data)
	if problem != nil {
		return Sweep{}, configError([]Problem{*problem})
	}
	var base *Config
	if node := takeChild(root, "base"); node != nil {
		if node.Kind != yaml.ScalarNode || node.Tag != "!!str" || child(root, "run") != nil {
			return Sweep{}, configError([]Problem{{
				Path: "base", Line: node.Line, Message: "wants the name of a run's config, in the place of run",
			}})
		}
		c, err := read(node.Value)
		if err != nil {
			return Sweep{}, err
		}
		base = &c
	} else if len(set) > 0 {
		run := child(root, "run")
		if run == nil || run.Kind != yaml.MappingNode {
			return Sweep{}, configError([]Problem{{Path: "run", Message: "is missing"}})
		}
		d := newDecoder()
		for _, assignment := range set {
			d.assign(run, assignment)
		}
		if err := configError(d.problems); err != nil {
			return Sweep{}, err
		}
	}
	d := newDecoder()
	s := d.sweep(root)
	if base != nil {
		s.Run = *base
	}
	d.problems = append(d.problems, d.impossible(s.problems(true))...)
	return s, configError(d.problems)
}

// UnmarshalJSON is as strict as DecodeSweep; whether values are possible is left to Validate.
func (s *Sweep) UnmarshalJSON(data []byte) error {
	root, problem := parseJSON(data)
	if problem != nil {
		return configError([]Problem{*problem})
	}
	d := newDecoder()
	decoded := d.sweep(root)
	if len(d.problems) > 0 {
		return configError(d.problems)
	}
	*s = decoded
	return nil
}

func (d *decoder) sweep(root *yaml.Node) Sweep {
	s := SweepDefault()
	d.whole = reflect.TypeFor[Sweep]()
	d.value(root, "", reflect.ValueOf(&s).Elem())
	if s.Method == MethodRandom && s.Trials == 0 {
		s.Trials = defaultTrials
	}
	return s
}

// takeChild takes a key out of a mapping and answers its value; nil where it is not there.
func takeChild(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			value := follow(n.Content[i+1])
			n.Content = append(n.Content[:i:i], n.Content[i+2:]...)
			return value
		}
	}
	return nil
}

// parameter reads a list of values or a range.
func (d *decoder) parameter(n *yaml.Node, path string, p *Parameter) {
	switch n.Kind {
	case yaml.SequenceNode:
		p.Values = []json.RawMessage{}
		for i, item := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			d.lines[at] = item.Line
			value, err := jsonOf(item)
			if err != nil {
				d.fail(at, item, "%v", err)
			}
			p.Values = append(p.Values, value)
		}
	case yaml.MappingNode:
		p.Range = &Range{}
		d.structure(n, path, reflect.ValueOf(p.Range).Elem())
		for _, key := range []string{"min", "max"} {
			if child(n, key) == nil {
				d.fail(path, n, "has no %s; a range is {min: 1e-5, max: 1e-3, log: true}", key)
			}
		}
	default:
		d.fail(path, n, "wants a list of values, or {min: …, max: …}, not %s", describe(n))
	}
}

// jsonOf is the JSON of a value, with a number as it was written wherever JSON has that form.
func jsonOf(n *yaml.Node) (json.RawMessage, error) {
	n = follow(n)
	if (n.Tag == "!!int" || n.Tag == "!!float") && json.Valid([]byte(n.Value)) {
		return json.RawMessage(n.Value), nil
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!float" { // .5, 1_000.0, which YAML knows
		f, err := strconv.ParseFloat(strings.ReplaceAll(n.Value, "_", ""), 64)
		if err != nil {
			return nil, err
		}
		return json.Marshal(f)
	}
	var value any
	if err := n.Decode(&value); err != nil {
		return nil, err
	}
	return json.Marshal(value)
}
