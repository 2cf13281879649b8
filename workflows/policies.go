package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/pipeline"
)

// task is an activity with how it is scheduled, timed and retried. Every
// activity of a run stands in the table below and nowhere else.
type task struct {
	name    string
	queue   string
	timeout time.Duration // of one attempt
	beat    time.Duration // heartbeat timeout; activities heartbeat by a timer
	retry   *temporal.RetryPolicy
}

var (
	preflight      = task{"Preflight", pipeline.TaskQueue, 30 * time.Minute, hostBeat, hostRetry}
	preflightGPU   = task{"Preflight", pipeline.DeviceQueue, 30 * time.Minute, hostBeat, hostRetry}
	download       = task{"Download", pipeline.TaskQueue, 7 * day, hostBeat, hostRetry}
	storeModel     = task{"StorePretrained", pipeline.TaskQueue, 6 * time.Hour, hostBeat, hostRetry}
	planPrepare    = task{"PlanPrepare", pipeline.TaskQueue, 6 * time.Hour, hostBeat, hostRetry}
	prepareShard   = task{"PrepareShard", pipeline.TaskQueue, 6 * time.Hour, hostBeat, hostRetry}
	readTasks      = task{"ReadTasks", pipeline.TaskQueue, 1 * time.Hour, hostBeat, hostRetry}
	storePage      = task{"StorePage", pipeline.TaskQueue, 1 * time.Hour, hostBeat, hostRetry}
	finishPrepare  = task{"FinishPrepare", pipeline.TaskQueue, 1 * time.Hour, hostBeat, hostRetry}
	buildModel     = task{"BuildModel", pipeline.TaskQueue, 6 * time.Hour, hostBeat, hostRetry}
	planTokenize   = task{"PlanTokenize", pipeline.TaskQueue, 1 * time.Hour, hostBeat, hostRetry}
	tokenizeShards = task{"TokenizeShards", pipeline.TaskQueue, 6 * time.Hour, hostBeat, hostRetry}
	finishTokens   = task{"FinishTokens", pipeline.TaskQueue, 1 * time.Hour, hostBeat, hostRetry}
	planFeatures   = task{"PlanFeatures", pipeline.DeviceQueue, 6 * time.Hour, deviceBeat, deviceRetry}
	encodeShard    = task{"EncodeShard", pipeline.DeviceQueue, 2 * day, deviceBeat, deviceRetry}
	finishFeatures = task{"FinishFeatures", pipeline.TaskQueue, 1 * time.Hour, hostBeat, hostRetry}
	planTeacher    = task{"PlanTeacher", pipeline.DeviceQueue, 6 * time.Hour, deviceBeat, deviceRetry}
	teachShard     = task{"TeachShard", pipeline.DeviceQueue, 2 * day, deviceBeat, deviceRetry}
	finishTeacher  = task{"FinishTeacher", pipeline.TaskQueue, 1 * time.Hour, hostBeat, hostRetry}
	findProgress   = task{"FindProgress", pipeline.TaskQueue, 1 * time.Hour, hostBeat, hostRetry}
	recordProgress = task{"RecordProgress", pipeline.TaskQueue, 1 * time.Hour, hostBeat, hostRetry}
	trainEpoch     = task{"TrainEpoch", pipeline.DeviceQueue, 30 * day, deviceBeat, deviceRetry}
	evaluate       = task{"Evaluate", pipeline.DeviceQueue, 7 * day, deviceBeat, deviceRetry}
	closeTrainer   = task{"CloseTrainer", pipeline.DeviceQueue, 30 * time.Second, 0, once}
	export         = task{"Export", pipeline.TaskQueue, 2 * day, hostBeat, hostRetry}
	publish        = task{"Publish", pipeline.TaskQueue, 6 * time.Hour, hostBeat, hostRetry}
	push           = task{"Push", pipeline.TaskQueue, 1 * day, hostBeat, hostRetry}
	track          = task{"Track", pipeline.TaskQueue, 30 * time.Minute, hostBeat, besideRetry}
	notify         = task{"Notify", pipeline.TaskQueue, 5 * time.Minute, hostBeat, besideRetry}
	dropBroken     = task{"DropBroken", pipeline.TaskQueue, 6 * time.Hour, hostBeat, hostRetry}
	reportSweep    = task{"ReportSweep", pipeline.TaskQueue, 1 * time.Hour, hostBeat, hostRetry}
	planTurn       = task{"PlanTurn", pipeline.TaskQueue, 1 * day, hostBeat, hostRetry}
	sweepPage      = task{"Sweep", pipeline.TaskQueue, 6 * time.Hour, hostBeat, hostRetry}
)

const (
	day = 24 * time.Hour

	hostBeat   = 30 * time.Second
	deviceBeat = 10 * time.Second

	maxOpenActivities = 64
	shardsPerTokenize = 16

	// Of a long list of shards, the children that work on it at once, and how often they tell the run at most.
	maxShardChildren = 4
	maxTellsOfShards = 100
)

// fatal errors come out the same however often an activity runs.
var fatal = []string{pipeline.InvalidInput, pipeline.Nondeterministic, pipeline.Corrupt, pipeline.Diverged}

var (
	// hostRetry bears with a passing fault for half a minute. With StorageUnavailable
	// call has more patience.
	hostRetry = &temporal.RetryPolicy{
		InitialInterval:        time.Second,
		BackoffCoefficient:     2,
		MaximumInterval:        time.Minute,
		MaximumAttempts:        6,
		NonRetryableErrorTypes: fatal,
	}
	// deviceRetry lets Temporal try again only what is nobody's failure, such as an
	// activity paused by hand. What happens to a device comes to the workflow, which
	// counts it, keeps its reason and chooses where to go on.
	deviceRetry = &temporal.RetryPolicy{
		InitialInterval:    time.Second,
		BackoffCoefficient: 2,
		MaximumInterval:    time.Minute,
		MaximumAttempts:    6,
		NonRetryableErrorTypes: append([]string{
			pipeline.DeviceLost, pipeline.OutOfService, pipeline.Stalled, pipeline.OutOfMemory,
			pipeline.NumericsChanged, pipeline.Interrupted, pipeline.WrongWorker,
		}, fatal...),
	}
	once = &temporal.RetryPolicy{MaximumAttempts: 1}
	// besideRetry tries for as long as the call's own patience lasts.
	besideRetry = &temporal.RetryPolicy{
		InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute, NonRetryableErrorTypes: fatal,
	}
)

// What is told to others beside the run is tried for so long: while it goes on, and while it waits to end.
const (
	besidePatience = day
	endPatience    = 2 * time.Minute
)

const (
	// storagePatience is how long an unreachable object store holds up a stage.
	storagePatience = 30 * time.Minute
	storagePause    = 30 * time.Second
)

const (
	maxFailures         = 5 // without a new checkpoint between them
	failuresPerSession  = 2 // then a new session, on another worker if there is one
	firstPauseOnFailure = 2 * time.Second
	longestWait         = 5 * time.Minute // before a run asks again for a worker that has what it needs
)

// pauseAfter grows with the failures in a row.
func pauseAfter(failures int) time.Duration {
	return firstPauseOnFailure << (failures - 1)
}

// sessionOptions let a run wait for a device and keep it as long as it takes. A worker
// that gives no sign of life for sessionBeat loses the session.
var sessionOptions = &workflow.SessionOptions{
	CreationTimeout:  365 * day,
	ExecutionTimeout: 365 * day,
	HeartbeatTimeout: sessionBeat,
}

const sessionBeat = 20 * time.Second

// sessionStart is how long an activity of a session may wait to be taken by the session's worker, which has
// nothing else to do. The worker may have stopped just when it told of the session: then another has taken the
// session over, of which Temporal's SDK tells nothing, and nobody asks for this one's activities any more.
const sessionStart = 2 * time.Minute

// options of one call. Cancelled work is waited for: a trainer leaves a
// checkpoint, an upload ends or is taken back.
func (t task) options(id, summary string) workflow.ActivityOptions {
	o := workflow.ActivityOptions{
		ActivityID:          id,
		Summary:             summary,
		TaskQueue:           t.queue,
		StartToCloseTimeout: t.timeout,
		HeartbeatTimeout:    t.beat,
		RetryPolicy:         t.retry,
		WaitForCancellation: true,
	}
	if t.retry == deviceRetry {
		o.ScheduleToStartTimeout = sessionStart
	}
	return o
}
