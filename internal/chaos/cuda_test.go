package chaos

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/converter"

	"distilvit/internal/backend/backendtest"
	"distilvit/internal/testenv"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// cudaFault is one call of CUDA that fails in a trainer's life, and what has to come of it.
type cudaFault struct {
	spec string // as the plugin takes it: WHERE:N:NAME
	kind string // type of the error
	text string // of it, in part
}

// What a trainer of cudaSize calls: more than two checkpoints are stored before these.
const (
	manyExecutions = 40
	manyTransfers  = 160
	manyReads      = 110
)

func cudaSize(faults []cudaFault) size {
	epochs := 2
	if len(faults) > len(shortCUDA) {
		epochs = 8
	}
	return size{epochs: epochs, stepsPerEpoch: 60, cuda: true}
}

func at(where string, n int, name, kind, text string) cudaFault {
	return cudaFault{fmt.Sprintf("%s:%d:%s", where, n, name), kind, text}
}

// Every fault strikes in a process of its own, in this order. Between most of them the run stores checkpoints;
// those at the first call strike while the process that follows a failure begins. Memory runs out twice in one
// session only where the micro-batch is to be halved.
var (
	anyCUDA = []cudaFault{
		at("done", manyExecutions, "illegal-address", pipeline.DeviceLost, "CUDA_ERROR_ILLEGAL_ADDRESS"),
		at("client", 1, "no-device", pipeline.DeviceLost, "No visible GPU devices"),
		at("transfer", manyTransfers, "out-of-memory", pipeline.OutOfMemory, "trying to allocate 4.44GiB"),
		at("execute", manyExecutions, "launch-failed", pipeline.DeviceLost, "CUDA_ERROR_LAUNCH_FAILED"),
		at("compile", 1, "cudnn-internal", pipeline.DeviceLost, "DNN library initialization failed"),
		at("execute", manyExecutions, "driver-out-of-memory", pipeline.OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"),
		at("done", manyExecutions, "ecc", pipeline.DeviceLost, "CUDA_ERROR_ECC_UNCORRECTABLE"),
		at("client", 1, "driver-too-old", pipeline.DeviceLost, "CUDA driver version is insufficient"),
		at("execute", manyExecutions, "host-out-of-memory", pipeline.OutOfMemory, "Out of host memory"),
		at("read", manyReads, "off-the-bus", pipeline.DeviceLost, "CUDA_ERROR_UNKNOWN"),
		at("compile", 1, "check", pipeline.DeviceLost, "Check failed: status.ok()"),
		at("done", manyExecutions, "cublas-out-of-memory", pipeline.OutOfMemory, "the resource allocation failed"),
		at("execute", manyExecutions, "cublas-internal", pipeline.DeviceLost, "an internal operation failed"),
		at("done", manyExecutions, "cudnn-execution", pipeline.DeviceLost, "CUDNN_STATUS_EXECUTION_FAILED"),
		at("execute", manyExecutions, "nccl-out-of-memory", pipeline.OutOfMemory, "Cuda failure 2 'out of memory'"),
		at("execute", manyExecutions, "nccl-system", pipeline.DeviceLost, "unhandled system error"),
		at("execute", manyExecutions, "nccl-timeout", pipeline.Stalled, "Termination timeout for"),
		at("execute", manyExecutions, "nccl-shared-memory", pipeline.StorageFull, "/dev/shm/nccl-"),
		at("execute", manyExecutions, "nccl-timeout-exit", pipeline.Stalled, "exit status 42"),
		at("execute", manyExecutions, "hang", pipeline.Stalled, "no sign of life"),
		at("done", manyExecutions, "out-of-memory", pipeline.OutOfMemory, "trying to allocate 4.44GiB"),
		at("execute", manyExecutions, "crash-after-warning", pipeline.DeviceLost, "SIGSEGV"),
	}
	// three in a row on one device: it leaves service, and another machine goes on
	outCUDA = []cudaFault{
		at("execute", manyExecutions, "illegal-address", pipeline.DeviceLost, "CUDA_ERROR_ILLEGAL_ADDRESS"),
		at("client", 1, "driver-mismatch", pipeline.DeviceLost, "No visible GPU devices"),
		at("transfer", 1, "ecc", pipeline.OutOfService, "CUDA_ERROR_ECC_UNCORRECTABLE"),
	}
	againCUDA = []cudaFault{
		at("done", manyExecutions, "launch-failed", pipeline.DeviceLost, "CUDA_ERROR_LAUNCH_FAILED"),
		at("read", manyReads, "ecc", pipeline.DeviceLost, "CUDA_ERROR_ECC_UNCORRECTABLE"),
	}
	// memory twice in a row: half the micro-batch, in another branch
	memoryCUDA = []cudaFault{
		at("execute", manyExecutions, "driver-out-of-memory", pipeline.OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"),
		at("transfer", 1, "out-of-memory", pipeline.OutOfMemory, "trying to allocate 4.44GiB"),
	}
	shortCUDA = slices.Concat(anyCUDA[:2], outCUDA, memoryCUDA)
	longCUDA  = slices.Concat(anyCUDA, outCUDA, againCUDA, memoryCUDA)
)

// TestCUDAFaults trains on a device that fails as CUDA's do, again and again. Each error has its type, and what
// is done about it is what docs/architecture.md says. As long as the micro-batch is the same, so is every bit.
func TestCUDAFaults(t *testing.T) {
	t.Parallel()
	faults := shortCUDA
	if *faultCount > shortFaults {
		faults = longCUDA
	}
	choice, env := backendtest.FaultyCUDA(t)
	env = append(env, "DISTILVIT_PLUGIN="+choice.Plugin)
	s := cudaSize(faults)
	calm := newCUDACluster(t)
	calm.addMachine(env...)
	undisturbed := calm.startRun(s, 0)
	undisturbed.awaitEnd()
	calm.machines[0].Kill()

	var specs []string
	for _, f := range faults {
		specs = append(specs, f.spec)
	}
	struck := filepath.Join(t.TempDir(), "struck-")
	env = append(env, "CUDAFAULT="+strings.Join(specs, ","), "CUDAFAULT_ONCE="+struck)
	c := newCUDACluster(t)
	c.addMachine(env...)
	r := c.startRun(s, 0)
	r.mark()
	testenv.AwaitEvery(t, askPause, "a device out of service", func() bool {
		return r.inHistory(pipeline.OutOfService+": ") != "" || r.failed()
	})
	c.addMachine(env...)
	testenv.AwaitEvery(t, askPause, "the run's end", func() bool {
		return r.status() == enums.WORKFLOW_EXECUTION_STATUS_COMPLETED || r.failed()
	})

	attempts := r.deviceAttempts()
	table := r.cudaTable(faults, attempts, struck)
	halved := r.branchStart(2)
	same := 0
	for step := int64(checkpointSteps); step <= halved; step += checkpointSteps {
		want, got := undisturbed.checkpointFiles(1, step), r.checkpointFiles(1, step)
		if want == nil || got == nil { // a newer one was there before it was stored
			continue
		}
		if same++; len(want) != 4 || !maps.Equal(want, got) {
			t.Errorf("checkpoint of step %d has %v, undisturbed %v", step, got, want)
		}
	}
	if same == 0 {
		t.Error("no checkpoint was stored by both runs")
	}
	wantSteps, gotSteps := undisturbed.steps(1, s.steps()), r.steps(1, halved)
	for step := int64(1); step <= halved; step++ {
		if wantSteps[step] == "" || wantSteps[step] != gotSteps[step] {
			t.Errorf("step %d: %s, undisturbed %s", step, gotSteps[step], wantSteps[step])
		}
	}
	off := distance(t, undisturbed.weights(1), r.weights(2))
	if off == 0 || off > 1e-3 {
		t.Errorf("with half the micro-batch the weights differ by %g of their length", off)
	}
	t.Logf("%d faults in %d steps of %d pictures; loss and gradient norm of all %d steps before the micro-batch was "+
		"halved, and weights, moments, state and metrics of the %d checkpoints that both runs stored until then, are the "+
		"undisturbed run's, bit for bit; the last weights, with half the micro-batch, are %.1e of their length away\n\n%s",
		len(faults), s.steps(), batchSize, halved, same, off, table)
}

// newCUDACluster has no machine yet. Only a hang may take a trainer for one that hangs: XLA compiles a while on a
// busy machine, and three such deaths take a device out of service.
func newCUDACluster(t *testing.T) *cluster {
	c := newCluster(t, embeddedS3, 0)
	c.stepLimit, c.longLimit = 2*stepLimit, 10*time.Minute
	return c
}

// deviceAttempt is one try of an activity on a device, as the history tells it.
type deviceAttempt struct {
	name, queue, worker string
	branch, microBatch  int
	failure             string // empty: it succeeded, or was the run's end
	started             time.Time
	again               bool // Temporal tried the same activity once more
}

// deviceAttempts are those of epochs and evaluations, in their order.
func (r *run) deviceAttempts() []*deviceAttempt {
	t := r.t
	t.Helper()
	var all []*deviceAttempt
	scheduled := map[int64]*deviceAttempt{}
	events := r.client.GetWorkflowHistory(t.Context(), runID, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		check(t, err)
		switch event.GetEventType() {
		case enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			if a := newDeviceAttempt(t, event.GetActivityTaskScheduledEventAttributes()); a != nil {
				scheduled[event.GetEventId()] = a
				all = append(all, a)
			}
		case enums.EVENT_TYPE_ACTIVITY_TASK_STARTED:
			started := event.GetActivityTaskStartedEventAttributes()
			a := scheduled[started.GetScheduledEventId()]
			if a == nil {
				continue
			}
			if f := started.GetLastFailure(); f != nil {
				before := *a
				before.failure, before.again = failureText(f), true
				all = slices.Insert(all, slices.Index(all, a), &before)
			}
			a.worker, a.started = started.GetIdentity(), event.GetEventTime().AsTime()
		case enums.EVENT_TYPE_ACTIVITY_TASK_FAILED:
			failed := event.GetActivityTaskFailedEventAttributes()
			if a := scheduled[failed.GetScheduledEventId()]; a != nil {
				a.failure = failureText(failed.GetFailure())
			}
		}
	}
	return all
}

// newDeviceAttempt is nil for an activity that needs no device.
func newDeviceAttempt(t *testing.T, a *history.ActivityTaskScheduledEventAttributes) *deviceAttempt {
	t.Helper()
	name := a.GetActivityType().GetName()
	if name != "TrainEpoch" && name != "Evaluate" {
		return nil
	}
	var input struct{ Work pipeline.Work }
	check(t, converter.GetDefaultDataConverter().FromPayload(a.GetInput().GetPayloads()[0], &input))
	return &deviceAttempt{
		name: name, queue: a.GetTaskQueue().GetName(), branch: input.Work.Branch,
		microBatch: input.Work.Train.MicroBatchSize,
	}
}

// cudaTable checks that every fault struck, in its order, with its type and text and what follows from it, and
// tells it in a table.
func (r *run) cudaTable(faults []cudaFault, attempts []*deviceAttempt, struck string) string {
	t := r.t
	t.Helper()
	var failed []int
	for i, a := range attempts {
		if a.failure != "" {
			failed = append(failed, i)
		}
	}
	if len(failed) != len(faults) {
		for _, i := range failed {
			t.Log(clip(attempts[i].failure, 200))
		}
		t.Fatalf("%d failures of %d faults", len(failed), len(faults))
	}
	var table strings.Builder
	fmt.Fprintln(&table, "| # | fault | CUDA says | type | what was done | lost |\n|--:|---|---|---|---|--:|")
	for i, f := range faults {
		a, next := attempts[failed[i]], attempts[failed[i]+1]
		if !strings.HasPrefix(a.failure, f.kind+": ") || !strings.Contains(a.failure, f.text) {
			t.Errorf("%s: %s; want %s: %s", f.spec, clip(a.failure, 300), f.kind, f.text)
		}
		done, want := policy(a, next), "fresh process"
		switch {
		case a.again:
			want = "fresh process, by Temporal"
		case f.kind == pipeline.OutOfService:
			want = "device out of service, other machine"
		case i == len(faults)-1: // memory, twice in a row
			want = "fresh process, half the micro-batch"
		case f.kind != pipeline.OutOfMemory && a.queue != next.queue:
			want = "fresh process, other machine"
		}
		if done != want {
			t.Errorf("%s: %s; want %s", f.spec, done, want)
		}
		info, err := os.Stat(fmt.Sprintf("%s%d", struck, i))
		check(t, err)
		fmt.Fprintf(&table, "| %d | %s | `%s` | `%s` | %s | %.1f s |\n", i+1, strings.ReplaceAll(f.spec, ":", " "),
			f.text, f.kind, done, r.nextPoint(next.started).Sub(info.ModTime()).Seconds())
	}
	return table.String()
}

// policy says what became of a failed attempt, from the one that followed it.
func policy(a, next *deviceAttempt) string {
	switch {
	case a.again:
		return "fresh process, by Temporal"
	case a.worker != next.worker && strings.HasPrefix(a.failure, pipeline.OutOfService):
		return "device out of service, other machine"
	case next.microBatch == a.microBatch/2 && next.branch == a.branch+1:
		return "fresh process, half the micro-batch"
	case next.microBatch != a.microBatch || next.branch != a.branch:
		return fmt.Sprintf("micro-batch %d in branch %d", next.microBatch, next.branch)
	case a.queue != next.queue:
		return "fresh process, other machine"
	}
	return "fresh process"
}

// nextPoint is when the first checkpoint after a moment was stored.
func (r *run) nextPoint(after time.Time) time.Time {
	steps, at := r.points.all()
	for _, step := range steps {
		if at[step].After(after) {
			return at[step]
		}
	}
	r.t.Fatalf("no checkpoint was stored after %v", after)
	return time.Time{}
}

// steps are the lines of metrics of a branch's steps, up to the checkpoint of one.
func (r *run) steps(branch int, last int64) map[int64]string {
	t := r.t
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.s3.files, layout.Run(runID).Folder(layout.Metrics),
		fmt.Sprintf("%04d-*.jsonl", branch)))
	check(t, err)
	if sum := r.checkpointFiles(branch, last)["metrics.jsonl"]; sum != "" {
		files = append(files, filepath.Join(r.s3.files, layout.Blob(layout.Run(runID).Blobs(), sum, "")))
	}
	lines := map[int64]string{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		check(t, err)
		for line := range strings.Lines(string(raw)) {
			var of struct {
				Step int64 `json:"step"`
			}
			check(t, json.Unmarshal([]byte(line), &of))
			lines[of.Step] = line
		}
	}
	return lines
}

// checkpointFiles are the digests of a checkpoint's files; nil where it was not stored.
func (r *run) checkpointFiles(branch int, step int64) map[string]string {
	t := r.t
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(r.s3.files, layout.Run(runID).Checkpoint(branch, step)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	check(t, err)
	var manifest struct {
		Files map[string]layout.Object `json:"files"`
	}
	check(t, json.Unmarshal(raw, &manifest))
	digests := map[string]string{}
	for name, o := range manifest.Files {
		digests[name] = o.SHA256
	}
	return digests
}

// branchStart is the step of the checkpoint that a branch began at.
func (r *run) branchStart(branch int) int64 {
	t := r.t
	t.Helper()
	records, err := filepath.Glob(filepath.Join(r.s3.files, layout.Run(runID).Folder(layout.Progress),
		fmt.Sprintf("%04d-*.json", branch)))
	check(t, err)
	if len(records) == 0 {
		t.Fatalf("there is no branch %d", branch)
	}
	raw, err := os.ReadFile(records[0])
	check(t, err)
	var progress struct {
		From struct{ Branch, Step int64 }
	}
	check(t, json.Unmarshal(raw, &progress))
	return progress.From.Step
}

// weights after the last step, as they lie in the file.
func (r *run) weights(branch int) []float32 {
	t := r.t
	t.Helper()
	sum := r.checkpointFiles(branch, r.size.steps())["model.safetensors"]
	raw, err := os.ReadFile(filepath.Join(r.s3.files, layout.Blob(layout.Run(runID).Blobs(), sum, "")))
	check(t, err)
	header := binary.LittleEndian.Uint64(raw)
	values := make([]float32, (len(raw)-8-int(header))/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[8+int(header)+4*i:]))
	}
	return values
}

// distance is the length of the difference, relative to that of want.
func distance(t *testing.T, want, got []float32) float64 {
	t.Helper()
	if len(want) == 0 || len(want) != len(got) {
		t.Fatalf("%d weights, %d", len(want), len(got))
	}
	var difference, length float64
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		difference += d * d
		length += float64(w) * float64(w)
	}
	return math.Sqrt(difference / length)
}
