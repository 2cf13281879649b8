package pipeline

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Decode reads a config as YAML or JSON and then applies assignments of the
// form train.epochs=3, dataset.0.limit=10 or export.dtypes=[fp32,q8]. An absent
// key keeps its value of Default; one that is written is taken as written, 0
// too. Unknown keys, wrong types and impossible values are all reported at
// once, as a *ConfigError.
func Decode(data []byte, set ...string) (Config, error) {
	root, problem := parse(data)
	if problem != nil {
		return Config{}, configError([]Problem{*problem})
	}
	d := newDecoder()
	for _, assignment := range set {
		d.assign(root, assignment)
	}
	c := d.config(root)
	d.problems = append(d.problems, d.impossible(c.Resolve().problems())...)
	if err := configError(d.problems); err != nil {
		return Config{}, err
	}
	return c, nil
}

// UnmarshalJSON is as strict about keys and types as Decode and fills absent
// keys alike, so a workflow started with JSON by hand gets the same answer.
// Whether values are possible is left to Validate, unless there are mistakes to
// report anyway.
func (c *Config) UnmarshalJSON(data []byte) error {
	root, problem := parseJSON(data)
	if problem != nil {
		return configError([]Problem{*problem})
	}
	d := newDecoder()
	decoded := d.config(root)
	if len(d.problems) > 0 {
		d.problems = append(d.problems, d.impossible(decoded.Resolve().problems())...)
		return configError(d.problems)
	}
	*c = decoded
	return nil
}

// decoder fills a Config, or a Sweep, from a tree and collects what is wrong with it.
type decoder struct {
	problems []Problem
	lines    map[string]int // line of each path that was read
	whole    reflect.Type   // of the document
}

func newDecoder() *decoder {
	return &decoder{lines: map[string]int{}, whole: reflect.TypeFor[Config]()}
}

func (d *decoder) config(root *yaml.Node) Config {
	c := Default()
	d.value(root, "", reflect.ValueOf(&c).Elem())
	return c
}

// impossible are these problems of what was read, with lines, beyond keys already reported.
func (d *decoder) impossible(problems []Problem) []Problem {
	var found []Problem
	for _, p := range problems {
		reported := false
		for _, q := range d.problems {
			reported = reported || q.Path == "" || p.Path == q.Path ||
				strings.HasPrefix(p.Path, q.Path+".") || strings.HasPrefix(p.Path, q.Path+"[")
		}
		if !reported {
			p.Line = d.lines[p.Path]
			found = append(found, p)
		}
	}
	return found
}

func (d *decoder) fail(path string, n *yaml.Node, format string, args ...any) {
	d.problems = append(d.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...), Line: n.Line})
}

func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	n = follow(n)
	d.lines[path] = n.Line
	if p, ok := v.Addr().Interface().(*Parameter); ok {
		d.parameter(n, path, p)
		return
	}
	null := n.Kind == yaml.ScalarNode && n.Tag == "!!null"
	switch v.Kind() {
	case reflect.Struct:
		if n.Kind == yaml.MappingNode {
			d.structure(n, path, v)
		} else if !null || path == "" {
			d.fail(path, n, "wants keys and values, not %s", describe(n))
		}
	case reflect.Pointer:
		if null {
			v.SetZero()
		} else {
			v.Set(reflect.New(v.Type().Elem()))
			d.value(n, path, v.Elem())
		}
	case reflect.Slice:
		if paths, ok := v.Addr().Interface().(*Paths); ok && n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
			*paths = onePath(n.Value)
		} else if n.Kind == yaml.SequenceNode {
			d.list(n, path, v)
		} else if null {
			v.SetZero()
		} else {
			d.fail(path, n, "wants %s, not %s", wanted(v.Type()), describe(n))
		}
	case reflect.Map:
		if n.Kind == yaml.MappingNode {
			d.texts(n, path, v)
		} else if null {
			v.SetZero()
		} else {
			d.fail(path, n, "wants keys and values, not %s", describe(n))
		}
	default:
		d.scalar(n, path, v)
	}
}

func (d *decoder) structure(n *yaml.Node, path string, v reflect.Value) {
	if source, ok := v.Addr().Interface().(*SourceConfig); ok {
		if kind := child(n, "kind"); kind != nil && kind.Value == KindShapes {
			source.Shapes = defaultShapes()
		}
	}
	keys := jsonKeys(v.Type())
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, inner := n.Content[i], join(path, n.Content[i].Value)
		field, known := keys.index[key.Value]
		switch {
		case seen[key.Value]:
			d.fail(inner, key, "given twice")
		case !known:
			d.fail(inner, key, "%s", d.unknownKey(key.Value, path, keys.names))
		default:
			d.value(n.Content[i+1], inner, v.Field(field))
		}
		seen[key.Value] = true
	}
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value) {
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		d.value(item, fmt.Sprintf("%s[%d]", path, i), list.Index(i))
	}
	v.Set(list)
}

func (d *decoder) texts(n *yaml.Node, path string, v reflect.Value) {
	texts := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		if texts.MapIndex(reflect.ValueOf(n.Content[i].Value)).IsValid() {
			d.fail(join(path, n.Content[i].Value), n.Content[i], "given twice")
			continue
		}
		text := reflect.New(v.Type().Elem()).Elem()
		value := follow(n.Content[i+1])
		if values, ok := text.Addr().Interface().(*Paths); ok && value.Kind == yaml.ScalarNode &&
			value.Tag != "!!null" {
			*values = onePath(value.Value) // a number or true is compared as it is written
		} else {
			d.value(value, join(path, n.Content[i].Value), text)
		}
		texts.SetMapIndex(reflect.ValueOf(n.Content[i].Value), text)
	}
	v.Set(texts)
}

func (d *decoder) scalar(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.fail(path, n, "wants %s, not %s", wanted(v.Type()), describe(n))
		return
	}
	text, ok := n.Value, false
	digits := strings.ReplaceAll(text, "_", "")
	switch v.Kind() {
	case reflect.String:
		var i int64
		if ok = n.Tag == "!!str"; !ok && v.Type() == reflect.TypeFor[Vocabulary]() {
			i, ok = wholeNumber(n.Tag, digits)
			text = strconv.FormatInt(i, 10)
		}
		if ok {
			v.SetString(text)
		}
	case reflect.Bool:
		var b bool
		if ok = n.Tag == "!!bool" && n.Decode(&b) == nil; ok {
			v.SetBool(b)
		}
	case reflect.Int:
		var i int64
		if i, ok = wholeNumber(n.Tag, digits); ok {
			v.SetInt(i)
		}
	case reflect.Uint64:
		u, err := strconv.ParseUint(digits, 0, 64)
		if ok = n.Tag == "!!int" && err == nil; ok {
			v.SetUint(u)
		}
	case reflect.Float64:
		f, err := strconv.ParseFloat(digits, 64)
		if ok = (n.Tag == "!!int" || n.Tag == "!!float") && err == nil; ok {
			v.SetFloat(f)
		}
	}
	if !ok {
		d.fail(path, n, "wants %s, not %s", wanted(v.Type()), describe(n))
	}
}

// wholeNumber reads an int, also one written as 10.0 or 1e3.
func wholeNumber(tag, digits string) (int64, bool) {
	if tag == "!!int" {
		i, err := strconv.ParseInt(digits, 0, 64)
		return i, err == nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	if tag != "!!float" || err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

func wanted(t reflect.Type) string {
	if t == reflect.TypeFor[Vocabulary]() {
		return "auto or a whole number"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Uint64:
		return "a whole number from 0"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		if t == reflect.TypeFor[Paths]() {
			return "text or a list"
		}
		return "a list"
	}
	return "keys and values"
}

// keySet is a struct's JSON keys in order, and the field of each.
type keySet struct {
	names []string
	index map[string]int
}

func jsonKeys(t reflect.Type) keySet {
	keys := keySet{index: map[string]int{}}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		keys.names = append(keys.names, name)
		keys.index[name] = i
	}
	return keys
}

// unknownKey suggests the key that was meant: one of the same section spelt
// like it, or the same key of another section.
func (d *decoder) unknownKey(key, path string, known []string) string {
	if meant := mistyped(key, known); meant != "" {
		return fmt.Sprintf("unknown key; did you mean %s?", join(path, meant))
	}
	for _, elsewhere := range allPaths(d.whole, "") {
		if elsewhere[strings.LastIndex(elsewhere, ".")+1:] == key {
			return fmt.Sprintf("unknown key here; did you mean %s?", elsewhere)
		}
	}
	return "unknown key; known here: " + strings.Join(known, ", ")
}

// allPaths lists every key's path, with [] for a list's items.
func allPaths(t reflect.Type, path string) []string {
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return allPaths(t.Elem(), path+"[]")
	case t.Kind() != reflect.Struct:
		return nil
	}
	var paths []string
	for i, name := range jsonKeys(t).names {
		paths = append(paths, join(path, name))
		paths = append(paths, allPaths(t.Field(i).Type, join(path, name))...)
	}
	return paths
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
