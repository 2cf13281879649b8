package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"distilvit/pipeline"
)

func TestTrialsAreListedBelowTheirSweep(t *testing.T) {
	began := func(minute int) time.Time { return time.Date(2026, 11, 30, 3, minute, 0, 0, time.UTC) }
	run := func(id, parent string, minute int) *runInfo {
		return &runInfo{ID: id, parent: parent, Started: began(minute), kind: pipeline.WorkflowType}
	}
	sweep := func(id string, minute int) *runInfo {
		return &runInfo{ID: id, Started: began(minute), kind: pipeline.SweepType}
	}
	var ids []string
	trials := 0
	for _, r := range withSweeps(
		[]*runInfo{
			run("newest", "", 9), run("s-2", "s", 6), run("turn-1", "nightly-2026-11-30T03:05:00Z", 5), run("s-1", "s", 4),
			run("oldest", "", 1),
		},
		[]*runInfo{sweep("t", 7), sweep("s", 6), sweep("s", 3)},
	) {
		require.Equal(t, r.parent == "s", r.Sweep == "s")
		ids = append(ids, r.ID)
		trials += r.Trials
	}
	require.Equal(t, []string{"newest", "t", "s", "s-1", "s-2", "turn-1", "oldest"}, ids)
	require.Equal(t, 2, trials)
	require.Empty(t, withSweeps(nil, nil))
	require.NotNil(t, withSweeps(nil, nil), "JSON has a list")
}
