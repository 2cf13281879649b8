package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBenchOverheadCountsAWholeRunAgainstItsBareSteps(t *testing.T) {
	type cost struct {
		CPU  float64 `json:"cpu_s"`
		Wall float64 `json:"wall_s"`
	}
	r := decode[struct {
		Steps  int `json:"steps"`
		Epochs int `json:"epochs"`
		Bare   []struct {
			cost
			FirstCPU float64 `json:"first_cpu_s"`
			First    float64 `json:"first_wall_s"`
		}
		Stages []struct {
			Stage   string  `json:"stage"`
			Wall    float64 `json:"wall_s"`
			Program float64 `json:"program_cpu_s"`
			Store   float64 `json:"store_cpu_s"`
			Trainer float64 `json:"trainer_cpu_s"`
		}
		Loop     map[string]float64
		Training cost
		Whole    cost
	}](t, succeed(t, "bench", "overhead", "--preset", "tiny", "--backend", "go", "--steps", "5", "--epochs",
		"2", "--pictures", "2", "-o", "json"))
	require.Equal(t, []int{4, 2, 2}, []int{r.Steps, r.Epochs, len(r.Bare)})
	var steps cost // of a loop of four, the first of which compiles: the mean of both
	for _, b := range r.Bare {
		steps.CPU += (3*b.CPU + b.FirstCPU) / 2
		steps.Wall += (3*b.Wall + b.First) / 2
	}
	require.Positive(t, steps.CPU)
	stages := map[string]cost{}
	var whole cost
	for _, s := range r.Stages {
		stages[s.Stage] = cost{s.Program + s.Store + s.Trainer, s.Wall}
		whole.CPU += s.Program + s.Store + s.Trainer
		whole.Wall += s.Wall
	}
	for _, stage := range []string{
		"preflight", "prepare", "train", "validation", "evaluate", "export", "publish",
	} {
		require.Positive(t, stages[stage].CPU, stage)
		require.Positive(t, stages[stage].Wall, stage)
	}
	require.Greater(t, stages["train"].Wall, r.Loop["loop"])
	require.Greater(t, r.Loop["loop"], r.Loop["compile"]+r.Loop["checkpoint"]+r.Loop["input"])
	require.InDelta(t, stages["train"].CPU-steps.CPU, r.Training.CPU, 1e-6)
	require.InDelta(t, stages["train"].Wall-steps.Wall, r.Training.Wall, 1e-6)
	require.InDelta(t, whole.CPU-steps.CPU, r.Whole.CPU, 1e-6)
}
