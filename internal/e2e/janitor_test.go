package e2e

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"distilvit/internal/testenv/temporaltest"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// Runs are removed, and then everything that only they used; an open one is not.
func TestJanitorLeavesNothingOfRemovedRuns(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	stack, addresses := up(t, data)
	config := writeConfig(t, t.TempDir(), tinyConfig(map[string]any{"backend": "go"}))
	succeed(t, "run", "-f", config, "--id", "first", "--data", data, "-o", "json")

	whole := storedFiles(t, data)
	rehearsal := decode[pipeline.JanitorResult](
		t, succeed(t, "janitor", "--dry-run", "--grace", "0s", "--data", data, "-o", "json"),
	)
	require.True(t, rehearsal.DryRun)
	require.Equal(t, whole, storedFiles(t, data))
	// all of it is younger than a day
	require.Contains(t, succeed(t, "janitor", "--data", data), "nothing to remove")

	// The schedule runs it too, beside a run that is open and has just adopted the same data.
	endless := writeConfig(
		t, t.TempDir(), tinyConfig(map[string]any{"backend": "go", "train": map[string]any{"epochs": 5000}}),
	)
	open := start(t, nil, "run", "-f", endless, "--id", "second", "--data", data)
	stack.Await("a checkpoint of the second run", func() bool {
		return slices.ContainsFunc(storedFiles(t, data), func(name string) bool {
			return strings.HasPrefix(name, "runs/second/checkpoints/")
		})
	})
	oneLine(t, distilvit(t, "rm", "second", "--data", data), 1, "run second is open", "distilvit stop second")
	triggerSchedule(t, addresses.Temporal)
	succeed(t, "rm", "first", "--data", data, "--model")
	require.NotContains(t, succeed(t, "list", "--data", data), "first")
	succeed(t, "janitor", "--grace", "0s", "--data", data)
	succeed(t, "stop", "second", "--data", data)
	require.Zero(t, open.Wait(), open.Stderr.String())

	oneLine(t, distilvit(t, "rm", "first", "--data", data), 1, "no such run: first")
	succeed(t, "rm", "second", "--data", data, "--model")
	succeed(t, "janitor", "--grace", "0s", "--data", data)
	require.Empty(t, storedFiles(t, data))
}

// triggerSchedule has Temporal start the Janitor by its schedule and waits for its end.
func triggerSchedule(t *testing.T, address string) {
	t.Helper()
	c := temporaltest.Client(t, address)
	schedule := c.ScheduleClient().GetHandle(t.Context(), "distilvit-janitor")
	described, err := schedule.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, 24*time.Hour, described.Schedule.Spec.Intervals[0].Every)
	require.NoError(t, schedule.Trigger(t.Context(), client.ScheduleTriggerOptions{}))
	var result pipeline.JanitorResult
	for result.Grace == "" {
		described, err := schedule.Describe(t.Context())
		require.NoError(t, err)
		for _, action := range described.Info.RecentActions {
			if w := action.StartWorkflowResult; w != nil {
				require.NoError(t, c.GetWorkflow(t.Context(), w.WorkflowID, "").Get(t.Context(), &result))
			}
		}
	}
	require.Equal(t, pipeline.DefaultGrace, result.Grace)
}

// storedFiles are the objects of the embedded store, by key, without its marker.
func storedFiles(t *testing.T, data string) []string {
	t.Helper()
	bucket, err := filepath.Glob(filepath.Join(data, "*", "objects", "distilvit"))
	require.NoError(t, err)
	require.Len(t, bucket, 1)
	var names []string
	_ = filepath.WalkDir(bucket[0], func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			name, _ := filepath.Rel(bucket[0], path)
			if !strings.HasPrefix(name, ".sgwtmp") && name != layout.Marker {
				names = append(names, name)
			}
		}
		return nil
	})
	return names
}
