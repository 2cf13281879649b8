package report

import (
	"bytes"
	_ "embed"
	"html/template"
	"slices"
	"time"
)

// Comparison is what the page of models side by side tells.
type Comparison struct {
	Dataset  string
	Models   []Compared
	Pictures []ComparedPicture // those shown; Total were compared
	Total    int
}

// Compared is one model, or one export of it. Scores are × 100.
type Compared struct {
	Name    string
	Bytes   int64         // of its weights
	Latency time.Duration // a picture, captioned by itself

	FirstToken   time.Duration // from the picture on
	FurtherToken time.Duration // each behind the first; 0 where there is none

	RougeL float64
	Bleu4  float64
	Cider  float64
	Exact  float64
	GenLen float64 // tokens
}

// ComparedPicture is a picture with each model's caption, in the models' order.
type ComparedPicture struct {
	Sample
	Captions []string
}

// Right reports whether the i-th caption equals a reference.
func (p ComparedPicture) Right(i int) bool { return slices.Contains(p.References, p.Captions[i]) }

// Differ reports whether two models say different things.
func (p ComparedPicture) Differ() bool {
	return slices.ContainsFunc(p.Captions, func(c string) bool { return c != p.Captions[0] })
}

//go:embed compare.html.tmpl
var compareText string

var compareTemplate = template.Must(template.New("compare").Funcs(functions).Parse(compareText))

// CompareHTML is a page that needs nothing outside it.
func CompareHTML(c Comparison) []byte {
	var out bytes.Buffer
	if err := compareTemplate.Execute(&out, c); err != nil {
		panic(err) // the template and its data are both ours
	}
	return out.Bytes()
}
