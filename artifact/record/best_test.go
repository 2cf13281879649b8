package record

import (
	"math"
	"testing"
)

func TestBestModelIsChosenByItsMetricOrByTheLossWhereThatSaysNothing(t *testing.T) {
	of := func(loss, score float64) Metrics {
		return Metrics{
			Loss: loss, Scores: Scores{RougeL: score, Cider: score, Bleu4: score, ExactMatch: score},
		}
	}
	for _, metric := range []string{MetricRougeL, MetricCider, MetricBleu4, MetricExactMatch} {
		for _, c := range []struct {
			name      string
			of, other Metrics
			want      bool
		}{
			{"higher", of(2, 11), of(1, 10), true},
			{"equal", of(1, 10), of(2, 10), false},
			{"lower", of(1, 9), of(2, 10), false},
			{"something against nothing", of(9, 1), of(1, 0), true},
			{"nothing against something", of(1, 0), of(9, 1), false},
			{"no number against something", of(1, math.NaN()), of(9, 1), false},
			{"both nothing, lower loss", of(1, 0), of(2, 0), true},
			{"both nothing, higher loss", of(3, 0), of(2, 0), false},
			{"both nothing, equal loss", of(2, 1e-9), of(2, 0), false},
		} {
			if got := c.of.BetterThan(c.other, metric); got != c.want {
				t.Errorf("%s, %s: %v", metric, c.name, got)
			}
		}
	}
	for _, c := range []struct {
		of, other Metrics
		want      bool
	}{
		{of(1, 0), of(2, 50), true}, {of(2, 50), of(1, 0), false}, {of(1, 5), of(1, 0), false},
		{of(math.NaN(), 5), of(1, 0), false}, {of(1, 0), of(math.NaN(), 5), true},
	} {
		if got := c.of.BetterThan(c.other, MetricLoss); got != c.want {
			t.Errorf("loss %v against %v: %v", c.of.Loss, c.other.Loss, got)
		}
	}
}

// On photographs the epoch of the highest rougeL gave one sentence to 63 % of the pictures.
func TestEvaluationThatSaysTheSameOfMostPicturesIsChosenByTheLoss(t *testing.T) {
	of := func(loss, rougeL, commonest, exact float64) Metrics {
		return Metrics{Loss: loss, Scores: Scores{RougeL: rougeL, Commonest: commonest, ExactMatch: exact, Samples: 132}}
	}
	first, sixth, fourteenth := of(2.836, 53.88, 63, 0), of(1.454, 49.43, 45, 4.5), of(1.344, 47.83, 48, 2.3)
	last := of(1.314, 50.62, 63, 5.3)
	most := of(0.9, 80, 70, 66) // the same caption, and right
	for _, c := range []struct {
		name      string
		of, other Metrics
		want, was bool
	}{
		{"one sentence, higher score", first, sixth, false, true},
		{"one sentence, lower loss", last, sixth, false, true},
		{"several against one", sixth, first, true, false},
		{"several, by the score", fourteenth, sixth, false, false},
		{"one sentence each, by the loss", last, first, true, false},
		{"one sentence that is right", most, sixth, true, true},
	} {
		if got := c.of.BetterThan(c.other, MetricRougeL); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if got := c.of.WasBetterThan(c.other, MetricRougeL); got != c.was {
			t.Errorf("%s, for older histories: %v", c.name, got)
		}
	}
	if !first.Tells(MetricLoss) || !of(1, 1, 100, 0).BetterThan(of(2, 50, 10, 9), MetricLoss) {
		t.Error("the loss does not count for what it says")
	}
}

func TestValidationThatFallsApartFromTrainingIsTold(t *testing.T) {
	history := func(losses ...float64) (list []EpochRecord) { // eval, train, eval, train …
		for i := 0; i < len(losses); i += 2 {
			list = append(list, EpochRecord{Epoch: i/2 + 1, Eval: Metrics{Loss: losses[i]}, TrainLoss: losses[i+1]})
		}
		return list
	}
	for _, c := range []struct {
		name    string
		history []EpochRecord
		since   int // epoch; 0: it does not
	}{
		{"nothing yet", nil, 0},
		{"both fall", history(2, 2.5, 1.5, 2), 0},
		{"a little above", history(2, 2.5, 1.5, 2, 1.64, 1), 0},
		{"more than a tenth above", history(2, 2.5, 1.5, 2, 1.66, 1), 2},
		{"training loss rises, too", history(2, 2.5, 1.5, 2, 1.66, 2.1), 0},
		{"fell again", history(2, 2.5, 1.5, 2, 1.66, 1, 1.4, 0.9), 0},
	} {
		got := Overfit(c.history)
		if got == nil && c.since > 0 || got != nil && got.Epoch != c.since {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestScoresBelowABaselineAreNamed(t *testing.T) {
	m := Metrics{Scores: Scores{RougeL: 50, Bleu4: 20, Cider: 30, ExactMatch: 5, Samples: 100}}
	if m.Below() != "" || m.Baselines.Rows() != nil {
		t.Error("no baselines, and below them")
	}
	m.Baselines = &Baselines{
		Commonest: Scores{RougeL: 50, Bleu4: 10, Cider: 0, ExactMatch: 1},
		Nearest:   Scores{RougeL: 53.444, Bleu4: 20, Cider: 31, ExactMatch: 4},
	}
	want := "rougeL 50.00 (nearest picture's 53.44), cider 30.00 (nearest picture's 31.00)"
	if got := m.Below(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	m.Samples = 7
	if m.Below() != "" {
		t.Error("concluded from 7 pictures")
	}
}

func TestMetricIsShownWithItsNameAndUsualDigits(t *testing.T) {
	m := Metrics{Loss: 0.14374, Scores: Scores{Cider: 850.868, RougeL: 98.5}}
	for _, c := range []struct{ by, want string }{
		{MetricLoss, "eval_loss 0.1437"}, {MetricCider, "eval_cider 850.87"}, {"", "eval_rougeL 98.50"},
	} {
		if got := m.Shown((Best{By: c.by}).Metric()); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
