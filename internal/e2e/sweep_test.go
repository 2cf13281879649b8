package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"

	"distilvit/internal/testenv/temporaltest"
	"distilvit/pipeline"
)

// A sweep of which one trial cannot be is killed in the middle of a trial and goes on by the same command. Its table
// is right, its data was prepared once, and the best trial's weights are those of a run that was alone.
func TestKilledSweepGoesOnAndNamesTheBest(t *testing.T) {
	dir, data := t.TempDir(), filepath.Join(t.TempDir(), "data")
	run := tinyConfig(map[string]any{
		"backend": pipeline.BackendGo,
		"model":   map[string]any{"patch_size": 16, "encoder_layer": 1, "decoder_layer": 1},
		"train":   map[string]any{"captions_per_picture": 1, "checkpoint_steps": 3},
		"export":  map[string]any{"dtypes": []string{"fp32"}},
	})
	raw, err := json.Marshal(map[string]any{
		"run": run, "method": "halving", "parameters": map[string]any{"model.heads": []int{2, 5, 3, 4}},
	})
	require.NoError(t, err)
	args := []string{"sweep", "-f", writeFile(t, dir, "sweep.json", string(raw)), "--id", "heads", "--data", data, "-o", "json"}

	const steps = 20 // an epoch of 320 pictures, 16 a step
	killed := start(t, nil, args...)
	awaitCheckpoint(t, killed, data, "heads-3", 1, steps)
	killEverything(t, killed)

	again := distilvit(t, args...)
	require.Zero(t, again.code, again.stderr)
	require.Contains(t, again.stderr, "sweep heads is open: following it")
	status := decode[pipeline.SweepStatus](t, again.stdout)
	require.Len(t, status.Trials, 4)
	require.Contains(t, status.Trials[1].Error, "model.heads: is 5; must divide model.hidden_size 48")
	require.Equal(t, []int{2, 1, 1}, []int{
		status.Count(pipeline.TrialDone), status.Count(pipeline.TrialStopped), status.Count(pipeline.TrialFailed),
	}, again.stdout)
	best := status.Trials[status.Ranking()[0]]
	require.Equal(t, best.Run, status.Best)
	for _, trial := range status.Trials {
		if trial.Eval != nil {
			require.False(t, trial.Eval.BetterThan(*best.Eval, status.Metric), "%s is better", trial.Run)
			require.Equal(t, "models/"+trial.Run+"/"+trial.Run+"-b1", trial.Model)
		}
	}
	require.Equal(t, again.stdout, succeed(t, args...), "the complete sweep's table")

	t.Run("runs, report and data", func(t *testing.T) {
		_, addresses := up(t, data)
		prepared := map[string]int{} // runs in which an activity was scheduled
		c := temporaltest.Client(t, addresses.Temporal)
		for _, trial := range status.Trials {
			history := c.GetWorkflowHistory(t.Context(), trial.Run, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
			for history.HasNext() {
				event, err := history.Next()
				require.NoError(t, err)
				prepared[event.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName()]++
			}
		}
		require.Equal(t, []int{3, 3, 3}, []int{prepared["PrepareShard"], prepared["PlanPrepare"], prepared["Publish"]},
			"one shard of each split, planned by each trial: %v", prepared)
		require.Equal(t, 1, prepared["TokenizeShards"], prepared)

		listed := succeed(t, "list", "--data", data)
		for _, trial := range status.Trials {
			require.Contains(t, listed, trial.Run)
		}
		require.Regexp(t, `(?m)^heads +completed +sweep of 4 trials .*\n  heads-1 `, listed)
		page := succeed(t, "cat", status.Report, "--data", data)
		require.Equal(t, 4, strings.Count(page, "<tr><td>heads-")+strings.Count(page, `<tr class="best"><td>heads-`))
		require.Contains(t, succeed(t, "sweep", "--id", "heads", "--data", data), "the best is "+status.Best)
		require.Equal(t, again.stdout, succeed(t, "status", "heads", "--data", data, "-o", "json"))
		succeed(t, "janitor", "--grace", "0s", "--data", data)
		require.Equal(t, page, succeed(t, "cat", status.Report, "--data", data))
	})
	t.Run("the best is the run that was alone", func(t *testing.T) {
		shared, _ := sharedStack(t)
		succeed(t, "run", "-f", writeConfig(t, dir, run), "--id", "heads-alone", "--data", shared,
			"--set", best.Settings[0].String())
		require.Equal(t, weightsDigest(t, shared, "heads-alone"), weightsDigest(t, data, best.Run))
	})
	t.Run("rm leaves nothing of it", func(t *testing.T) {
		succeed(t, "rm", "heads", "--model", "--data", data)
		require.Equal(t, "[]", strings.TrimSpace(succeed(t, "list", "--data", data, "-o", "json")))
		stored := succeed(t, "ls", "--data", data)
		for _, area := range []string{"runs/", "models/", "sweeps/"} {
			require.NotContains(t, stored, area)
		}
	})
}
