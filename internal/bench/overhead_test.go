package bench

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

func TestOverheadIsWhatTheStepsDidNotTake(t *testing.T) {
	r := OverheadReport{
		Steps: 11,
		Bare: []BareLoop{
			{CPU: 2, Wall: 1, FirstCPU: 6, First: 3}, {CPU: 2, Wall: 1, FirstCPU: 10, First: 5},
		},
		Stages: []StageCost{
			{Stage: pipeline.StagePrepare, Wall: 4, Program: 3, Store: 1},
			{Stage: pipeline.StageTrain, Wall: 15.4, Program: 2, Store: 1, Trainer: 27.8},
		},
		Loop: record.Times{Loop: 14, CPU: 25, Checkpoint: 2, CheckpointCPU: 1, Input: 2},
	}
	r.sum()
	// 11 bare steps take 10·2 + 8 = 28 s of CPU and 10·1 + 4 = 14 s.
	require.InDelta(t, 30.8-28, r.Training.CPU, 1e-9)
	require.InDelta(t, 10, r.Training.CPUPercent, 1e-9)
	require.InDelta(t, 10, r.Training.WallPercent, 1e-9)
	require.InDelta(t, 34.8-28, r.Whole.CPU, 1e-9)
	require.InDelta(t, 19.4-14, r.Whole.Wall, 1e-9)
	require.InDelta(t, 30.8-24, r.Seen.CPU, 1e-9)
	require.InDelta(t, 15.4-10, r.Seen.Wall, 1e-9)
}

func TestOverheadReportHasTheTimesOfAllEpochs(t *testing.T) {
	var sum record.Times
	for range 2 {
		addTimes(&sum, record.Times{
			Loop: 1, CPU: 2, Input: 3, Compile: 4, Checkpoint: 5, CompileCPU: 6, CheckpointCPU: 7,
		})
	}
	text, err := json.Marshal(OverheadReport{Loop: sum})
	require.NoError(t, err)
	require.Contains(t, string(text),
		`"loop":{"loop":2,"cpu":4,"input":6,"compile":8,"checkpoint":10,"compile_cpu":12,"checkpoint_cpu":14}`)
}
