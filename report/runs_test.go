package report

import (
	"strings"
	"testing"

	"distilvit/artifact/record"
)

func TestTwoRunsStandSideBySide(t *testing.T) {
	r := fullRun(t)
	p := RunPair{
		A: RunSide{
			Run: "first", History: r.History, Best: &record.Best{Epoch: 9, Eval: r.History[8].Eval},
			Model: &record.ModelManifest{TestedOn: "test", Test: *r.Test, Checks: r.Checks},
		},
		B:       RunSide{Run: "second"},
		Changes: []Change{{"train.learning_rate", "0.0001", "<b>"}},
	}
	page := RunsHTML(p)
	compare(t, "runs.html", page)
	for _, bad := range []string{"<script", "http:", "<b>", "ZgotmplZ", "NaN"} {
		if strings.Contains(string(page), bad) {
			t.Errorf("page contains %q", bad)
		}
	}
}
