package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"

	"distilvit/artifact/record"
)

// RunPair is what the page of two runs side by side tells.
type RunPair struct {
	A, B    RunSide
	Changes []Change // keys of their configs that differ
}

// RunSide is one of the two runs.
type RunSide struct {
	Run     string // id
	History []record.EpochRecord
	Best    *record.Best          // nil: no epoch is finished
	Model   *record.ModelManifest // nil: not published
}

// Change is a key with a value in each of the two configs.
type Change struct{ Key, A, B string }

// Took is the training of the run, for people.
func (s RunSide) Took() string {
	total := 0.0
	for _, e := range s.History {
		total += e.Seconds + e.Eval.Runtime
	}
	return Duration(seconds(total))
}

// Sides are both runs.
func (p RunPair) Sides() []RunSide { return []RunSide{p.A, p.B} }

//go:embed runs.html.tmpl
var runsText string

var runsTemplate = template.Must(template.New("runs").Funcs(functions).Parse(runsText))

// RunsHTML is a page that needs nothing outside it.
func RunsHTML(p RunPair) []byte {
	var out bytes.Buffer
	value := func(title string, of func(record.EpochRecord) float64, log bool) template.HTML {
		c := chart{Title: title, XLabel: "step", LogY: log}
		for i, side := range p.Sides() {
			line := series{Name: side.Run, Class: []string{"s1", "s2"}[i], Dots: true}
			for _, e := range side.History {
				line.add(float64(e.Step), of(e), fmt.Sprintf("%s, %s: %.3f", side.Run, e.Name(), of(e)))
			}
			c.Series = append(c.Series, line)
		}
		return c.svg()
	}
	err := runsTemplate.Execute(&out, struct {
		RunPair
		Train, Eval, Rouge, Exact template.HTML
	}{
		p, value("Training loss", func(e record.EpochRecord) float64 { return e.TrainLoss }, true),
		value("Validation loss", func(e record.EpochRecord) float64 { return e.Eval.Loss }, true),
		value("ROUGE-L on validation", func(e record.EpochRecord) float64 { return e.Eval.RougeL }, false),
		value("Exact captions, %", func(e record.EpochRecord) float64 { return e.Eval.ExactMatch }, false),
	})
	if err != nil {
		panic(err) // the template and its data are both ours
	}
	return out.Bytes()
}
