package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/artifact/record"
	"distilvit/internal/testenv"
	"distilvit/pipeline"
)

func tuned(t *testing.T, sets ...string) pipeline.Config {
	t.Helper()
	cfg, err := pipeline.Decode([]byte("dataset: [{kind: shapes}]\nmodel: {preset: tiny}\n"), sets...)
	require.NoError(t, err)
	return cfg
}

// What a config asks of a whole run does not stand in the way of short ones.
func TestTuningTriesRatesAroundTheConfigs(t *testing.T) {
	cfg := tuned(t, "train.learning_rate=0.002", "train.epochs=30", "train.warmup_steps=5000", "train.lr_scheduler_type=cosine",
		"export.dtypes=[q4,q8]", "export.calibrate=8", "publish.approve=true", "publish.push=hf:a/b")
	spec, err := tuning(cfg, tuneOptions{epochs: 2, steps: 100, batchSizes: []int{8, 16}})
	require.NoError(t, err)
	require.Len(t, spec.Settings(), 10)
	var rates []string
	for i, settings := range spec.Settings() {
		c, err := spec.TrialConfig("trial", settings)
		require.NoError(t, err)
		require.NoError(t, c.Validate())
		require.Equal(t, 2, c.Train.Epochs)
		require.Equal(t, 100, c.Train.MaxSteps)
		require.Equal(t, []string{"fp32"}, c.Export.Dtypes)
		require.Equal(t, pipeline.ConstantAfterWarmup, c.Train.LRSchedulerType)
		if i < 5 {
			rates = append(rates, settings[1].Text())
		}
	}
	require.Equal(t, []string{"0.0002", "0.0006", "0.002", "0.006", "0.02"}, rates)
	require.Equal(t, record.MetricLoss, spec.MetricForBestTrial())
	require.Equal(t, 30, cfg.Train.Epochs, "the config itself")
	require.Equal(t, []string{"q4", "q8"}, cfg.Export.Dtypes)

	spec, err = tuning(cfg, tuneOptions{epochs: 1})
	require.NoError(t, err)
	require.Len(t, spec.Settings(), 5)
	_, err = tuning(cfg, tuneOptions{epochs: 0})
	require.ErrorContains(t, err, "train.epochs")
}

func TestTunedRateIsToldAsConfigAndWhetherToLookFurther(t *testing.T) {
	spec, err := tuning(tuned(t, "train.learning_rate=0.001"), tuneOptions{epochs: 1})
	require.NoError(t, err)
	for best, want := range map[int]string{
		1: "\nfor the config:\n  train:\n    learning_rate: 0.0003\n",
		4: "\nfor the config:\n  train:\n    learning_rate: 0.01\n" +
			"the rate is at the edge of what was tried; look further with --set train.learning_rate=0.01\n",
	} {
		status := pipeline.SweepStatus{Metric: spec.Metric}
		for i, settings := range spec.Settings() {
			loss := 2.0
			if i == best {
				loss = 1
			}
			status.Trials = append(status.Trials, pipeline.TrialStatus{
				State: pipeline.TrialDone, Settings: settings, Eval: &record.Metrics{Loss: loss},
			})
		}
		var out testenv.Output
		require.NoError(t, (&app{stdout: &out}).printTuned(spec, &status))
		require.Equal(t, want, out.String())
	}
}
