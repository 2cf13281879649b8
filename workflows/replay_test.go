package workflows

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/internal/testenv/temporaltest"
	"distilvit/pipeline"
)

var recordAs = flag.String(
	"record", "", "release `name`: write its histories to testdata from runs against a real server",
)

// What happens in the runs whose histories are recorded, by file name. A change
// of the workflow that breaks their replay breaks runs that are open while it is
// deployed: it needs workflow.GetVersion, not new histories. Each release adds a
// folder; none is ever removed.
var recorded = map[string]func(*world){
	"straight": func(*world) {},
	"approved": func(w *world) {
		w.during = func(name string, call int) {
			if name == "Export" { // which has not ended, so that it is refused
				w.signal(pipeline.RejectRequest, record.Decision{Note: "too early"})
			}
		}
	},
	"pushed":   func(*world) {},
	"features": func(*world) {},
	"paged":    func(w *world) { w.shards, w.page = 11, 3 },
	"failures": func(w *world) {
		w.fail = func(name string, call int) error {
			switch {
			case name == "TrainEpoch" && call == 1:
				return typed(pipeline.OutOfMemory, "device memory exhausted")
			case name == "TrainEpoch" && call == 2:
				return typed(pipeline.OutOfMemory, "device memory exhausted")
			case name == "TrainEpoch" && call == 4:
				return typed(pipeline.Diverged, "loss is NaN at step 150, examples 7, 9")
			case name == "TrainEpoch" && (call == 5 || call == 6):
				return typed(pipeline.DeviceLost, "signal: killed")
			case name == "Evaluate" && call == 2:
				return typed(pipeline.Interrupted, "worker is stopping")
			}
			return nil
		}
	},
	"mended": func(w *world) {
		w.lost = []string{"runs/r/checkpoints/1/300/manifest.json"}
		w.fail = func(name string, call int) error {
			switch {
			case name == "TrainEpoch" && call == 2:
				return corrupt("datasets/d/s.parquet")
			case name == "PrepareShard" && call == 4:
				return corrupt("sources/s/a.zip")
			case name == "Export" && call == 1:
				return corrupt("runs/r/blobs/b")
			case name == "TrainEpoch" && call == 5: // the best epoch's end, again
				return typed(pipeline.Corrupt, "no complete checkpoint at the end of epoch 2")
			}
			return nil
		}
	},
	"requests": func(w *world) {
		w.during = func(name string, call int) {
			switch {
			case name == "TrainEpoch" && call == 1:
				w.signal(pipeline.PauseRequest, nil)
				w.signal(pipeline.ExtendRequest, record.Extend{Epochs: 2})
				w.signal(pipeline.ResumeRequest, nil)
			case name == "TrainEpoch" && call == 5:
				w.signal(pipeline.StopRequest, pipeline.Stop{Now: true})
			}
		}
	},
}

// recordedSet is what configs of these runs set beside the others'.
var recordedSet = map[string][]string{
	"approved": {"publish.approve=true", "publish.approvers=Ada"},
	"pushed":   {"publish.push=hf:org/captioner"},
}

func TestHistoriesOfEveryReleaseReplay(t *testing.T) {
	if *recordAs != "" {
		for name, happens := range recorded {
			recordHistory(t, filepath.Join("testdata", *recordAs, name+".json"), happens,
				config(t, recordedSet[name]...))
		}
		recordSweep(t, filepath.Join("testdata", *recordAs, "sweep.json"))
	}
	paths, err := filepath.Glob(filepath.Join("testdata", "*", "*.json"))
	if err != nil || len(paths) < 2+len(recorded) {
		t.Fatalf("%d histories, %v", len(paths), err)
	}
	for _, path := range paths {
		if err := replay(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Replay checks which activities are asked for, not what with: an open run's activity
// may be scheduled by the program of before and done by this one. Keys have had other names up to 2026-11-25.
func TestInputsOfRecordedActivitiesAreRead(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "2026-11-2[35]", "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	seen := map[string]int{}
	for _, path := range paths {
		events, err := readHistory(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range events.Events {
			scheduled := event.GetActivityTaskScheduledEventAttributes()
			name := scheduled.GetActivityType().GetName()
			read, ok := lengthOrSplit[name]
			if !ok {
				continue
			}
			seen[name]++
			if got, err := read(scheduled.GetInput()); err != nil || got == "" || got == "0" {
				t.Errorf("%s, event %d, %s: read %q, %v", path, event.EventId, name, got, err)
			}
		}
	}
	if len(seen) != len(lengthOrSplit) {
		t.Errorf("the histories have only %v", seen)
	}
}

// lengthOrSplit reads the value, never 0 or empty, of the key that had another name
// in recorded payloads.
var lengthOrSplit = map[string]func(*common.Payloads) (string, error){
	"BuildModel":     read(func(in pipeline.BuildModelInput) string { return fmt.Sprint(in.MaxLength) }),
	"PlanTokenize":   read(func(in pipeline.TokenizeInput) string { return fmt.Sprint(in.MaxLength) }),
	"TokenizeShards": read(func(in pipeline.TokenizeInput) string { return fmt.Sprint(in.MaxLength) }),
	"Export":         read(func(in pipeline.ExportInput) string { return fmt.Sprint(in.MaxLength) }),
	"Publish":        read(func(in pipeline.PublishInput) string { return in.TestedOn }),
}

func read[T any](value func(T) string) func(*common.Payloads) (string, error) {
	return func(payloads *common.Payloads) (string, error) {
		var in T
		err := converter.GetDefaultDataConverter().FromPayloads(payloads, &in)
		return value(in), err
	}
}

func readHistory(path string) (*history.History, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return client.HistoryFromJSON(file, client.HistoryJSONOptions{})
}

func replay(path string) error {
	events, err := readHistory(path)
	if err != nil {
		return err
	}
	replayer := worker.NewWorkflowReplayer()
	Register(replayer)
	return replayer.ReplayWorkflowHistoryWithOptions(temporaltest.Quiet(), events,
		worker.ReplayWorkflowHistoryOptions{OriginalExecution: workflow.Execution{ID: "r"}})
}

// recordHistory runs the workflow with both queues' workers in this process.
func recordHistory(t *testing.T, path string, happens func(*world), cfg pipeline.Config) {
	c, _ := server(t)
	w := newWorld()
	w.signal = func(name string, argument any) {
		if err := c.SignalWorkflow(t.Context(), "r", "", name, argument); err != nil {
			t.Error(err)
		}
	}
	happens(w)
	defer hostWorker(t, c, w)()
	device := worker.New(c, pipeline.DeviceQueue, worker.Options{
		DisableWorkflowWorker: true, EnableSessionWorker: true, MaxConcurrentSessionExecutionSize: 1,
	})
	w.register(device)
	if err := device.Start(); err != nil {
		t.Fatal(err)
	}
	defer device.Stop()
	run := execute(t, c, "r", cfg)
	if cfg.Publish.Approve {
		approveOnceAsked(t, c, w)
	}
	if err := run.Get(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	saveHistory(t, c, "r", path)
	if w.page > 0 {
		saveHistory(t, c, "r/prepare-1", strings.TrimSuffix(path, ".json")+"-prepare.json")
		saveHistory(t, c, "r/tokenize-4", strings.TrimSuffix(path, ".json")+"-tokenize.json")
	}
}

// recordSweep halves four trials, of which one cannot be.
func recordSweep(t *testing.T, path string) {
	c, _ := server(t)
	ws := newWorlds(func(run string) *world { return scored(map[string]float64{"r-1": 10, "r-3": 30}[run], 40) })
	for _, queue := range []string{pipeline.TaskQueue, pipeline.DeviceQueue} {
		w := worker.New(c, queue, worker.Options{
			DisableWorkflowWorker: queue == pipeline.DeviceQueue, EnableSessionWorker: queue == pipeline.DeviceQueue,
		})
		if ws.register(w); queue == pipeline.TaskQueue {
			Register(w)
		}
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
	}
	sweep, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "r", TaskQueue: pipeline.TaskQueue},
		pipeline.SweepType, sweepOf(t, "method: halving\nparameters: {model.heads: [2, 5, 3, 4]}", "model.hidden_size=96"))
	if err != nil {
		t.Fatal(err)
	}
	var status pipeline.SweepStatus
	if err := sweep.Get(t.Context(), &status); err != nil {
		t.Fatal(err)
	}
	if states(status) == "" || status.Count(pipeline.TrialFailed) != 1 || status.Count(pipeline.TrialStopped) == 0 {
		t.Fatalf("%+v", status)
	}
	saveHistory(t, c, "r", path)
}

// saveHistory writes that of the newest execution.
func saveHistory(t *testing.T, c client.Client, id, path string) {
	t.Helper()
	var events history.History
	for all := c.GetWorkflowHistory(t.Context(), id, "", false,
		enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); all.HasNext(); {
		event, err := all.Next()
		if err != nil {
			t.Fatal(err)
		}
		events.Events = append(events.Events, event)
	}
	data, err := temporalproto.CustomJSONMarshalOptions{}.Marshal(&events)
	if err != nil {
		t.Fatal(err)
	}
	if host, err := os.Hostname(); err == nil {
		data = []byte(strings.ReplaceAll(string(data), "@"+host, "@worker"))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// approveOnceAsked approves of run r when it waits for that.
func approveOnceAsked(t *testing.T, c client.Client, w *world) {
	t.Helper()
	for {
		answer, err := c.QueryWorkflow(t.Context(), "r", "", pipeline.StatusQuery)
		if err != nil {
			t.Fatal(err)
		}
		var status pipeline.Status
		if err := answer.Get(&status); err != nil {
			t.Fatal(err)
		}
		if status.Asked != nil {
			break
		}
	}
	w.signal(pipeline.ApproveRequest, record.Decision{By: "Ada", Note: "fine"})
}

func TestServerChecksAConfigThatWasTypedByHand(t *testing.T) {
	t.Parallel()
	c, _ := server(t)
	w := newWorld()
	defer hostWorker(t, c, w)()
	for text, want := range map[string][]string{
		`{"dataset": [{"kind": "shapes"}], "train": {"epoch": 3, "dropout": 2}}`: {
			"train.epoch: unknown key; did you mean train.epochs?", "train.dropout: is 2",
		},
		`{"dataset": [{"kind": "shapes"}], "train": {"epochs": 0, "dropout": 2}}`: {
			"train.epochs: is 0", "train.dropout: is 2",
		},
	} {
		err := execute(t, c, "typed", json.RawMessage(text)).Get(t.Context(), nil)
		if err == nil {
			t.Fatalf("%s is accepted", text)
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v lacks %q", err, part)
			}
		}
	}
	if len(w.calls) > 0 {
		t.Errorf("calls: %s", w.without())
	}
}
