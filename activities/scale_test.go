package activities

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/internal/digest"
	"distilvit/internal/testenv"
	"distilvit/internal/testenv/temporaltest"
	"distilvit/pipeline"
	"distilvit/storage/layout"
	"distilvit/workflows"
)

// The simulation of a large dataset, with pages of 1,000 shards, minutes of it:
//
//	go test ./activities -run TestPreparingManyShards -simulate 100000 -timeout 30m -v
var simulateShards = flag.Int("simulate", 0, "shards of 1,000 pictures to be simulated; 0: a few, in small pages")

var simulateFor = flag.Duration("simulate-for", time.Hour, "what is not simulated by then is left out")

// simulation is a worker whose shards have no pixels and no captions, but their place in the store and in every list.
type simulation struct {
	*Activities
	shards int

	prepared atomic.Int64
	gate     chan struct{} // closed once shards may be made
}

const endOfSimulation = "the simulation ends where training begins"

func (s *simulation) Preflight(_ context.Context, in pipeline.PreflightInput) (pipeline.PreflightResult, error) {
	return pipeline.PreflightResult{Config: in.Config, Backend: pipeline.BackendGo}, nil
}

func (s *simulation) Download(_ context.Context, in pipeline.DownloadInput) (pipeline.DownloadResult, error) {
	return pipeline.DownloadResult{Source: in.Source, Digest: "d"}, nil
}

// PlanPrepare lists shards as the real one does.
func (s *simulation) PlanPrepare(ctx context.Context, in pipeline.PlanInput) (pipeline.Plan, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.Plan, error) {
		plan := pipeline.Plan{Dataset: layout.Dataset("simulated"), Examples: 1000 * s.shards}
		tasks := pagerOf[pipeline.ShardTask](s.Activities, plan.Dataset)
		for i := range s.shards {
			work := strings.Repeat("0", 64)
			err := tasks.Add(ctx, pipeline.ShardTask{Index: i, Split: s.split(i), Rows: 1000, Work: layout.Object{
				Key: layout.Blob(plan.Dataset, work, ".json"), SHA256: work, Size: 100_000,
			}})
			if err != nil {
				return plan, err
			}
		}
		if err := s.listTasks(ctx, &plan, tasks, in.Sources); err != nil {
			return plan, err
		}
		_, err := s.Store.PutJSON(ctx, layout.Plan(plan.Dataset), record.PreparePlan{Examples: plan.Examples})
		return plan, err
	})
}

func (s *simulation) split(i int) string {
	if i < s.shards-2 {
		return pipeline.SplitTrain
	}
	return pipeline.SplitValidation
}

func (s *simulation) PrepareShard(
	ctx context.Context, in pipeline.PrepareShardInput,
) (pipeline.PrepareShardResult, error) {
	s.prepared.Add(1)
	<-s.gate
	var out pipeline.PrepareShardResult
	if sources, err := s.shardSources(ctx, in); err != nil || len(sources) != 1 {
		return out, fmt.Errorf("sources %v, %v", sources, err)
	}
	var err error
	out.Shard = record.Shard{Index: in.Task.Index, Split: in.Task.Split, Rows: in.Task.Rows}
	out.Shard.Object, err = s.Store.PutBytes(ctx, layout.Blob(in.Dataset, digest.Bytes(numbered(in.Task.Index)), ".parquet"),
		numbered(in.Task.Index))
	return out, err
}

func numbered(shard int) []byte { return fmt.Appendf(nil, "%d", shard) }

func (s *simulation) BuildModel(context.Context, pipeline.BuildModelInput) (pipeline.BuiltModel, error) {
	return pipeline.BuiltModel{ModelRef: record.ModelRef{Digest: "m"}}, nil
}

func (s *simulation) PlanTokenize(context.Context, pipeline.TokenizeInput) (pipeline.TokenizePlan, error) {
	return pipeline.TokenizePlan{Tokens: layout.TokenShards("simulated")}, nil
}

func (s *simulation) TokenizeShards(ctx context.Context, in pipeline.TokenizeInput) (pipeline.TokenizeResult, error) {
	var out pipeline.TokenizeResult
	shards, err := artifact.DatasetShards(ctx, s.Store, in.Dataset.Manifest, in.First, in.Last)
	for _, shard := range shards {
		// not stored: only the pictures' shards are looked for
		shard.Object.Key = layout.Blob(layout.TokenShards("simulated"), shard.Object.SHA256, ".parquet")
		out.Shards, out.Cut = append(out.Shards, shard), out.Cut+1
	}
	return out, err
}

func (s *simulation) FindProgress(context.Context, pipeline.FindProgressInput) (record.Progress, error) {
	return record.Progress{}, temporal.NewNonRetryableApplicationError(endOfSimulation, pipeline.InvalidInput, nil)
}

// simulate starts a server and a worker, and a run of so many shards.
func simulate(t *testing.T, shards, page int, gate chan struct{}) (*simulation, client.Client, client.WorkflowRun) {
	b := newBench(t)
	b.PageShards = page
	s := &simulation{Activities: b.Activities, shards: shards, gate: gate}
	c, _ := temporaltest.Start(t, "--search-attribute", pipeline.SearchModel+"=Keyword",
		"--search-attribute", pipeline.SearchStage+"=Keyword")
	host := worker.New(c, pipeline.TaskQueue, worker.Options{MaxConcurrentActivityExecutionSize: 64})
	workflows.Register(host)
	host.RegisterActivity(s)
	device := worker.New(c, pipeline.DeviceQueue, worker.Options{DisableWorkflowWorker: true})
	device.RegisterActivity(s)
	for _, w := range []worker.Worker{host, device} {
		check(t, w.Start())
		t.Cleanup(w.Stop)
	}
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "r", TaskQueue: pipeline.TaskQueue},
		pipeline.WorkflowType, tinyConfig())
	check(t, err)
	return s, c, run
}

func TestPreparingManyShardsKeepsHistoriesShort(t *testing.T) {
	shards, page, gate := 26, 4, make(chan struct{})
	if *simulateShards > 0 {
		shards, page = *simulateShards, 0
		close(gate)
	}
	begun := time.Now()
	s, c, run := simulate(t, shards, page, gate)
	if *simulateShards > 0 {
		defer watchMemory(t, s)()
	} else {
		pauseAndResume(t, s, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), *simulateFor)
	defer cancel()
	err := run.Get(ctx, nil)
	took := time.Since(begun)
	switch n := int(s.prepared.Load()); {
	case ctx.Err() != nil:
		t.Logf("broken off after %d shards", n)
	case err == nil || !strings.Contains(err.Error(), endOfSimulation):
		t.Fatal(err)
	case n != shards:
		t.Errorf("%d shards were prepared, of %d", n, shards)
	default:
		wantPages(t, s, shards)
	}
	executions := historiesOf(t, c)
	most := historySize{}
	for _, e := range executions {
		most.events, most.bytes = max(most.events, e.events), max(most.bytes, e.bytes)
	}
	t.Logf("%d shards of 1,000 pictures: %v, %d executions, the longest history has %d events, the largest %d bytes",
		shards, took.Round(time.Second), len(executions), most.events, most.bytes)
	if most.events >= 10_000 || most.bytes >= 10<<20 {
		t.Errorf("a history has %d events, one %d bytes", most.events, most.bytes)
	}
	if want := 1 + 2*7; *simulateShards == 0 && len(executions) != want {
		t.Errorf("%d executions, want one of the run and one for each of two times 7 pages", len(executions))
	}
}

// pauseAndResume pauses the run while the first page of each child is worked on, and looks whether it stands still.
func pauseAndResume(t *testing.T, s *simulation, c client.Client) {
	t.Helper()
	const first = 16 // shards: four children with a page each
	testenv.Await(t, "first pages", func() bool { return s.prepared.Load() == first })
	children := []string{"r/prepare-1", "r/prepare-2", "r/prepare-3", "r/prepare-4"}
	ask(t, c, pipeline.PauseRequest, pipeline.Pause{})
	for _, id := range children {
		testenv.Await(t, id+" told of the pause", func() bool { return toldOfPause(eventsOf(t, c, id, "")) })
	}
	close(s.gate)
	testenv.Await(t, "shards counted", func() bool { return statusOf(t, c).Done == first })
	for _, id := range children {
		d, err := c.DescribeWorkflowExecution(t.Context(), id, "")
		check(t, err)
		if open := len(d.PendingActivities); open > 0 || d.WorkflowExecutionInfo.Status != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
			t.Errorf("%s: %d activities are open in the pause, it is %v", id, open, d.WorkflowExecutionInfo.Status)
		}
	}
	if status := statusOf(t, c); !status.Paused || int(status.Total) != s.shards || s.prepared.Load() != first {
		t.Errorf("%+v, %d prepared", status, s.prepared.Load())
	}
	ask(t, c, pipeline.ResumeRequest, nil)
}

func toldOfPause(events []*history.HistoryEvent) bool {
	for _, e := range events {
		if e.GetWorkflowExecutionSignaledEventAttributes().GetSignalName() == pipeline.PausedSignal {
			return true
		}
	}
	return false
}

func ask(t *testing.T, c client.Client, request string, argument any) {
	t.Helper()
	h, err := c.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: "r", UpdateName: request, WaitForStage: client.WorkflowUpdateStageCompleted, Args: []any{argument},
	})
	check(t, err)
	check(t, h.Get(t.Context(), nil))
}

func statusOf(t *testing.T, c client.Client) (status pipeline.Status) {
	t.Helper()
	answer, err := c.QueryWorkflow(t.Context(), "r", "", pipeline.StatusQuery)
	check(t, err)
	check(t, answer.Get(&status))
	return status
}

func eventsOf(t *testing.T, c client.Client, id, run string) (events []*history.HistoryEvent) {
	t.Helper()
	for all := c.GetWorkflowHistory(t.Context(), id, run, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); all.HasNext(); {
		e, err := all.Next()
		check(t, err)
		events = append(events, e)
	}
	return events
}

// wantPages reads what the run stored: every shard in its place, in pages.
func wantPages(t *testing.T, s *simulation, shards int) {
	t.Helper()
	key := layout.Manifest(layout.Dataset("simulated"))
	m, err := artifact.ReadDataset(t.Context(), s.Store, key)
	check(t, err)
	tokens, err := artifact.ReadTokens(t.Context(), s.Store, layout.Manifest(layout.TokenShards("simulated")))
	check(t, err)
	pages := (shards + s.pageShards() - 1) / s.pageShards()
	if pages == 1 {
		pages = 0
	}
	if len(m.ShardPages) != pages || len(tokens.ShardPages) != pages {
		t.Errorf("%d and %d pages, want %d", len(m.ShardPages), len(tokens.ShardPages), pages)
	}
	if len(m.Shards) != shards || len(tokens.Shards) != shards || tokens.Cut != shards ||
		m.Rows[pipeline.SplitTrain] != 1000*(shards-2) {
		t.Fatalf("%d and %d shards, %d captions cut, %v pictures", len(m.Shards), len(tokens.Shards), tokens.Cut, m.Rows)
	}
	for i, shard := range m.Shards {
		if token := tokens.Shards[i]; shard.Index != i || token.Index != i || shard.Object.Key == "" || token.Rows != shard.Rows {
			t.Fatalf("shard %d: %+v, %+v", i, shard, token)
		}
	}
	for _, span := range [][2]int{{0, shards}, {0, 1}, {3, 4}, {3, 5}, {5, 9}, {shards - 1, shards}, {shards, shards}, {4, 4}} {
		some, err := artifact.DatasetShards(t.Context(), s.Store, key, span[0], span[1])
		if err != nil || len(some) != span[1]-span[0] || len(some) > 0 && some[0].Index != span[0] {
			t.Errorf("shards %v: %v, %v", span, some, err)
		}
	}
	if _, err := artifact.DatasetShards(t.Context(), s.Store, key, 2, shards+1); err == nil {
		t.Error("shards behind the last are read")
	}
}

type historySize struct{ events, bytes int64 }

// historiesOf are the sizes of all executions, of which those of a few shards replay.
func historiesOf(t *testing.T, c client.Client) (sizes []historySize) {
	t.Helper()
	var page []byte
	for {
		list, err := c.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{NextPageToken: page})
		check(t, err)
		for _, e := range list.Executions {
			d, err := c.DescribeWorkflowExecution(t.Context(), e.Execution.WorkflowId, e.Execution.RunId)
			check(t, err)
			info := d.WorkflowExecutionInfo
			sizes = append(sizes, historySize{info.HistoryLength, info.HistorySizeBytes})
			if len(list.Executions) < 50 {
				replayer := worker.NewWorkflowReplayer()
				workflows.Register(replayer)
				events := &history.History{Events: eventsOf(t, c, e.Execution.WorkflowId, e.Execution.RunId)}
				err := replayer.ReplayWorkflowHistoryWithOptions(temporaltest.Quiet(), events, worker.ReplayWorkflowHistoryOptions{
					OriginalExecution: workflow.Execution{ID: e.Execution.WorkflowId, RunID: e.Execution.RunId},
				})
				if err != nil {
					t.Errorf("%s does not replay: %v", e.Execution.WorkflowId, err)
				}
			}
		}
		if page = list.NextPageToken; len(page) == 0 {
			return sizes
		}
	}
}

// watchMemory logs the worker's resident memory every half minute, and its peak.
func watchMemory(t *testing.T, s *simulation) (end func()) {
	var peak int
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for seconds := 0; ; seconds++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
			}
			now := residentMiB(t)
			if peak = max(peak, now); seconds%30 == 0 {
				t.Logf("%4d s: %d MiB, %d shards", seconds, now, s.prepared.Load())
			}
		}
	})
	return func() {
		close(stop)
		watching.Wait()
		t.Logf("peak of the worker's resident memory: %d MiB", peak)
	}
}

var residentLine = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

func residentMiB(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Error(err)
		return 0
	}
	kB, _ := strconv.Atoi(string(bytes.TrimSpace(residentLine.FindSubmatch(status)[1])))
	return kB >> 10
}
