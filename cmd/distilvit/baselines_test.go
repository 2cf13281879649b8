package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

func TestWhatNeedsNoModelIsPrintedBesideTheScores(t *testing.T) {
	eval := record.Metrics{Scores: record.Scores{RougeL: 30.5, Samples: 76}}
	plain := epochLine(record.EpochRecord{Epoch: 1, Eval: eval}, &pipeline.Status{Epochs: 2})
	require.NotContains(t, plain, "\n")
	eval.Baselines = &record.Baselines{
		Commonest: record.Scores{RougeL: 4.62, Samples: 76},
		Nearest:   record.Scores{RougeL: 33.8, Cider: 82.5, ExactMatch: 1, Samples: 76},
	}
	require.Equal(t, plain+"\n  without a model: most frequent caption  rougeL 4.62  exact 0.0%"+
		"\n  without a model: nearest picture's  rougeL 33.80  exact 1.0%",
		epochLine(record.EpochRecord{Epoch: 1, Eval: eval}, &pipeline.Status{Epochs: 2}))

	scores, out := newScoresTable(), &strings.Builder{}
	addScores(scores, "test", eval)
	scores.write(out, "")
	for _, want := range []string{"  most frequent caption        76       -", "33.80   0.00  82.50     1.00     0.0"} {
		require.Contains(t, out.String(), want)
	}
}
