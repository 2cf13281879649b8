package bench

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMeasureDoesEveryRoundAndCountsThoseAfterTheWarmup(t *testing.T) {
	var m Measurement
	done := 0
	require.NoError(t, Rounds{Count: 3, Warmup: 2}.Measure(&m, 6, func() error { done++; return nil }))
	require.Equal(t, 5, done)
	require.Equal(t, 3, m.Rounds)
	require.InEpsilon(t, 6/max(m.CPU, 1e-9), m.PerCPU, 1e-9)
	require.Positive(t, m.First)

	broken := errors.New("broken")
	require.ErrorIs(t, Rounds{Count: 1, Warmup: 1}.Measure(&m, 1, func() error { return broken }), broken)
}

func TestMedianAndMean(t *testing.T) {
	require.Equal(t, 3.0, median([]float64{9, 3, 1}))
	require.Equal(t, 2.5, median([]float64{4, 1, 2, 3}))
	require.Equal(t, 2.5, mean([]float64{4, 1, 2, 3}))
}
