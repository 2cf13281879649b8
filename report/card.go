package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
	"text/template"

	"gopkg.in/yaml.v3"
)

// Card is what a model card tells.
type Card struct {
	Name       string // the model's
	Version    string
	License    string   // SPDX identifier; empty: not said
	BaseModels []string // what training started from; none: random weights
	Languages  []string

	ImageSize  int // side of the square input, pixels
	Encoder    string
	Decoder    string
	Parameters int64
	VocabSize  int
	MaxLength  int // tokens generated at most, start token included

	Datasets []Dataset
	Rows     map[string]int // examples by split

	Epoch    int // of the published checkpoint, 1-based
	Step     int64
	TestedOn string // split Test was measured on
	Test     Metrics
	Eval     Metrics // validation, at the published checkpoint
	Settings []Pair  // of training
	Checks   []Check
	Samples  []Sample
	Lineage  []Pair // run, branch, digests, program version
}

//go:embed card.md.tmpl
var cardText string

var cardTemplate = template.Must(template.New("card").Funcs(template.FuncMap{
	"cell": cell, "code": code, "count": count, "rows": rows, "bytes": bytesText, "groups": groupNames, "share": share,
	"f1":  func(v float64) string { return fixed(1, v) },
	"f2":  func(v float64) string { return fixed(2, v) },
	"f3":  func(v float64) string { return fixed(3, v) },
	"sci": func(v float64) string { return fmt.Sprintf("%.1e", v) },
	"i64": func(n int) int64 { return int64(n) },
}).Parse(cardText))

// ModelCard is the README.md of a published model.
func ModelCard(c Card) []byte {
	if c.TestedOn == "" {
		c.TestedOn = "test"
	}
	var out bytes.Buffer
	out.WriteString("---\n")
	out.Write(frontMatter(c))
	out.WriteString("---\n\n")
	if err := cardTemplate.Execute(&out, struct {
		Card
		Dtypes []string
	}{c, dtypes(c.Checks)}); err != nil {
		panic(err) // the template and its data are both ours
	}
	return out.Bytes()
}

func dtypes(checks []Check) []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.Dtype)
	}
	return names
}

// frontMatter is the YAML that model hubs index.
func frontMatter(c Card) []byte {
	type metric struct {
		Type  string  `yaml:"type"`
		Name  string  `yaml:"name"`
		Value float64 `yaml:"value"`
	}
	type result struct {
		Task struct {
			Type string `yaml:"type"`
			Name string `yaml:"name"`
		} `yaml:"task"`
		Dataset struct {
			Type  string `yaml:"type"`
			Name  string `yaml:"name"`
			Split string `yaml:"split"`
		} `yaml:"dataset"`
		Metrics []metric `yaml:"metrics"`
	}
	type index struct {
		Name    string   `yaml:"name"`
		Results []result `yaml:"results"`
	}
	var names []string
	for _, d := range c.Datasets {
		names = append(names, d.Name)
	}
	var r result
	r.Task.Type, r.Task.Name = "image-to-text", "Image to Text"
	r.Dataset.Type, r.Dataset.Name, r.Dataset.Split = "captions", strings.Join(names, ", "), c.TestedOn
	for _, m := range []struct {
		kind, name string
		value      float64
	}{
		{"rouge", "ROUGE-1", c.Test.Rouge1}, {"rouge", "ROUGE-2", c.Test.Rouge2}, {"rouge", "ROUGE-L", c.Test.RougeL}, {"rouge", "ROUGE-LSUM", c.Test.RougeLsum},
		{"bleu", "BLEU-4", c.Test.Bleu4}, {"cider", "CIDEr", c.Test.Cider},
	} {
		r.Metrics = append(r.Metrics, metric{Type: m.kind, Name: m.name, Value: round4(m.value)})
	}
	matter := struct {
		Language    []string `yaml:"language,omitempty"`
		License     string   `yaml:"license,omitempty"`
		PipelineTag string   `yaml:"pipeline_tag"`
		LibraryName string   `yaml:"library_name"`
		Tags        []string `yaml:"tags"`
		BaseModels  []string `yaml:"base_model,omitempty"`
		Datasets    []string `yaml:"datasets,omitempty"`
		Metrics     []string `yaml:"metrics"`
		ModelIndex  []index  `yaml:"model-index,omitempty"`
	}{
		Language:    c.Languages,
		License:     c.License,
		PipelineTag: "image-to-text",
		LibraryName: "transformers.js",
		Tags:        []string{"image-captioning", "vision-encoder-decoder", "onnx"},
		BaseModels:  c.BaseModels,
		Datasets:    names,
		Metrics:     []string{"rouge", "bleu", "cider"},
	}
	if c.Test.Samples > 0 {
		matter.ModelIndex = []index{{Name: c.Name, Results: []result{r}}}
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(matter); err != nil {
		panic(err) // strings and numbers always encode
	}
	return out.Bytes()
}

// round4 keeps four digits; what is no number becomes 0, which YAML's readers
// all know.
func round4(v float64) float64 {
	var out float64
	if _, err := fmt.Sscan(fixed(4, v), &out); err != nil {
		return 0
	}
	return out
}

var cellEscapes = strings.NewReplacer("\\", `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "<", "&lt;", "&", "&amp;", "[", `\[`, "]", `\]`, "#", `\#`)

// cell makes text safe for a cell of a Markdown table.
func cell(s string) string {
	return cellEscapes.Replace(strings.Join(strings.Fields(s), " "))
}

// code sets text in code font. It has no way out of a table's cell.
func code(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if s == "" {
		return ""
	}
	return "`" + strings.NewReplacer("`", "'", "|", "¦").Replace(s) + "`"
}
