package bench

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"distilvit/internal/rusage"
	"distilvit/pipeline"
)

// Meter counts what this process and its children spend, stage by stage. It is an interceptor of this
// process's worker: each activity that begins says which stage it is. What is spent between two activities
// counts for the first one's stage.
type Meter struct {
	interceptor.WorkerInterceptorBase

	mu     sync.Mutex // of all that follows
	stage  string
	stages []StageCost // in their order
	last   StageCost   // so far in all; Wall unused
	at     time.Time
}

// NewMeter begins to count, for the given stage.
func NewMeter(stage string) *Meter {
	return &Meter{stage: stage, last: spentSoFar(), at: time.Now()}
}

// Enter counts what was spent since the last time for the stage until now.
func (m *Meter) Enter(stage string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if stage == m.stage {
		return
	}
	now, spent := time.Now(), spentSoFar()
	m.add(StageCost{
		Stage: m.stage, Wall: now.Sub(m.at).Seconds(),
		Program: spent.Program - m.last.Program, Store: spent.Store - m.last.Store,
		Trainer: spent.Trainer - m.last.Trainer,
	})
	m.stage, m.last, m.at = stage, spent, now
}

// Stages is what each stage but the one under way has cost, in their order.
func (m *Meter) Stages() []StageCost {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.stages)
}

func (m *Meter) add(more StageCost) {
	for i := range m.stages {
		if m.stages[i].Stage == more.Stage {
			m.stages[i].add(more)
			return
		}
	}
	m.stages = append(m.stages, more)
}

// InterceptActivity implements interceptor.WorkerInterceptor.
func (m *Meter) InterceptActivity(
	_ context.Context, next interceptor.ActivityInboundInterceptor,
) interceptor.ActivityInboundInterceptor {
	a := &meteredActivity{meter: m}
	a.Next = next
	return a
}

type meteredActivity struct {
	interceptor.ActivityInboundInterceptorBase
	meter *Meter
}

// ExecuteActivity implements interceptor.ActivityInboundInterceptor.
func (a *meteredActivity) ExecuteActivity(
	ctx context.Context, in *interceptor.ExecuteActivityInput,
) (any, error) {
	info := activity.GetInfo(ctx)
	if stage := stageOf(info.ActivityType.Name, info.ActivityID); stage != "" {
		a.meter.Enter(stage)
	}
	return a.Next.ExecuteActivity(ctx, in)
}

// validationStage is what bench calls the evaluations between epochs.
const validationStage = "validation"

// stageOf is the stage that an activity begins or goes on with; empty: the same
// as before it.
func stageOf(name, id string) string {
	switch name {
	case "Preflight":
		return pipeline.StagePreflight
	case "PlanPrepare", "PrepareShard", "BuildModel", "TokenizeShards":
		return pipeline.StagePrepare
	case "TrainEpoch":
		return pipeline.StageTrain
	case "Evaluate":
		if id == "evaluate-best" {
			return pipeline.StageEvaluate
		}
		return validationStage
	case "Export":
		return pipeline.StageExport
	case "Publish":
		return pipeline.StagePublish
	}
	return ""
}

// spentSoFar is the CPU time of this process and of its children, of those that
// have ended too.
func spentSoFar() (c StageCost) {
	c.Program, c.Trainer = rusage.CPUTime().Seconds(), rusage.ChildrenCPUTime().Seconds()
	for _, pid := range childrenOf(os.Getpid()) {
		cpu, _ := cpuOf(pid) // 0: it has ended
		if roleOf(pid) == RoleS3 {
			c.Store += cpu.Seconds()
		} else {
			c.Trainer += cpu.Seconds()
		}
	}
	return c
}
