package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"distilvit/internal/rusage"
	"distilvit/pipeline"
)

func TestMeterCountsWhatIsSpentForTheStageUnderWay(t *testing.T) {
	m := NewMeter(pipeline.StagePrepare)
	until := rusage.CPUTime() + 20e6
	for n := 0; rusage.CPUTime() < until; n++ {
	}
	m.Enter(pipeline.StageTrain)
	m.Enter(pipeline.StageTrain) // goes on
	m.Enter(pipeline.StagePrepare)
	m.Enter(pipeline.StageDone)
	stages := m.Stages()
	require.Len(t, stages, 2, "a stage that comes again is the same one")
	require.Equal(t, pipeline.StagePrepare, stages[0].Stage)
	require.Equal(t, pipeline.StageTrain, stages[1].Stage)
	require.GreaterOrEqual(t, stages[0].Program, 0.02)
	require.Positive(t, stages[1].Wall)
}

func TestStageOfAnActivity(t *testing.T) {
	require.Equal(t, pipeline.StageEvaluate, stageOf("Evaluate", "evaluate-best"))
	require.Equal(t, validationStage, stageOf("Evaluate", "evaluate-3"))
	require.Empty(t, stageOf("Beat", ""), "an activity that belongs to any stage")
}
