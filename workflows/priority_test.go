package workflows

import (
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"distilvit/pipeline"
)

// statusUntil asks a run where it stands until its detail begins as wanted.
func statusUntil(t *testing.T, c client.Client, id, detail string) pipeline.Status {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for ; ; <-time.After(50 * time.Millisecond) {
		var status pipeline.Status
		answer, err := c.QueryWorkflow(t.Context(), id, "", pipeline.StatusQuery)
		if err == nil {
			err = answer.Get(&status)
		}
		if err == nil && strings.HasPrefix(status.Detail, detail) {
			return status
		}
		if time.Now().After(deadline) {
			t.Fatalf("run %s: %q instead of %q, %v", id, status.Detail, detail, err)
		}
	}
}

func TestRunOfHigherPriorityGetsTheDeviceFirst(t *testing.T) {
	t.Parallel()
	c, address := server(t, "--dynamic-config-value", "matching.useNewMatcher=true") // as newer servers do by themselves
	w := newWorld()
	defer hostWorker(t, c, w)()
	device := startChild(t, address)
	run := func(id string, priority int) client.WorkflowRun {
		run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
			ID: id, TaskQueue: pipeline.TaskQueue, Priority: temporal.Priority{PriorityKey: priority},
		}, pipeline.WorkflowType, config(t))
		if err != nil {
			t.Fatal(err)
		}
		return run
	}
	first := run("first", 0)
	device.trains(t, 1)
	const waiting = "waiting for a device: epoch 1"
	low := run("low", 4)
	statusUntil(t, c, "low", waiting)
	usual := run("usual", 0) // which is 3
	statusUntil(t, c, "usual", waiting)
	high := run("high", 2)
	statusUntil(t, c, "high", waiting)

	for i, one := range []client.WorkflowRun{first, high, usual, low} {
		if i > 0 {
			device.trains(t, 1)
			statusUntil(t, c, one.GetID(), "epoch 1 of 3")
		}
		device.finishEpoch()
		for epoch := 2; epoch <= 3; epoch++ {
			device.trains(t, epoch)
			device.finishEpoch()
		}
		if err := one.Get(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
}
