package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	enums "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"

	"distilvit/internal/testenv"
)

// runID is the same in every cluster: it is part of what is stored.
const runID = "chaos"

// size of a training, in its own units, and what computes.
type size struct {
	epochs, stepsPerEpoch int
	cuda                  bool // the plugin that fails as CUDA does; pure Go otherwise
}

const (
	batchSize       = 16 // pictures a step
	checkpointSteps = 5
)

func (s size) steps() int64 { return int64(s.epochs * s.stepsPerEpoch) }

// config trains a captioner of some ten thousand weights, dropout on.
func (s size) config() map[string]any {
	backend, width, layers, kept := "go", 48, 2, 10
	if s.cuda { // each new trainer compiles it again; every checkpoint is kept, to be compared
		backend, width, layers, kept = "cuda", 32, 1, s.epochs*s.stepsPerEpoch
	}
	return map[string]any{
		"backend": backend,
		"dataset": []any{map[string]any{"kind": "shapes", "shapes": map[string]any{
			"train": s.stepsPerEpoch * batchSize, "validation": 16, "test": 16, "test_unseen": 8,
			"max_objects": 2, "image_size": 32,
		}}},
		"model": map[string]any{
			"image_size": 32, "patch_size": 8, "hidden_size": width, "encoder_layer": layers, "decoder_layer": layers,
			"heads": 2, "vocab_size": 512, "positions": 24,
		},
		"train": map[string]any{
			"epochs": s.epochs, "batch_size": batchSize, "micro_batch_size": batchSize / 2, "max_length": 16,
			"dropout": 0.1, "patience": 0,
			"checkpoint_steps": checkpointSteps, "checkpoint_seconds": 0, "keep_checkpoints": kept,
			"augment": map[string]any{"shift": 0.1, "color": 0.1},
		},
		"evaluate": map[string]any{"batch_size": 8, "samples": 4},
		"export":   map[string]any{"pictures": 16, "max_rouge_l_drop": 100},
	}
}

// run is a training on a cluster, watched from outside.
type run struct {
	*cluster
	size   size
	file   string // its config
	points *points
	rng    *rand.Rand

	begun time.Time         // of the present fault
	known map[string]string // failures before it
	marks []int             // where the workers' logs stood then
}

// startRun starts a training on an empty cluster.
func (c *cluster) startRun(s size, seed uint64) *run {
	t := c.t
	t.Helper()
	raw, err := json.Marshal(s.config())
	check(t, err)
	r := &run{
		cluster: c, size: s, file: filepath.Join(t.TempDir(), "config.json"),
		rng: rand.New(rand.NewPCG(seed, 0)),
	}
	check(t, os.WriteFile(r.file, raw, 0o644))
	r.points = watchPoints(t, filepath.Join(c.s3.files, "runs", runID, "checkpoints"))
	c.distilvit("run", "-f", r.file, "--id", runID, "--detach")
	return r
}

// points notes when each checkpoint appeared in the object store.
type points struct {
	mu   sync.Mutex
	seen map[int64]time.Time
}

func watchPoints(t *testing.T, dir string) *points {
	p := &points{seen: map[int64]time.Time{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for t.Context().Err() == nil {
			p.look(dir)
			select {
			case <-tick.C:
			case <-t.Context().Done():
			}
		}
	}()
	t.Cleanup(func() { <-ended })
	return p
}

func (p *points) look(dir string) {
	manifests, _ := filepath.Glob(filepath.Join(dir, "*", "*", "manifest.json"))
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, manifest := range manifests {
		step, err := strconv.ParseInt(filepath.Base(filepath.Dir(manifest)), 10, 64)
		if _, known := p.seen[step]; err == nil && !known {
			p.seen[step] = time.Now()
		}
	}
}

// newest is the highest step with a checkpoint so far.
func (p *points) newest() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var newest int64
	for step := range p.seen {
		newest = max(newest, step)
	}
	return newest
}

// all is a copy of what was seen, in the order of steps.
func (p *points) all() (steps []int64, at map[int64]time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.seen)), maps.Clone(p.seen)
}

// askPause is between two questions to Temporal.
const askPause = 200 * time.Millisecond

// awaitStep waits until a checkpoint of this step or a later one is stored.
func (r *run) awaitStep(step int64) {
	r.t.Helper()
	if step > r.size.steps() {
		r.t.Fatalf("all %d steps are done before all faults: the training is too short", r.size.steps())
	}
	testenv.AwaitEvery(r.t, askPause, fmt.Sprintf("a checkpoint of step %d", step), func() bool {
		return r.points.newest() >= step || r.failed()
	})
}

// awaitMidEpoch waits for a moment that is well within an epoch, past the given
// step: what happens between epochs may leave nothing to recover from.
func (r *run) awaitMidEpoch(step int64) {
	r.t.Helper()
	epoch := int64(r.size.stepsPerEpoch)
	testenv.AwaitEvery(r.t, askPause, fmt.Sprintf("the middle of an epoch after step %d", step), func() bool {
		newest := r.points.newest()
		if newest >= r.size.steps() {
			r.t.Fatalf("all %d steps are done before all faults: the training is too short", newest)
		}
		in := newest % epoch
		return newest >= step && in > 0 && in+3*checkpointSteps < epoch || r.failed()
	})
}

// failed ends the test when the run has failed; it has to survive everything.
func (r *run) failed() bool {
	r.t.Helper()
	if r.status() == enums.WORKFLOW_EXECUTION_STATUS_FAILED {
		r.t.Fatalf(
			"the run failed: %v", r.client.GetWorkflow(r.t.Context(), runID, "").Get(r.t.Context(), nil),
		)
	}
	return false
}

// training is the machine that trains the run just now, as Temporal knows it,
// and its trainer's process; nil where there is none.
func (r *run) training() (*machine, int) {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
	defer cancel()
	described, err := r.client.DescribeWorkflowExecution(ctx, runID, "")
	if err != nil {
		return nil, 0
	}
	for _, a := range described.GetPendingActivities() {
		if a.GetActivityType().GetName() != "TrainEpoch" ||
			a.GetState() != enums.PENDING_ACTIVITY_STATE_STARTED {
			continue
		}
		for _, m := range r.machines {
			worker := fmt.Sprintf("%d@", m.PID()) // how Temporal's SDK names it
			if pids := m.Trainers(); len(pids) > 0 && strings.HasPrefix(a.GetLastWorkerIdentity(), worker) {
				return m, pids[0]
			}
		}
	}
	return nil, 0
}

// awaitTrainer is training once there is one.
func (r *run) awaitTrainer() (m *machine, pid int) {
	r.t.Helper()
	testenv.Await(r.t, "a trainer", func() bool {
		m, pid = r.training()
		return m != nil
	})
	return m, pid
}

// status of the run's workflow; unspecified while Temporal is away.
func (r *run) status() enums.WorkflowExecutionStatus {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
	defer cancel()
	described, err := r.client.DescribeWorkflowExecution(ctx, runID, "")
	if err != nil {
		return enums.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED
	}
	return described.GetWorkflowExecutionInfo().GetStatus()
}

// awaitEnd waits as long as there are new checkpoints, and then for the result.
func (r *run) awaitEnd() {
	r.t.Helper()
	for newest := r.points.newest(); newest < r.size.steps(); newest = r.points.newest() {
		r.awaitStep(newest + 1)
	}
	testenv.AwaitEvery(r.t, askPause, "the run's end", func() bool {
		return r.status() == enums.WORKFLOW_EXECUTION_STATUS_COMPLETED || r.failed()
	})
}

// mark sets the moment from which evidence counts.
func (r *run) mark() {
	r.begun, r.known = time.Now(), r.failures()
	r.marks = nil
	for _, m := range r.machines {
		r.marks = append(r.marks, m.log.Len())
	}
}

// logged is the first line with one of the texts that a worker printed since
// the mark; empty where there is none.
func (r *run) logged(texts ...string) string {
	for i, m := range r.machines {
		for line := range strings.Lines(m.log.Since(r.marks[i])) {
			for _, text := range texts {
				if strings.Contains(line, text) {
					return strings.TrimSpace(line)
				}
			}
		}
	}
	return ""
}

// inHistory is the first failure with one of the texts that the run's history
// or an open activity tells since the mark; empty where there is none.
func (r *run) inHistory(texts ...string) string {
	failures := r.failures()
	for _, key := range slices.Sorted(maps.Keys(failures)) {
		if _, known := r.known[key]; known {
			continue
		}
		for _, text := range texts {
			if strings.Contains(failures[key], text) {
				return failures[key]
			}
		}
	}
	return ""
}

// failures are what went wrong with the run's activities so far, by event, or
// by activity and attempt; none while Temporal is away.
func (r *run) failures() map[string]string {
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Second)
	defer cancel()
	found := map[string]string{}
	events := r.client.GetWorkflowHistory(ctx, runID, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return found
		}
		for _, f := range []*failurepb.Failure{
			event.GetActivityTaskFailedEventAttributes().GetFailure(),
			event.GetActivityTaskTimedOutEventAttributes().GetFailure(),
			event.GetActivityTaskStartedEventAttributes().GetLastFailure(),
		} {
			if f != nil {
				found[fmt.Sprintf("event %06d", event.GetEventId())] = failureText(f)
			}
		}
	}
	described, err := r.client.DescribeWorkflowExecution(ctx, runID, "")
	if err != nil {
		return found
	}
	for _, a := range described.GetPendingActivities() {
		if f := a.GetLastFailure(); f != nil {
			found[fmt.Sprintf("open %s %s attempt %d", a.GetActivityType().GetName(),
				a.GetLastStartedTime().AsTime(), a.GetAttempt())] = failureText(f)
		}
	}
	return found
}

// failureText is a failure and its causes in a line.
func failureText(f *failurepb.Failure) string {
	var parts []string
	for ; f != nil; f = f.GetCause() {
		text := f.GetMessage()
		if kind := f.GetApplicationFailureInfo().GetType(); kind != "" {
			text = kind + ": " + text
		}
		if timeout := f.GetTimeoutFailureInfo(); timeout != nil {
			text = timeout.GetTimeoutType().String() + " timeout"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
