package pipeline

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"distilvit/model/preset"
)

//go:generate go test -run TestReferenceIsUpToDate -update .

//go:embed config.go
var configSource string

// Reference describes every key of a config, with type, default and meaning, as
// Markdown. It is made from the comments of the Config structs.
func Reference() string {
	r := reference{docs: structDocs()}
	r.text.WriteString(`# Config

Every key of a run's config, as YAML (` + "`distilvit run -f FILE`" + `) or the same keys as JSON
(` + "`temporal workflow start --input-file`" + `). An absent key takes its default; unknown keys, wrong
types and impossible values are all reported before anything starts. One key is changed by
` + "`--set train.epochs=3`, `--set dataset[0].limit=100` or `--set 'export.dtypes=[fp32]'`" + `.
`)
	r.section("", reflect.ValueOf(Default()))
	r.presets()
	return r.text.String()
}

// Keys are all keys of a config that take a value, sorted by section as the reference has them; those of a
// source are those of the first, dataset[0].
func Keys() []string { return keysOf("", reflect.TypeFor[Config]()) }

func keysOf(path string, t reflect.Type) []string {
	var keys []string
	for i, name := range jsonKeys(t).names {
		name, field := join(path, name), t.Field(i).Type
		switch {
		case field.Kind() == reflect.Struct:
			keys = append(keys, keysOf(name, field)...)
		case field.Kind() == reflect.Slice && field.Elem().Kind() == reflect.Struct:
			keys = append(append(keys, name), keysOf(name+"[0]", field.Elem())...)
		default:
			keys = append(keys, name)
		}
	}
	return keys
}

type structDoc struct {
	text   string
	fields map[string]string
}

// structDocs reads the comments of the structs in config.go: a field's stands above
// it, or behind it where it is short.
func structDocs() map[string]structDoc {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", configSource, parser.ParseComments)
	if err != nil {
		panic(err) // the compiler has read the same file
	}
	docs := map[string]structDoc{}
	for _, declaration := range file.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok || general.Tok != token.TYPE {
			continue
		}
		spec := general.Specs[0].(*ast.TypeSpec)
		doc := structDoc{text: oneLine(general.Doc), fields: map[string]string{}}
		for _, field := range spec.Type.(*ast.StructType).Fields.List {
			text := oneLine(field.Doc) + " " + oneLine(field.Comment)
			doc.fields[field.Names[0].Name] = strings.TrimSpace(text)
		}
		docs[spec.Name.Name] = doc
	}
	return docs
}

func oneLine(comment *ast.CommentGroup) string {
	return strings.Join(strings.Fields(comment.Text()), " ")
}

type reference struct {
	docs map[string]structDoc
	text strings.Builder
}

// section writes the table of a struct and then the sections within it.
func (r *reference) section(path string, defaults reflect.Value) {
	doc, t := r.docs[defaults.Type().Name()], defaults.Type()
	if path != "" {
		// The Go name at the start of a doc comment means nothing here.
		text := strings.TrimPrefix(strings.TrimPrefix(doc.text, t.Name()+" "), "is ")
		fmt.Fprintf(&r.text, "\n## %s\n\n%s\n", path, strings.ToUpper(text[:1])+text[1:])
	}
	r.text.WriteString("\n| key | type | default | meaning |\n|---|---|---|---|\n")
	for i, name := range jsonKeys(t).names {
		fmt.Fprintf(&r.text, "| `%s` | %s | %s | %s |\n", join(path, name), typeName(t.Field(i).Type),
			defaultText(defaults.Field(i)), escapePipes(doc.fields[t.Field(i).Name]))
	}
	for i, name := range jsonKeys(t).names {
		switch field := defaults.Field(i); {
		case field.Kind() == reflect.Struct:
			r.section(join(path, name), field)
		case field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct:
			r.section(join(path, name)+"[]", elementOf(field.Type().Elem()))
		}
	}
}

// elementOf is an element of a list with its defaults.
func elementOf(t reflect.Type) reflect.Value {
	if t == reflect.TypeFor[SourceConfig]() {
		return reflect.ValueOf(SourceConfig{Shapes: defaultShapes()})
	}
	return reflect.Zero(t)
}

func (r *reference) presets() {
	r.text.WriteString(
		"\n## Presets\n\nWhat `model.preset` puts in the place of sizes that are 0.\n\n| key | " +
			strings.Join(preset.Names(), " | ") + " |\n|---|" + strings.Repeat("---|", len(preset.Names())) +
			"\n",
	)
	keys := jsonKeys(reflect.TypeFor[ModelConfig]())
	for i, key := range keys.names {
		if reflect.TypeFor[ModelConfig]().Field(i).Type.Kind() != reflect.Int {
			continue
		}
		fmt.Fprintf(&r.text, "| `%s` |", key)
		for _, name := range preset.Names() {
			sizes := ModelConfig{Preset: name}.resolve()
			fmt.Fprintf(&r.text, " %d |", reflect.ValueOf(sizes).Field(i).Int())
		}
		r.text.WriteString("\n")
	}
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		return "section"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return "list of sections"
		}
		if t == reflect.TypeFor[Paths]() {
			return "text or list of text"
		}
		return "list of " + typeName(t.Elem())
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Map:
		return "map"
	case reflect.Bool:
		return "bool"
	case reflect.Float64:
		return "number"
	case reflect.String:
		if t == reflect.TypeFor[Vocabulary]() {
			return "auto or integer"
		}
		return "text"
	}
	return "integer"
}

func defaultText(v reflect.Value) string {
	if v.Kind() == reflect.Struct || v.IsZero() && (v.Kind() == reflect.Slice || v.Kind() == reflect.Map ||
		v.Kind() == reflect.String || v.Kind() == reflect.Pointer) {
		return ""
	}
	text, err := json.Marshal(v.Interface())
	if err != nil {
		panic(err) // numbers, texts and lists of them
	}
	return "`" + string(text) + "`"
}

func escapePipes(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
