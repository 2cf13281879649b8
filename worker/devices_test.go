package worker

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	sdk "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"distilvit/activities"
	"distilvit/internal/testenv"
	"distilvit/internal/testenv/temporaltest"
	"distilvit/model/trainer"
	"distilvit/pipeline"
)

// occupy holds a session of the device queue until it is signalled.
func occupy(ctx workflow.Context) error {
	session, err := workflow.CreateSession(workflow.WithTaskQueue(ctx, pipeline.DeviceQueue),
		&workflow.SessionOptions{
			CreationTimeout: time.Hour, ExecutionTimeout: time.Hour, HeartbeatTimeout: 20 * time.Second,
		})
	if err != nil {
		return err
	}
	defer workflow.CompleteSession(session)
	held := false
	if err := workflow.SetQueryHandler(ctx, "held", func() (bool, error) { return held, nil }); err != nil {
		return err
	}
	session = workflow.WithActivityOptions(
		session, workflow.ActivityOptions{StartToCloseTimeout: time.Minute},
	)
	err = workflow.ExecuteActivity(session, "CloseTrainer", pipeline.Work{Run: "nobody"}).Get(session, nil)
	held = true
	workflow.GetSignalChannel(ctx, "leave").Receive(ctx, nil)
	return err
}

func TestDeviceOutOfServiceGetsNoSessionUntilItIsReinstated(t *testing.T) {
	c, _ := temporaltest.Start(t)
	dir, log := t.TempDir(), &testenv.Output{}
	path := OutagesFile(dir)
	outage := `[{"device": 1, "since": "2026-01-02T03:04:05Z",
		"reasons": ["DeviceLost: one", "DeviceLost: two", "Stalled: three"]}]`
	if err := os.WriteFile(path, []byte(outage), 0o644); err != nil {
		t.Fatal(err)
	}
	o, err := Options{
		Client: c, Dir: dir, Slots: [][]int{{0}, {1}}, Log: slog.New(slog.NewTextHandler(log, nil)),
		StopTimeout: time.Second,
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveDevices(ctx, o, activities.Activities{}, stop)
	}()
	defer func() {
		stop(nil)
		<-served
	}()
	host := sdk.New(c, "test", sdk.Options{})
	host.RegisterWorkflowWithOptions(occupy, workflow.RegisterOptions{Name: "occupy"})
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	defer host.Stop()
	held := func() (n int) {
		for _, id := range []string{"a", "b"} {
			var one bool
			if answer, err := c.QueryWorkflow(t.Context(), id, "", "held"); err == nil &&
				answer.Get(&one) == nil && one {
				n++
			}
		}
		return n
	}
	for _, id := range []string{"a", "b"} {
		if _, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: "test"},
			"occupy"); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Await(t, "a session on device 0", func() bool { return held() == 1 })
	if want := "device 1 is out of service since"; !strings.Contains(log.String(), want) ||
		!strings.Contains(log.String(), "last: Stalled: three; `distilvit doctor --reinstate 1`") {
		t.Errorf("the log does not say %q: %s", want, log)
	}
	if strings.Contains(log.String(), "it takes no training") {
		t.Errorf("one device is left: %s", log)
	}
	if was, err := trainer.Reinstate(path, 1); !was || err != nil {
		t.Fatal(was, err)
	}
	testenv.Await(t, "a session on device 1", func() bool { return held() == 2 })
	for _, id := range []string{"a", "b"} {
		if err := c.SignalWorkflow(t.Context(), id, "", "leave", nil); err != nil {
			t.Fatal(err)
		}
		if err := c.GetWorkflow(t.Context(), id, "").Get(t.Context(), nil); err != nil {
			t.Errorf("run %s: %v", id, err)
		}
	}
}

func TestWorkerWithoutADeviceSaysSoOrEndsWhereItIsNeeded(t *testing.T) {
	for _, needed := range []bool{false, true} {
		dir, log := t.TempDir(), &testenv.Output{}
		outage := `[{"device": 0, "since": "2026-01-02T03:04:05Z", "reasons": ["DeviceLost: signal killed"]}]`
		if err := os.WriteFile(filepath.Join(dir, "devices.json"), []byte(outage), 0o644); err != nil {
			t.Fatal(err)
		}
		ctx, fail := context.WithCancelCause(t.Context())
		s := &slots{
			Options: Options{
				Slots: [][]int{{0}}, NeedDevice: needed, Log: slog.New(slog.NewTextHandler(log, nil)),
			},
			health: trainer.NewHealth(OutagesFile(dir)), fail: fail, out: map[int]bool{},
		}
		if s.inService(0) {
			t.Error("a device out of service is in service")
		}
		const gone, fix = "no device of this worker is in service: it takes no training",
			"distilvit doctor --reinstate 0"
		ended := context.Cause(ctx)
		if needed && (ended == nil || !strings.Contains(ended.Error(), gone) ||
			!strings.Contains(ended.Error(), fix)) {
			t.Errorf("needed: ended with %v", ended)
		}
		if !needed && (ended != nil || !strings.Contains(log.String(), gone) ||
			!strings.Contains(log.String(), fix)) {
			t.Errorf("not needed: ended with %v, log %s", ended, log)
		}
		fail(nil)
	}
}

// The list lies among what may be lost: damaged, it takes nobody's device away.
func TestDamagedListOfOutagesIsSetAside(t *testing.T) {
	dir, log := t.TempDir(), &testenv.Output{}
	path := OutagesFile(dir)
	if err := os.WriteFile(path, []byte(`[{"device": 0, "since`), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &slots{
		Options: Options{Slots: [][]int{{0}, {1}}, Log: slog.New(slog.NewTextHandler(log, nil))},
		health:  trainer.NewHealth(path), fail: func(error) {}, out: map[int]bool{},
	}
	for i := range s.Slots {
		if !s.inService(i) {
			t.Errorf("slot %d is out of service", i)
		}
	}
	if _, err := os.Stat(path + ".damaged"); err != nil || !strings.Contains(log.String(), path+".damaged") {
		t.Errorf("%v; %s", err, log)
	}
}
