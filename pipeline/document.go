package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// parse reads YAML, or JSON where the document starts with a brace, into one
// kind of tree. The second result is nil or the one reason it cannot be read.
func parse(data []byte) (*yaml.Node, *Problem) {
	if text := bytes.TrimLeft(data, "\ufeff \t\r\n"); len(text) > 0 && text[0] == '{' {
		return parseJSON(data)
	}
	return parseYAML(data)
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)`)

func parseYAML(data []byte) (*yaml.Node, *Problem) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); err == io.EOF {
		return &yaml.Node{Kind: yaml.MappingNode}, nil
	} else if err != nil {
		p := &Problem{Message: "not valid YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			p.Line, _ = strconv.Atoi(m[1])
			p.Message = "not valid YAML: " + m[2]
		}
		return nil, p
	}
	if err := decoder.Decode(new(yaml.Node)); err != io.EOF {
		return nil, &Problem{Message: "holds more than one YAML document (---); one config is wanted"}
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return &yaml.Node{Kind: yaml.MappingNode, Line: root.Line}, nil
	}
	return root, nil
}

func parseJSON(data []byte) (*yaml.Node, *Problem) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		p := &Problem{Message: "not valid JSON: " + err.Error()}
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			p.Line = 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
		}
		return nil, p
	}
	reader := &jsonReader{data: data, decoder: json.NewDecoder(bytes.NewReader(data)), line: 1}
	reader.decoder.UseNumber()
	return reader.value(), nil
}

// jsonReader turns valid JSON into the tree of the same YAML.
type jsonReader struct {
	data    []byte
	decoder *json.Decoder
	at      int64 // offset that line belongs to
	line    int
}

func (r *jsonReader) value() *yaml.Node {
	token, err := r.decoder.Token()
	if err != nil { // the document was found valid before
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
	end := r.decoder.InputOffset()
	r.line += bytes.Count(r.data[r.at:end], []byte("\n"))
	r.at = end
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line}
	switch t := token.(type) {
	case json.Delim:
		n.Kind = yaml.MappingNode
		if t == '[' {
			n.Kind = yaml.SequenceNode
		}
		for r.decoder.More() {
			n.Content = append(n.Content, r.value())
		}
		_, _ = r.decoder.Token() // the closing bracket
	case string:
		n.Tag, n.Value = "!!str", t
	case json.Number:
		n.Tag, n.Value = "!!int", t.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(t)
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	return n
}

// child is the value of a mapping's key, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n = follow(n); n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// follow resolves a YAML alias.
func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// describe says what a person wrote, for messages.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys and values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	case n.Tag == "!!str":
		return fmt.Sprintf("the text %s", strconv.Quote(n.Value))
	}
	return n.Value
}
