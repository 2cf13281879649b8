package artifact

import (
	"distilvit/artifact/record"
	"distilvit/metrics"
)

// Evaluation scores captions on words by the rule, for the record: all together, and
// each group by itself. Loss and time are the caller's to add.
func Evaluation(predictions []metrics.Prediction, rule metrics.WordRule) record.Metrics {
	all, groups := metrics.Score(predictions, rule)
	m := record.Metrics{Scores: scores(all), Words: string(rule)}
	for name, s := range groups {
		if m.Groups == nil {
			m.Groups = map[string]record.Scores{}
		}
		m.Groups[name] = scores(s)
	}
	return m
}

func scores(s metrics.Scores) record.Scores {
	return record.Scores{
		Rouge1: s.Rouge1, Rouge2: s.Rouge2, RougeL: s.RougeL, RougeLsum: s.RougeLsum,
		Bleu1: s.Bleu1, Bleu2: s.Bleu2, Bleu3: s.Bleu3, Bleu4: s.Bleu4, Cider: s.Cider,
		GenLen: s.GenLen, ExactMatch: s.ExactMatch, Samples: s.N,
		Distinct: s.Distinct, Commonest: s.Commonest,
	}
}
