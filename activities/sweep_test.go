package activities

import (
	"encoding/json"
	"strings"
	"testing"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

func TestReportOfASweepHasTheCurvesThatItsRunsRecorded(t *testing.T) {
	b := newBench(t)
	eval := record.Metrics{Loss: 0.5, Scores: record.Scores{RougeL: 41.5}}
	check(t, artifact.PutProgress(t.Context(), b.Store, layout.Run("s-2"), record.Progress{
		Branch: 1, Epochs: []record.EpochRecord{{Epoch: 1, Step: 10, Eval: eval}, {Epoch: 2, Step: 20, Eval: eval}},
	}))
	settings := func(value string) []pipeline.Setting {
		return []pipeline.Setting{{Key: "train.learning_rate", Value: json.RawMessage(value)}}
	}
	status := pipeline.SweepStatus{Sweep: "s", Method: pipeline.MethodGrid, Metric: record.MetricRougeL, Trials: []pipeline.TrialStatus{
		{Run: "s-1", State: pipeline.TrialFailed, Settings: settings("1e-2"), Error: "Diverged: <loss>"},
		{Run: "s-2", State: pipeline.TrialDone, Settings: settings("1e-3"), Epoch: 2, Eval: &eval},
	}}
	key := do[string](b, b.ReportSweep, pipeline.ReportSweepInput{Status: status})
	page := b.text(key)
	for _, part := range []string{
		"s-2, epoch 1: 41.500", "failed: Diverged: &lt;loss&gt;", `<tr class="best"><td>s-2</td><td class="n">1e-3</td>`,
	} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %s", part)
		}
	}
	var stored pipeline.SweepStatus
	check(t, b.Store.GetJSON(t.Context(), layout.SweepDocument("s"), &stored))
	if len(stored.Trials) != 2 || stored.Trials[1].Eval.RougeL != 41.5 {
		t.Errorf("%+v", stored)
	}
	_, err := try[string](b, b.ReportSweep, pipeline.ReportSweepInput{Status: pipeline.SweepStatus{Sweep: "../x"}})
	if err == nil || !strings.Contains(err.Error(), "sweep id") {
		t.Error(err)
	}
}
