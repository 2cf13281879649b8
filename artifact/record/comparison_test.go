package record

import "testing"

func TestBetterIsByAtLeastTheMargin(t *testing.T) {
	scored := func(rougeL, loss, commonest float64) Metrics {
		return Metrics{Loss: loss, Scores: Scores{RougeL: rougeL, Commonest: commonest, Samples: 100}}
	}
	for name, c := range map[string]struct {
		metric     string
		margin     float64
		own, other Metrics
		better     bool
	}{
		"higher":                      {MetricRougeL, 0, scored(50.1, 1, 0), scored(50, 1, 0), true},
		"equal":                       {MetricRougeL, 0, scored(50, 1, 0), scored(50, 2, 0), false},
		"by the margin":               {MetricRougeL, 0.5, scored(50.5, 1, 0), scored(50, 1, 0), true},
		"by less":                     {MetricRougeL, 0.5, scored(50.25, 1, 0), scored(50, 1, 0), false},
		"a lower loss":                {MetricLoss, 0.25, scored(0, 1, 0), scored(0, 1.25, 0), true},
		"a higher loss":               {MetricLoss, 0, scored(60, 1.5, 0), scored(50, 1.25, 0), false},
		"one caption for most":        {MetricRougeL, 0, scored(60, 1, 90), scored(50, 2, 0), false},
		"than one caption for most":   {MetricRougeL, 5, scored(50, 2, 0), scored(60, 1, 90), true},
		"both one caption, less loss": {MetricRougeL, 0, scored(50, 1, 90), scored(60, 2, 90), true},
	} {
		got := Comparison{Metric: c.metric, Margin: c.margin}.Compare(c.own, c.other)
		if got.Better != c.better || got.Value != c.own.Value(c.metric) || got.Other != c.other.Value(c.metric) || got.Pictures != 100 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestComparisonIsToldWithBothFigures(t *testing.T) {
	c := Comparison{
		With: "models/m/a-b1", Dataset: "datasets/k/manifest.json", Split: "test", Pictures: 7, Metric: MetricRougeL, Margin: 0.5,
		Value: 61.25, Other: 60,
	}
	if got := c.String(); got != "eval_rougeL 61.25 against 60.00 of models/m/a-b1 on 7 test pictures of datasets/k, margin 0.5" {
		t.Error(got)
	}
}
