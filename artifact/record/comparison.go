package record

import (
	"fmt"

	"distilvit/storage/layout"
)

// Comparison is how a model did beside a published one that it was to be better than, on the same pictures.
type Comparison struct {
	With     string  `json:"with"`    // models/<name>/<version>
	Dataset  string  `json:"dataset"` // key of the manifest of the pictures' dataset
	Split    string  `json:"split"`
	Pictures int     `json:"pictures"`
	Metric   string  `json:"metric"` // as train.metric_for_best_model
	Margin   float64 `json:"margin"` // least difference
	Value    float64 `json:"value"`
	Other    float64 `json:"other"` // of With
	Better   bool    `json:"better"`
}

// Compare fills in both values, and whether the first is better by at least the margin. A score that says nothing of
// the captions (see Metrics.Tells) is not better than one that does, nor needs one that does a margin over it.
func (c Comparison) Compare(m, other Metrics) Comparison {
	c.Pictures, c.Value, c.Other = m.Samples, m.Value(c.Metric), other.Value(c.Metric)
	gain := c.Value - c.Other
	if c.Metric == MetricLoss {
		gain = -gain
	}
	enough := gain >= c.Margin || !other.Tells(c.Metric)
	c.Better = m.BetterThan(other, c.Metric) && enough
	return c
}

// longestSet is what is shown of a dataset's key, for people.
const longestSet = 24

// String is the comparison for people: eval_rougeL 61.20 against 60.10 of models/demo/a-b1 on 100 test pictures.
func (c Comparison) String() string {
	digits := 2
	if c.Metric == MetricLoss {
		digits = 4
	}
	set, _ := layout.ManifestOf(c.Dataset)
	if len(set) > longestSet {
		set = set[:longestSet] + "…"
	}
	text := fmt.Sprintf("%s %.*f against %.*f of %s on %d %s pictures of %s", c.Metric, digits, c.Value, digits, c.Other,
		c.With, c.Pictures, c.Split, set)
	if c.Margin > 0 {
		text += fmt.Sprintf(", margin %g", c.Margin)
	}
	return text
}
