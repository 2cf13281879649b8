package report

import (
	"strings"
	"testing"
	"time"
)

func TestSweepIsATableOfItsTrialsAndTheirCurves(t *testing.T) {
	r := fullRun(t)
	s := Sweep{Sweep: "s", Method: "halving", Metric: "eval_rougeL", Trials: []Trial{
		{
			Run: "s-2", Settings: []Pair{{"train.learning_rate", "1e-3"}}, State: "done", Epoch: 9, Eval: &r.History[8].Eval,
			Test: r.Test, History: r.History, Took: 90 * time.Second,
		},
		{
			Run: "s-1", Settings: []Pair{{"train.learning_rate", "1e-4"}}, State: "stopped", Epoch: 2, Eval: &r.History[1].Eval,
			History: r.History[:2],
		},
		{Run: "s-3", Settings: []Pair{{"train.learning_rate", "<b>"}}, State: "failed", Error: "it cannot be"},
	}, Warnings: []string{"one"}}
	page := SweepHTML(s)
	compare(t, "sweep.html", page)
	for _, bad := range []string{"<script", "http:", "<b>", "ZgotmplZ", "NaN"} {
		if strings.Contains(string(page), bad) {
			t.Errorf("page contains %q", bad)
		}
	}
}
