package main

import (
	"context"
	"os"
	"sync"
	"syscall"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"distilvit/pipeline"
)

// meter counts what this process and its children spend, stage by stage. As an
// interceptor of this process's worker it knows the stage from the activities as
// they begin; what is between two of them counts for the one before.
type meter struct {
	interceptor.WorkerInterceptorBase

	mu     sync.Mutex // of all that follows
	stage  string
	stages []stageCost // in their order
	last   stageCost   // so far in all; Wall unused
	at     time.Time
}

func newMeter(stage string) *meter {
	return &meter{stage: stage, last: spentSoFar(), at: time.Now()}
}

// enter counts what was spent since the last time for the stage until now.
func (m *meter) enter(stage string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if stage == m.stage {
		return
	}
	now, spent := time.Now(), spentSoFar()
	m.add(stageCost{
		Stage: m.stage, Wall: now.Sub(m.at).Seconds(),
		Program: spent.Program - m.last.Program, Store: spent.Store - m.last.Store, Trainer: spent.Trainer - m.last.Trainer,
	})
	m.stage, m.last, m.at = stage, spent, now
}

func (m *meter) add(more stageCost) {
	for i := range m.stages {
		if m.stages[i].Stage == more.Stage {
			m.stages[i].add(more)
			return
		}
	}
	m.stages = append(m.stages, more)
}

// InterceptActivity implements interceptor.WorkerInterceptor.
func (m *meter) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	a := &meteredActivity{meter: m}
	a.Next = next
	return a
}

type meteredActivity struct {
	interceptor.ActivityInboundInterceptorBase
	meter *meter
}

// ExecuteActivity implements interceptor.ActivityInboundInterceptor.
func (a *meteredActivity) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	if stage := stageOf(info.ActivityType.Name, info.ActivityID); stage != "" {
		a.meter.enter(stage)
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
func spentSoFar() (c stageCost) {
	c.Program = cpuTime().Seconds()
	var ended syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &ended) // fails for no process but another
	c.Trainer = time.Duration(ended.Utime.Nano() + ended.Stime.Nano()).Seconds()
	for pid, parent := range parents() {
		if parent != os.Getpid() {
			continue
		}
		cpu, _ := cpuOf(pid) // 0: it has ended
		if roleOf(pid) == roleS3 {
			c.Store += cpu.Seconds()
		} else {
			c.Trainer += cpu.Seconds()
		}
	}
	return c
}
