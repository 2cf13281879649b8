package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"time"

	"distilvit/artifact/record"
)

// Sweep is what the page of a sweep tells.
type Sweep struct {
	Sweep    string // id
	Method   string
	Metric   string  // that trials are compared by
	Trials   []Trial // the best first
	Warnings []string
}

// Trial is one run of a sweep.
type Trial struct {
	Run      string // id
	Settings []Pair // keys of the config, in the same order in every trial
	State    string
	Epoch    int // of the best checkpoint, 1-based; 0: none
	Eval     *record.Metrics
	Test     *record.Metrics
	History  []record.EpochRecord
	Took     time.Duration
	Error    string // why it failed
}

// Score is the metric of the trial's best checkpoint, for people.
func (s Sweep) Score(m *record.Metrics) string {
	if m == nil {
		return ""
	}
	_, value, _ := strings.Cut(m.Shown(s.Metric), " ")
	return value
}

// Keys are those of the settings.
func (s Sweep) Keys() (keys []string) {
	for _, p := range s.Trials[0].Settings {
		keys = append(keys, p.Name)
	}
	return keys
}

// drawnTrials is how many trials have a curve.
const drawnTrials = 30

// curves has a line a trial, the best one's on top.
func (s Sweep) curves(title string, log bool, of func(record.EpochRecord) float64) template.HTML {
	c := chart{Title: title, XLabel: "epoch", LogY: log, WholeX: true}
	for i := min(drawnTrials, len(s.Trials)) - 1; i >= 0; i-- {
		t := s.Trials[i]
		line := series{Name: t.Run, Class: "s0"}
		if i == 0 {
			line.Class, line.Dots = "s1", true
		}
		for _, e := range t.History {
			line.add(float64(e.Epoch), of(e), fmt.Sprintf("%s, %s: %.3f", t.Run, e.Name(), of(e)))
		}
		c.Series = append(c.Series, line)
	}
	return c.svg()
}

//go:embed sweep.html.tmpl
var sweepText string

var sweepTemplate = template.Must(template.New("sweep").Funcs(functions).Parse(sweepText))

// SweepHTML is a page that needs nothing outside it. There is at least one trial.
func SweepHTML(s Sweep) []byte {
	metric := s.Metric
	if metric == record.MetricLoss { // which has a chart of its own
		metric = record.MetricRougeL
	}
	var out bytes.Buffer
	err := sweepTemplate.Execute(&out, struct {
		Sweep
		ScoreName    string
		Drawn        int
		Loss, Scores template.HTML
	}{
		s, scoreNames[metric], min(drawnTrials, len(s.Trials)),
		s.curves("Validation loss", true, func(e record.EpochRecord) float64 { return e.Eval.Loss }),
		s.curves(scoreNames[metric], false, func(e record.EpochRecord) float64 { return e.Eval.Value(metric) }),
	})
	if err != nil {
		panic(err) // the template and its data are both ours
	}
	return out.Bytes()
}
