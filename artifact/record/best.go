package record

import (
	"cmp"
	"fmt"
	"math"
	"strings"
)

// Metrics that the best epoch can be chosen by: train.metric_for_best_model, with the names
// of Hugging Face's Trainer. Of the loss the lowest is best, of a score the highest.
const (
	MetricLoss       = "eval_loss"
	MetricRougeL     = "eval_rougeL"
	MetricCider      = "eval_cider"
	MetricBleu4      = "eval_bleu4"
	MetricExactMatch = "eval_exact_match"
)

// Value is a metric of an evaluation by its name.
func (m Metrics) Value(metric string) float64 {
	switch metric {
	case MetricLoss:
		return m.Loss
	case MetricCider:
		return m.Cider
	case MetricBleu4:
		return m.Bleu4
	case MetricExactMatch:
		return m.ExactMatch
	}
	return m.RougeL
}

// Shown is a metric with its name, for people: eval_loss 0.1437, eval_cider 850.87.
func (m Metrics) Shown(metric string) string {
	digits := 2
	if metric == MetricLoss {
		digits = 4
	}
	return fmt.Sprintf("%s %.*f", metric, digits, m.Value(metric))
}

// Metric is what the best checkpoint was chosen by, of older programs, too.
func (b Best) Metric() string { return cmp.Or(b.By, MetricRougeL) }

// bleuFloor is what BLEU's smallest numbers make of captions without a word in common: less
// than any caption with one.
const bleuFloor = 1e-6

// Tells says that a metric tells evaluations apart. A score that is 0 for every picture, or no number, says
// nothing of the captions; nor does one of a captioner that says the same of most pictures (see Collapsed):
// it scores that one sentence.
func (m Metrics) Tells(metric string) bool {
	return m.Told(metric) && (metric == MetricLoss || !m.Collapsed())
}

// Told is Tells as it was: a score that is 0 for every picture, or no number, says nothing.
func (m Metrics) Told(metric string) bool {
	v := m.Value(metric)
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (metric == MetricLoss || v > bleuFloor)
}

// BetterThan compares evaluations of two epochs by a metric. One that the metric says nothing
// of (see Tells) is never better than one that it does say something of; of two such the one
// of the lower loss is better. Equal ones are not better.
func (m Metrics) BetterThan(other Metrics, metric string) bool {
	return m.better(other, metric, Metrics.Tells)
}

// WasBetterThan is BetterThan as it was before it looked for Collapsed: histories of such programs go on by it.
func (m Metrics) WasBetterThan(other Metrics, metric string) bool {
	return m.better(other, metric, Metrics.Told)
}

func (m Metrics) better(other Metrics, metric string, tell func(Metrics, string) bool) bool {
	switch tells, others := tell(m, metric), tell(other, metric); {
	case tells != others:
		return tells
	case tells && metric != MetricLoss:
		return m.Value(metric) > other.Value(metric)
	}
	return m.Loss < other.Loss
}

// Collapsed says that one caption is given to more than half of the pictures and is wrong for most of them: the
// captioner has learnt to write and not to see. Few pictures say nothing of that. A data set in which most
// pictures really have the same caption is told by captions that equal a reference.
func (s Scores) Collapsed() bool {
	return s.Commonest > 50 && s.ExactMatch < s.Commonest/2 && s.Samples >= fewSamples
}

// Overfit is the validation of the lowest eval_loss, where the last one's is more than a tenth above it although the
// training loss went on falling: the captioner learns its captions by heart. Nil where it does not.
func Overfit(history []EpochRecord) *EpochRecord {
	if len(history) == 0 {
		return nil
	}
	lowest, last := &history[0], history[len(history)-1]
	for i := range history {
		if history[i].Eval.Loss < lowest.Eval.Loss {
			lowest = &history[i]
		}
	}
	if last.Eval.Loss > 1.1*lowest.Eval.Loss && last.TrainLoss < lowest.TrainLoss {
		return lowest
	}
	return nil
}

// fewSamples is the number of pictures below which nothing is concluded.
const fewSamples = 8

// Rows are the baselines for people, each under its name.
func (b *Baselines) Rows() []BaselineRow {
	if b == nil {
		return nil
	}
	return []BaselineRow{{"most frequent caption", b.Commonest}, {"nearest picture's", b.Nearest}}
}

// BaselineRow is a baseline under its name.
type BaselineRow struct {
	Name   string
	Scores Scores
}

// Below names the scores that are below a baseline's, or is empty: "rougeL 49.60 (nearest picture's 53.44)".
// Few pictures say nothing of that.
func (m Metrics) Below() string {
	var list []string
	for _, b := range m.Baselines.Rows() {
		for _, c := range []struct {
			name        string
			model, base float64
		}{
			{"rougeL", m.RougeL, b.Scores.RougeL}, {"bleu4", m.Bleu4, b.Scores.Bleu4},
			{"cider", m.Cider, b.Scores.Cider}, {"exact match", m.ExactMatch, b.Scores.ExactMatch},
		} {
			if m.Samples >= fewSamples && c.model < c.base {
				list = append(list, fmt.Sprintf("%s %.2f (%s %.2f)", c.name, c.model, b.Name, c.base))
			}
		}
	}
	return strings.Join(list, ", ")
}
