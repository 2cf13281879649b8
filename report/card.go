package report

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"gopkg.in/yaml.v3"

	"distilvit/artifact/record"
)

// Card is what a model card tells.
type Card struct {
	Name        string // the model's
	Version     string
	RepoID      string   // on the hub, ORG/NAME; empty: not known
	License     string   // the hub's identifier; empty: not said
	LicenseName string   // of license "other"
	LicenseLink string   // of license "other"; URL or file of the repository
	Languages   []string // of the captions, ISO 639; none: not known
	BaseModels  []string // of the hub
	StartedFrom []string // what training started from, for people; none: random weights

	Prefix       int     // vectors of the picture that stand before a caption; 0: the decoder attends to them
	StartTokenID int     // that a caption begins with; used where Prefix is
	PromptIDs    []int32 // behind it; used where Prefix is
	SmolVLM      bool    // of a Prefix: transformers knows it as a SmolVLM, not as a LLaVA
	GPT2         bool    // of a Prefix: its decoder is a GPT-2, not a Llama

	ImageSize  int  // side of the square input, pixels
	Crops      bool // the square is cut out of the middle of the picture
	Encoder    string
	Decoder    string
	Parameters int64
	VocabSize  int
	MaxLength  int    // tokens generated at most, start token included
	Decoding   []Pair // how captions are chosen, and what they may not say

	Datasets []Dataset
	Rows     map[string]int // examples by split

	Epoch    int // of the published checkpoint, 1-based
	Step     int64
	TestedOn string // split Test was measured on
	Test     record.Metrics
	Eval     record.Metrics // validation, at the published checkpoint
	Settings []Pair         // of training
	Checks   []record.ExportCheck
	Pruning  *record.Pruning // nil: the vocabulary is whole

	Calibration *record.Calibration // nil: weights are rounded to the nearest
	Damage      []record.Damage     // of rounding, by dtype; none: not measured

	Samples []Sample
	Lineage []Pair // run, branch, digests, program version
}

// PythonClass begins the names of a Prefix's classes in transformers.
func (c Card) PythonClass() string {
	if c.SmolVLM {
		return "SmolVLM"
	}
	return "Llava"
}

//go:embed card.md.tmpl
var cardText string

var cardTemplate = template.Must(template.New("card").Funcs(template.FuncMap{
	"cell": cell, "lower": strings.ToLower, "code": code, "count": count, "rows": rows, "bytes": Bytes,
	"devices": devices, "onDevice": onDevice, "transformersJS": transformersJS,
	"groups": groupNames, "group": group, "baseline": baseline, "without": without, "share": share,
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
		Model  string // what the examples load
		Shrink bool   // a page can make the model's square itself
	}{c, dtypes(c.Checks), cmp.Or(c.RepoID, "PATH/TO/THIS/MODEL"),
		c.ImageSize > 0 && !c.Crops}); err != nil {
		panic(err) // the template and its data are both ours
	}
	return out.Bytes()
}

func dtypes(checks []record.ExportCheck) []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.Dtype)
	}
	return names
}

// frontMatter is the YAML that model hubs index. The hub refuses a card whose license, datasets or
// base_model are none that it knows: what has no name there stands in the text alone.
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
	var names, ids []string
	for _, d := range c.Datasets {
		names = append(names, d.Name)
		if d.HubID != "" && !slices.Contains(ids, d.HubID) {
			ids = append(ids, d.HubID)
		}
	}
	var r result
	r.Task.Type, r.Task.Name = "image-to-text", "Image to Text"
	r.Dataset.Type, r.Dataset.Name, r.Dataset.Split = "captions", strings.Join(names, ", "), c.TestedOn
	if len(ids) == 1 && len(names) == 1 {
		r.Dataset.Type = ids[0]
	}
	for _, m := range []struct {
		kind, name string
		value      float64
	}{
		{"rouge", "ROUGE-1", c.Test.Rouge1}, {"rouge", "ROUGE-2", c.Test.Rouge2},
		{"rouge", "ROUGE-L", c.Test.RougeL}, {"rouge", "ROUGE-LSUM", c.Test.RougeLsum},
		{"bleu", "BLEU-4", c.Test.Bleu4}, {"cider", "CIDEr", c.Test.Cider},
	} {
		r.Metrics = append(r.Metrics, metric{Type: m.kind, Name: m.name, Value: round4(m.value)})
	}
	relation := ""
	if len(c.BaseModels) > 0 {
		relation = "finetune" // the hub takes several for a merge unless it is told
	}
	matter := struct {
		Language    []string `yaml:"language,omitempty"`
		License     string   `yaml:"license,omitempty"`
		LicenseName string   `yaml:"license_name,omitempty"`
		LicenseLink string   `yaml:"license_link,omitempty"`
		PipelineTag string   `yaml:"pipeline_tag"`
		LibraryName string   `yaml:"library_name"`
		Tags        []string `yaml:"tags"`
		BaseModels  []string `yaml:"base_model,omitempty"`
		Relation    string   `yaml:"base_model_relation,omitempty"`
		Datasets    []string `yaml:"datasets,omitempty"`
		Metrics     []string `yaml:"metrics"`
		ModelIndex  []index  `yaml:"model-index,omitempty"`
	}{
		Language:    c.Languages,
		License:     c.License,
		LicenseName: c.LicenseName,
		LicenseLink: c.LicenseLink,
		PipelineTag: "image-to-text",
		LibraryName: "transformers.js",
		Tags:        []string{"image-captioning", "vision-encoder-decoder", "onnx"},
		BaseModels:  c.BaseModels,
		Relation:    relation,
		Datasets:    ids,
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

var cellEscapes = strings.NewReplacer("\\", `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`,
	"<", "&lt;", "&", "&amp;", "[", `\[`, "]", `\]`, "#", `\#`)

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
