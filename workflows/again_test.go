package workflows

import (
	"context"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"distilvit/pipeline"
)

// An epoch that fails while it is being cancelled can be trained again: Temporal's
// SDK never forgets the id of such an activity and panics when it comes again.
func TestEpochThatFailsWhileItIsCancelledIsTrainedAgain(t *testing.T) {
	t.Parallel()
	c, _ := server(t)
	w := newWorld()
	defer hostWorker(t, c, w)()
	device := worker.New(c, pipeline.DeviceQueue, worker.Options{
		DisableWorkflowWorker: true, EnableSessionWorker: true, MaxConcurrentSessionExecutionSize: 1,
		MaxHeartbeatThrottleInterval: 100 * time.Millisecond,
	})
	w.register(registryWithout{device, "TrainEpoch"})
	signal := func(name string) {
		if err := c.SignalWorkflow(t.Context(), "r", "", name, nil); err != nil {
			t.Error(err)
		}
	}
	attempt := 0
	device.RegisterActivityWithOptions(
		func(ctx context.Context, in pipeline.EpochInput) (pipeline.EpochResult, error) {
			if attempt++; attempt > 2 {
				return w.TrainEpoch(ctx, in)
			}
			signal(pipeline.PauseRequest)
			for ctx.Err() == nil {
				activity.RecordHeartbeat(ctx)
				select {
				case <-ctx.Done():
				case <-time.After(200 * time.Millisecond):
				}
			}
			signal(pipeline.ResumeRequest)
			return pipeline.EpochResult{}, typed(pipeline.DeviceLost, "signal: killed")
		}, activity.RegisterOptions{Name: "TrainEpoch"})
	if err := device.Start(); err != nil {
		t.Fatal(err)
	}
	defer device.Stop()
	var result pipeline.Result
	if err := execute(t, c, "r", config(t)).Get(t.Context(), &result); err != nil ||
		result.Epoch != 3 || attempt != 5 {
		t.Errorf("%v, %+v after %d attempts", err, result, attempt)
	}
}
