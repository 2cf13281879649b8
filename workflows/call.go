package workflows

import (
	"errors"
	"fmt"
	"slices"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/pipeline"
)

// call runs an activity and waits for its result. It does more than the activity's own
// retry policy: it waits for an object store that cannot be reached, and it starts an
// activity that needs no device again when its worker stops or dies, and on another worker
// where this one lacks what it takes. While the run is paused, no such activity begins.
func call[T any](ctx workflow.Context, r *run, t task, id, summary string, input any) (T, error) {
	var result T
	started, interruptions, wrong := workflow.Now(ctx), 0, 0
	for {
		if t.queue == pipeline.TaskQueue {
			if err := r.waitWhilePaused(ctx); err != nil {
				return result, err
			}
		}
		activity := workflow.WithActivityOptions(ctx, t.options(r.spent.free(r.sinceMend(id)), summary))
		err := workflow.ExecuteActivity(activity, t.name, input).Get(ctx, &result)
		if ctx.Err() != nil && !temporal.IsCanceledError(err) {
			r.spent[r.sinceMend(id)]++
		}
		switch {
		case errorType(err) == pipeline.StorageUnavailable &&
			workflow.Now(ctx).Sub(started) < storagePatience:
			if err := workflow.Sleep(ctx, storagePause); err != nil {
				return result, err
			}
		case t.queue == pipeline.TaskQueue && wasInterrupted(err) && interruptions < maxFailures:
			interruptions++
		case t.retry == hostRetry && errorType(err) == pipeline.WrongWorker:
			wrong++
			if err := r.awaitAnotherWorker(ctx, summary, err, wrong); err != nil {
				return result, err
			}
		default:
			return result, err
		}
	}
}

// spentIDs keeps activity ids apart that Temporal's SDK would take for one. Of an
// activity that is asked to cancel and ends in another way (it fails, or its frozen
// worker never answers), the SDK holds on to the id: a second activity with that id
// would never be scheduled. The map counts, by id, how often this has happened.
type spentIDs map[string]int

// free is an id that can be scheduled: the id itself, or one with a number behind it.
func (s spentIDs) free(id string) string {
	if n := s[id]; n > 0 {
		return fmt.Sprintf("%s-again%d", id, n)
	}
	return id
}

// wasInterrupted says that the activity's worker stopped in good order or went silent.
func wasInterrupted(err error) bool {
	var timeout *temporal.TimeoutError
	return errorType(err) == pipeline.Interrupted ||
		errors.As(err, &timeout) && timeout.TimeoutType() == enums.TIMEOUT_TYPE_HEARTBEAT
}

// fanOut runs do for 0 to n-1, at most maxOpenActivities at once, and gives
// their results in order. The first error cancels the rest.
func fanOut[T any](
	ctx workflow.Context, n int, do func(ctx workflow.Context, i int) (T, error),
) ([]T, error) {
	return fanOutUntil(ctx, n, maxOpenActivities, func() bool { return false }, do)
}

// fanOutUntil is fanOut with another limit, and without those that have not begun when enough says so: the results
// are those of 0 to the last that has.
func fanOutUntil[T any](
	ctx workflow.Context, n, limit int, enough func() bool, do func(ctx workflow.Context, i int) (T, error),
) ([]T, error) {
	ctx, cancel := workflow.WithCancel(ctx)
	defer cancel()
	results := make([]T, n)
	var failed error
	free, open := workflow.NewSemaphore(ctx, int64(limit)), workflow.NewWaitGroup(ctx)
	for i := range n {
		if err := free.Acquire(ctx, 1); err != nil {
			if failed == nil {
				failed = err
			}
			break
		}
		if enough() {
			results = results[:i]
			break
		}
		open.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer open.Done()
			defer free.Release(1)
			result, err := do(ctx, i)
			if err != nil && failed == nil {
				failed = err
				cancel()
			}
			results[i] = result
		})
	}
	open.Wait(ctx)
	return results, failed
}

// errorType is the type an activity gave its error, or "".
func errorType(err error) string {
	var application *temporal.ApplicationError
	if errors.As(err, &application) {
		return application.Type()
	}
	return ""
}

// reason is an activity's error as one line for people: its type and message.
func reason(err error) string {
	var application *temporal.ApplicationError
	var timeout *temporal.TimeoutError
	switch {
	case errors.As(err, &application) && application.Type() != "":
		return application.Type() + ": " + application.Message()
	case errors.As(err, &application):
		return application.Message()
	case errors.As(err, &timeout):
		return "no sign of life from the activity: " + timeout.TimeoutType().String() + " timeout"
	}
	return err.Error()
}

func isFatal(err error) bool { return slices.Contains(fatal, errorType(err)) }
