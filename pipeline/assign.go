package pipeline

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

var bracketIndex = regexp.MustCompile(`\[(\d+)\]`)

// assign changes the tree by one key=value. A text key takes the value
// verbatim; any other is read as YAML, so lists and objects can be JSON.
func (d *decoder) assign(root *yaml.Node, assignment string) {
	name, text, found := strings.Cut(assignment, "=")
	path := bracketIndex.ReplaceAllString(strings.TrimSpace(name), ".$1")
	if !found || path == "" {
		d.problems = append(
			d.problems, Problem{Path: assignment, Message: "wants key=value, such as train.epochs=3"},
		)
		return
	}
	value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	keys := strings.Split(path, ".")
	if !verbatim(typeAt(reflect.TypeFor[Config](), keys), text) {
		parsed, err := fragment(text)
		if err != nil {
			d.problems = append(d.problems, Problem{Path: name, Message: err.Error()})
			return
		}
		value = parsed
	}
	if err := place(root, keys, value); err != nil {
		d.problems = append(d.problems, Problem{Path: name, Message: err.Error()})
	}
}

// verbatim says that a value is text as it stands: a single path may hold what
// means something else in YAML.
func verbatim(t reflect.Type, text string) bool {
	if t == reflect.TypeFor[Paths]() {
		return !strings.HasPrefix(text, "[")
	}
	return t != nil && t.Kind() == reflect.String
}

// fragment reads a value; its lines are forgotten since they are no document's.
func fragment(text string) (*yaml.Node, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return nil, fmt.Errorf("value %q cannot be read: %w", text, err)
	}
	if len(document.Content) == 0 {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
	}
	value := document.Content[0]
	forgetLines(value)
	return value, nil
}

func forgetLines(n *yaml.Node) {
	n.Line = 0
	for _, inner := range n.Content {
		forgetLines(inner)
	}
}

// typeAt is the type a path of the config leads to, or nil.
func typeAt(t reflect.Type, keys []string) reflect.Type {
	for _, key := range keys {
		switch t.Kind() {
		case reflect.Struct:
			field, known := jsonKeys(t).index[key]
			if !known {
				return nil
			}
			t = t.Field(field).Type
		case reflect.Slice, reflect.Map:
			t = t.Elem()
		default:
			return nil
		}
	}
	return t
}

// place puts a value where the path leads, making what is missing on the way.
func place(n *yaml.Node, keys []string, value *yaml.Node) error {
	key, last := keys[0], len(keys) == 1
	var slot *yaml.Node
	switch n = follow(n); n.Kind {
	case yaml.SequenceNode:
		i, err := strconv.Atoi(key)
		if err != nil || i < 0 || i > len(n.Content) {
			return fmt.Errorf("%s is no index of a list of %d", key, len(n.Content))
		}
		if i == len(n.Content) {
			n.Content = append(n.Content, emptyFor(keys[1:]))
		}
		slot = n.Content[i]
	case yaml.MappingNode:
		if slot = child(n, key); slot == nil {
			slot = emptyFor(keys[1:])
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, slot)
		}
	default:
		return fmt.Errorf("there is no %s in %s", key, describe(n))
	}
	if last {
		*slot = *value
		return nil
	}
	if slot.Kind == yaml.ScalarNode && slot.Tag == "!!null" {
		*slot = *emptyFor(keys[1:])
	}
	return place(slot, keys[1:], value)
}

// emptyFor is a container that the next key fits.
func emptyFor(keys []string) *yaml.Node {
	if len(keys) > 0 {
		if _, err := strconv.Atoi(keys[0]); err == nil {
			return &yaml.Node{Kind: yaml.SequenceNode}
		}
	}
	return &yaml.Node{Kind: yaml.MappingNode}
}
