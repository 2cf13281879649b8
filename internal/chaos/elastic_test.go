package chaos

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflow/v1"

	"distilvit/internal/testenv"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// Of a dataset that ten workers prepare.
const (
	elasticWorkers = 10
	elasticShards  = 48
	elasticRows    = 16 // of a shard
	elasticChanges = 16 // times that a worker comes or goes while shards are made
	elasticKills   = 3  // of these by SIGKILL; what it had in hand waits 30 s for its heartbeat's end
)

// Ten workers make shards of pictures and of token ids, and come and go at random: killed, asked to stop, started
// again. What is stored is what one worker makes alone: the same keys, manifests and all other bytes.
func TestWorkersThatComeAndGoPrepareWhatOneDoes(t *testing.T) {
	t.Parallel() // with the others, which wait more than they work
	alone := startElastic(t, 1)
	alone.machines[1].start()
	alone.awaitPrepared()
	want := alone.prepared()
	if failures := alone.failures(); len(failures) > 0 {
		t.Fatalf("one worker alone was disturbed: %v", failures)
	}

	r := startElastic(t, elasticWorkers)
	r.rng = rand.New(rand.NewPCG(*seed, 0))
	r.comeAndGo()
	r.awaitPrepared()
	same(t, want, r.prepared())
	if r.inHistory("Heartbeat timeout") == "" {
		t.Error("no activity was missed: nothing was disturbed")
	}
	if workers := r.workersOf("PrepareShard"); len(workers) < 3 {
		t.Errorf("only %v have prepared shards", workers)
	}
}

// startElastic starts a run on a cluster whose first machine serves devices alone; the others, which prepare, are
// not up yet.
func startElastic(t *testing.T, workers int) *run {
	t.Helper()
	c := newCluster(t, embeddedS3, 0)
	c.machineOf([]string{pipeline.DeviceQueue}).start()
	for range workers {
		c.machineOf([]string{pipeline.TaskQueue})
	}
	config := sizeFor(shortFaults).config()
	config["dataset"] = []any{map[string]any{"kind": "shapes", "shapes": map[string]any{
		"train": (elasticShards - 2) * elasticRows, "validation": elasticRows, "test": elasticRows, "max_objects": 3,
		"image_size": 96,
	}}}
	config["prepare"] = map[string]any{"shard_rows": elasticRows}
	raw, err := json.Marshal(config)
	check(t, err)
	r := &run{cluster: c, file: filepath.Join(t.TempDir(), "config.json")}
	check(t, os.WriteFile(r.file, raw, 0o644))
	c.distilvit("run", "-f", r.file, "--id", runID, "--detach")
	return r
}

// comeAndGo lets workers come and go while shards are made, one after each new shard, and in the end all are up. While
// captions are tokenized they go in good order alone: a second half minute for heartbeats would show nothing new.
func (r *run) comeAndGo() {
	r.t.Helper()
	f := &fleet{r: r, workers: r.machines[1:], up: map[*machine]bool{}, kills: elasticKills, count: map[string]int{}}
	for _, m := range f.workers[:elasticWorkers/2] {
		f.comes(m)
	}
	for i := range elasticChanges {
		r.awaitShards(layout.Datasets, i+1)
		f.change()
	}
	for f.kills > 0 {
		f.loses()
	}
	f.all()
	for i := range 3 {
		r.awaitShards(layout.Tokens, i+1)
		f.change()
	}
	f.all()
	r.t.Logf("workers: %v", f.count)
}

// fleet is the workers that come and go.
type fleet struct {
	r       *run
	workers []*machine
	up      map[*machine]bool // started, and neither killed nor asked to stop
	kills   int               // that are to come
	count   map[string]int    // of what happened
}

// change lets one worker, drawn at random, come or go; one is always up.
func (f *fleet) change() {
	ready := slices.DeleteFunc(slices.Clone(f.workers), f.stopping)
	m := ready[f.r.rng.IntN(len(ready))]
	switch {
	case !f.up[m]:
		f.comes(m)
	case f.kills > 0 && f.r.rng.IntN(2) == 0:
		f.loses()
	default:
		m.Signal(syscall.SIGTERM)
		f.up[m] = false
		f.count["asked to stop"]++
	}
	if !slices.ContainsFunc(f.workers, func(m *machine) bool { return f.up[m] }) {
		f.comes(m)
	}
}

// stopping says whether a worker was asked to stop and has not ended.
func (f *fleet) stopping(m *machine) bool { return !f.up[m] && m.Process != nil && m.Alive() }

// comes starts a worker, once its last life is over.
func (f *fleet) comes(m *machine) {
	f.r.t.Helper()
	if m.Process != nil {
		m.Wait()
	}
	m.launch()
	f.up[m] = true
	f.count["came"]++
}

// all starts every worker that is not up.
func (f *fleet) all() {
	f.r.t.Helper()
	for _, m := range f.workers {
		if !f.up[m] {
			f.comes(m)
		}
	}
}

// loses kills a worker that has an activity in hand: frozen first, it cannot end it meanwhile.
func (f *fleet) loses() {
	r := f.r
	r.t.Helper()
	testenv.Await(r.t, "a worker with an activity in hand", func() bool {
		up := slices.DeleteFunc(slices.Clone(f.workers), func(m *machine) bool { return !f.up[m] })
		m := up[r.rng.IntN(len(up))]
		m.Signal(syscall.SIGSTOP)
		defer m.Signal(syscall.SIGCONT)
		if !r.holds(m) {
			return false
		}
		m.Kill()
		f.up[m] = false
		return true
	})
	f.kills--
	f.count["killed"]++
	if !slices.ContainsFunc(f.workers, func(m *machine) bool { return f.up[m] }) {
		f.all()
	}
}

// holds says whether a worker has an activity of the run in hand, as Temporal knows it.
func (r *run) holds(m *machine) bool {
	described, err := r.client.DescribeWorkflowExecution(r.t.Context(), runID, "")
	check(r.t, err)
	return slices.ContainsFunc(described.GetPendingActivities(), func(a *workflow.PendingActivityInfo) bool {
		return a.GetState() == enums.PENDING_ACTIVITY_STATE_STARTED &&
			strings.HasPrefix(a.GetLastWorkerIdentity(), fmt.Sprintf("%d@", m.PID()))
	})
}

// awaitShards waits until so many shards of an area are stored.
func (r *run) awaitShards(area string, n int) {
	r.t.Helper()
	testenv.Await(r.t, "shards of "+area, func() bool {
		shards, _ := filepath.Glob(filepath.Join(r.s3.files, area, "*", "*.parquet"))
		return len(shards) >= n
	})
}

// awaitPrepared waits until training begins.
func (r *run) awaitPrepared() {
	r.t.Helper()
	testenv.AwaitEvery(r.t, askPause, "the end of preparation", func() bool {
		manifests, _ := filepath.Glob(filepath.Join(r.s3.files, layout.Tokens, "*", layout.ManifestFile))
		return len(manifests) > 0 || r.failed()
	})
}

// prepared is the SHA-256 of every object of the prepared dataset and of its token ids, by key.
func (r *run) prepared() map[string]string {
	r.t.Helper()
	out := map[string]string{}
	for _, area := range []string{layout.Datasets, layout.Tokens} {
		root := filepath.Join(r.s3.files, area)
		check(r.t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			out[strings.TrimPrefix(path, r.s3.files+"/")] = digest(raw)
			return err
		}))
	}
	return out
}

// workersOf are the processes that have ended activities of a type well.
func (r *run) workersOf(activity string) []string {
	r.t.Helper()
	kinds, workers := map[int64]string{}, map[string]bool{}
	events := r.client.GetWorkflowHistory(r.t.Context(), runID, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		check(r.t, err)
		if a := event.GetActivityTaskScheduledEventAttributes(); a != nil {
			kinds[event.GetEventId()] = a.GetActivityType().GetName()
		}
		if a := event.GetActivityTaskCompletedEventAttributes(); a != nil && kinds[a.GetScheduledEventId()] == activity {
			workers[a.GetIdentity()] = true
		}
	}
	return slices.Sorted(maps.Keys(workers))
}
