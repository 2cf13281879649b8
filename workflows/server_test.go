package workflows

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"distilvit/internal/testenv/temporaltest"
	"distilvit/pipeline"
)

const deviceWorkerAddress = "DISTILVIT_TEST_DEVICE_WORKER" // set in the child that is a worker with a device

func TestMain(m *testing.M) {
	if address := os.Getenv(deviceWorkerAddress); address != "" {
		if err := deviceWorker(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// server starts a Temporal server for one test and gives a client of it, and
// its address.
func server(t *testing.T, more ...string) (client.Client, string) {
	t.Helper()
	return temporaltest.Start(t, append([]string{
		"--search-attribute", pipeline.SearchModel + "=Keyword", "--search-attribute",
		pipeline.SearchStage + "=Keyword"}, more...)...)
}

// hostWorker runs workflows and the activities that need no device.
func hostWorker(t *testing.T, c client.Client, w *world) (stop func()) {
	t.Helper()
	host := worker.New(c, pipeline.TaskQueue, worker.Options{})
	Register(host)
	w.register(host)
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	return host.Stop
}

func execute(t *testing.T, c client.Client, id string, cfg any) client.WorkflowRun {
	t.Helper()
	run, err := c.ExecuteWorkflow(
		t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: pipeline.TaskQueue},
		pipeline.WorkflowType, cfg,
	)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// deviceWorker is the child's side: it says which epoch it trains and then
// waits for a line on its standard input before it ends the epoch.
func deviceWorker(address string) error {
	c, err := client.Dial(client.Options{HostPort: address, Logger: temporaltest.Quiet()})
	if err != nil {
		return err
	}
	defer c.Close()
	lines := make(chan struct{})
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- struct{}{}
		}
		os.Exit(0) // the test is over
	}()
	w := newWorld()
	w.during = func(name string, _ int) {
		if name == "TrainEpoch" {
			fmt.Println("epoch", w.epochs[len(w.epochs)-1].Epoch+1)
		}
	}
	d := worker.New(c, pipeline.DeviceQueue, worker.Options{
		DisableWorkflowWorker: true, EnableSessionWorker: true, MaxConcurrentSessionExecutionSize: 1,
		WorkerStopTimeout: 5 * time.Second, MaxHeartbeatThrottleInterval: time.Second,
	})
	w.register(registryWithout{d, "TrainEpoch"})
	d.RegisterActivityWithOptions(
		func(ctx context.Context, in pipeline.EpochInput) (pipeline.EpochResult, error) {
			result, err := w.TrainEpoch(ctx, in)
			beat := time.NewTicker(time.Second)
			defer beat.Stop()
			for {
				select {
				case <-lines:
					return result, err
				case <-beat.C:
					activity.RecordHeartbeat(ctx)
				case <-activity.GetWorkerStopChannel(ctx):
					return result, typed(pipeline.Interrupted, "worker is stopping")
				case <-ctx.Done():
					if cause := context.Cause(ctx); !temporal.IsCanceledError(cause) {
						return result, typed(pipeline.Interrupted, cause.Error())
					}
					return result, ctx.Err()
				}
			}
		}, activity.RegisterOptions{Name: "TrainEpoch"})
	return d.Run(worker.InterruptCh())
}

// registryWithout leaves an activity out, to be registered otherwise.
type registryWithout struct {
	worker.ActivityRegistry
	name string
}

func (r registryWithout) RegisterActivityWithOptions(do any, o activity.RegisterOptions) {
	if o.Name != r.name {
		r.ActivityRegistry.RegisterActivityWithOptions(do, o)
	}
}

// child is a process that is a worker with one device.
type child struct {
	*exec.Cmd
	out chan string // what it says
	in  interface{ Write([]byte) (int, error) }
}

func startChild(t *testing.T, address string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command(os.Args[0]), out: make(chan string, 100)}
	c.Env = append(os.Environ(), deviceWorkerAddress+"="+address)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in = in
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.out)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.out <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c
}

// trains waits until the child begins the epoch.
func (c *child) trains(t *testing.T, epoch int) {
	t.Helper()
	select {
	case line := <-c.out:
		if line != fmt.Sprint("epoch ", epoch) {
			t.Fatalf("the worker says %q instead of epoch %d", line, epoch)
		}
	case <-time.After(3 * time.Minute):
		t.Fatalf("no worker took epoch %d", epoch)
	}
}

func (c *child) finishEpoch() { _, _ = c.in.Write([]byte("\n")) }

func TestSessionDiesWithItsWorkerAndAnotherWorkerGoesOn(t *testing.T) {
	for name, signal := range map[string]os.Signal{
		"killed": syscall.SIGKILL, "stopped": syscall.SIGTERM, "frozen": syscall.SIGSTOP,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, address := server(t)
			w := newWorld()
			stopHost := hostWorker(t, c, w)
			defer stopHost()
			first := startChild(t, address)
			run := execute(t, c, "r", config(t))
			first.trains(t, 1)
			first.finishEpoch()
			first.trains(t, 2)
			second := startChild(t, address)
			began := time.Now()
			if err := first.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			second.trains(t, 2)
			t.Logf("another worker took the epoch %v after the first was %s",
				time.Since(began).Round(100*time.Millisecond), name)
			second.finishEpoch()
			second.trains(t, 3)
			second.finishEpoch()
			var result pipeline.Result
			if err := run.Get(t.Context(), &result); err != nil || result.Epoch != 3 {
				t.Fatalf("%v %+v", err, result)
			}
			if failures := w.count["FindProgress"] - 1; name == "stopped" && failures != 0 {
				t.Errorf("a worker that stops in good order counts as %d failures", failures)
			}
		})
	}
}

func TestCancelledRunLeavesItsDeviceToTheNext(t *testing.T) {
	t.Parallel()
	c, address := server(t)
	w := newWorld()
	defer hostWorker(t, c, w)()
	device := startChild(t, address)
	first := execute(t, c, "first", config(t))
	device.trains(t, 1)
	second := execute(t, c, "second", config(t))
	if err := c.CancelWorkflow(t.Context(), "first", ""); err != nil {
		t.Fatal(err)
	}
	if err := first.Get(t.Context(), nil); !temporal.IsCanceledError(err) {
		t.Errorf("%v", err)
	}
	for epoch := range 3 {
		device.trains(t, epoch+1)
		device.finishEpoch()
	}
	if err := second.Get(t.Context(), nil); err != nil || w.count["Publish"] != 1 {
		t.Errorf("%v, %d published", err, w.count["Publish"])
	}
	described, err := c.DescribeWorkflowExecution(t.Context(), "second", "")
	if err != nil {
		t.Fatal(err)
	}
	found := described.WorkflowExecutionInfo.SearchAttributes.IndexedFields
	if model, stage := string(found[pipeline.SearchModel].GetData()),
		string(found[pipeline.SearchStage].GetData()); model != `"second"` || stage != `"done"` {
		t.Errorf("search attributes: model %s, stage %s", model, stage)
	}
}
