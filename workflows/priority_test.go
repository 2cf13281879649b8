package workflows

import (
	"cmp"
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

// A run's priority is that of its place in the queue for a device, where Temporal
// serves a lower key first.
func TestRunsWaitForADeviceWithTheirPriority(t *testing.T) {
	t.Parallel()
	// as newer servers do by themselves
	c, address := server(t, "--dynamic-config-value", "matching.useNewMatcher=true")
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
	runs := []client.WorkflowRun{run("first", 0)}
	device.trains(t, 1)
	for id, priority := range map[string]int{"low": 4, "usual": 0, "high": 2} {
		runs = append(runs, run(id, priority))
		statusUntil(t, c, id, "waiting for a device: epoch 1")
		if got := waitsWith(t, c, id); got != priority {
			t.Errorf("run %s waits with priority %d instead of %d", id, got, priority)
		}
	}
	for i := range runs { // every one has its turn
		for epoch := 1; epoch <= 3; epoch++ {
			if i > 0 || epoch > 1 {
				device.trains(t, epoch)
			}
			device.finishEpoch()
		}
	}
	for _, one := range runs {
		if err := one.Get(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
}

// waitsWith is the priority of a run's request for a device, which comes a moment
// after the run says that it waits. One without a priority has its run's.
func waitsWith(t *testing.T, c client.Client, id string) int {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for ; ; <-time.After(50 * time.Millisecond) {
		described, err := c.DescribeWorkflowExecution(t.Context(), id, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, pending := range described.GetPendingActivities() {
			if pending.GetActivityType().GetName() == "internalSessionCreationActivity" {
				own, runs := pending.GetPriority(), described.GetWorkflowExecutionInfo().GetPriority()
				return int(cmp.Or(own.GetPriorityKey(), runs.GetPriorityKey()))
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("run %s does not ask for a device", id)
		}
	}
}
