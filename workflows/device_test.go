package workflows

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// failing answers errors for the first calls of an activity, nil meaning success.
func failing(name string, errs ...error) func(string, int) error {
	return func(called string, call int) error {
		if called == name && call <= len(errs) {
			return errs[call-1]
		}
		return nil
	}
}

func lost(n int) error { return typed(pipeline.DeviceLost, fmt.Sprintf("signal: killed (%d)", n)) }

func TestLostDeviceIsTriedAgainInTheSessionAndThenInANewOne(t *testing.T) {
	w := newWorld()
	w.fail = failing("TrainEpoch", lost(1), typed(pipeline.Stalled, "no step for 60 s"))
	if _, err := start(t, w, config(t)); err != nil {
		t.Fatal(err)
	}
	want := "TrainEpoch FindProgress TrainEpoch FindProgress CloseTrainer TrainEpoch Evaluate"
	if got := w.without(); !strings.Contains(got, want) || w.count["CloseTrainer"] != 2 {
		t.Errorf("calls: %s", got)
	}
	for i, e := range w.epochs[:3] {
		if e.Work.Branch != 1 || e.Epoch != 0 {
			t.Errorf("attempt %d: %+v", i, e)
		}
	}
}

func TestDeviceOutOfServiceIsLeftAtOnceAndNamedInTheWarnings(t *testing.T) {
	w := newWorld()
	w.fail = failing(
		"TrainEpoch", lost(1),
		typed(pipeline.OutOfService, "device 1 out of service after 3 failures in a row"),
	)
	env := environment(t, w)
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t))
	if _, err := outcome(t, env); err != nil {
		t.Fatal(err)
	}
	// Nothing is asked of the worker that leaves, not even to close the trainer.
	want := "TrainEpoch FindProgress TrainEpoch FindProgress TrainEpoch Evaluate"
	if got := w.without(); !strings.Contains(got, want) || w.count["CloseTrainer"] != 1 {
		t.Errorf("calls: %s", got)
	}
	answer, err := env.QueryWorkflow(pipeline.StatusQuery)
	if err != nil {
		t.Fatal(err)
	}
	var status pipeline.Status
	if err := answer.Get(&status); err != nil {
		t.Fatal(err)
	}
	if len(status.Warnings) != 1 || !strings.Contains(status.Warnings[0], "epoch 1 of 3, on ") ||
		!strings.Contains(
			status.Warnings[0], "OutOfService: device 1 out of service after 3 failures in a row",
		) {
		t.Errorf("warnings %q", status.Warnings)
	}
}

func TestSessionLostWithItsWorkerIsReplaced(t *testing.T) {
	w := newWorld()
	// as Temporal answers when the session's worker is gone
	w.fail = failing("TrainEpoch", nil, temporal.NewCanceledError())
	result, err := start(t, w, config(t))
	if err != nil || result.Epoch != 3 {
		t.Fatalf("%v %+v", err, result)
	}
	// The lost trainer is not closed, the one of the second session is.
	if w.count["TrainEpoch"] != 4 || len(w.closed) != 1 {
		t.Errorf("calls: %s", w.without())
	}
}

// A worker that stops just when it has told of the session leaves activities that nobody takes: another has the
// session, and Temporal's SDK knows the first one's queue alone.
func TestSessionWhoseActivitiesNobodyTakesIsReplaced(t *testing.T) {
	w := newWorld()
	w.fail = failing("TrainEpoch", temporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_START, nil))
	if _, err := start(t, w, config(t)); err != nil {
		t.Fatal(err)
	}
	// nothing is asked of the queue that nobody polls, not even to close the trainer
	if got := w.without(); !strings.Contains(got, "TrainEpoch FindProgress TrainEpoch Evaluate") ||
		w.count["CloseTrainer"] != 1 {
		t.Errorf("calls: %s", got)
	}
	for _, given := range []task{trainEpoch, evaluate} {
		if got := given.options("", "").ScheduleToStartTimeout; got != sessionStart {
			t.Errorf("%s may wait %v to be taken", given.name, got)
		}
	}
	if got := preflightGPU.options("", "").ScheduleToStartTimeout; got != 0 {
		t.Errorf("a run waits %v for a worker with a device", got)
	}
}

func TestWorkerStoppingInGoodOrderIsNoFailure(t *testing.T) {
	w := newWorld()
	var errs []error
	for range 3 * maxFailures {
		errs = append(errs, typed(pipeline.Interrupted, "worker is stopping"))
	}
	w.fail = failing("TrainEpoch", errs...)
	if _, err := start(t, w, config(t)); err != nil {
		t.Error(err)
	}
	if w.count["TrainEpoch"] != 3+3*maxFailures {
		t.Errorf("%d epochs", w.count["TrainEpoch"])
	}
}

func TestFiveFailuresWithoutACheckpointFailTheRunWithAllReasons(t *testing.T) {
	w := newWorld()
	w.fail = failing("TrainEpoch", lost(1), lost(2), lost(3), lost(4), lost(5), lost(6))
	_, err := start(t, w, config(t))
	if errorType(err) != pipeline.DeviceLost || w.count["TrainEpoch"] != 5 {
		t.Fatalf("%v after %d", err, w.count["TrainEpoch"])
	}
	for n := range 5 {
		if want := fmt.Sprintf("%d. epoch 1 of 3: DeviceLost: signal: killed (%d)", n+1,
			n+1); !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
	if w.count["Publish"] > 0 || w.count["CloseTrainer"] == 0 {
		t.Errorf("calls: %s", w.without())
	}
}

func TestNewCheckpointForgivesFailures(t *testing.T) {
	w := newWorld()
	w.fail = func(name string, call int) error {
		if name != "TrainEpoch" || call > 12 {
			return nil
		}
		if call%3 == 0 { // every third attempt gets a little further
			w.checkpoint(1, 0, int64(call))
		}
		return lost(call)
	}
	if _, err := start(t, w, config(t)); err != nil {
		t.Error(err)
	}
}

func TestOutOfMemoryHalvesTheMicroBatchInANewBranch(t *testing.T) {
	w := newWorld()
	oom := typed(pipeline.OutOfMemory, "device memory exhausted")
	w.fail = func(name string, call int) error {
		if name != "TrainEpoch" {
			return nil
		}
		switch call {
		case 2: // epoch 2: a checkpoint in its middle, then no memory
			w.checkpoint(1, 1, 150)
			return oom
		case 3, 4:
			return oom
		}
		return nil
	}
	result, err := start(t, w, config(t, "train.batch_size=20"))
	if err != nil || result.Epoch != 3 {
		t.Fatalf("%v %+v", err, result)
	}
	type attempt struct{ epoch, micro, branch int }
	var got []attempt
	for _, e := range w.epochs {
		got = append(got, attempt{e.Epoch, e.Work.Train.MicroBatchSize, e.Work.Branch})
		if e.Work.Train.BatchSize != 20 || e.Work.Seed != 1 {
			t.Errorf("%+v", e.Work)
		}
	}
	want := []attempt{{0, 20, 1}, {1, 20, 1}, {1, 20, 1}, {1, 10, 2}, {1, 5, 3}, {2, 5, 3}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("attempts %v, want %v", got, want)
	}
	if from := w.epochs[3].From; from == nil || from.Step != 150 || from.Branch != 1 {
		t.Errorf("branch 2 begins at %+v", from)
	}
	if from := w.epochs[4].From; from == nil || from.Step != 150 {
		t.Errorf("branch 3 begins at %+v", from)
	}
	if last := w.records[len(w.records)-1]; last.MicroBatchSize != 5 || last.Branch != 3 {
		t.Errorf("not remembered: %+v", last)
	}
	survived := []record.Fault{
		{Type: pipeline.OutOfMemory, Done: "the same again in a fresh process", Times: 1},
		{Type: pipeline.OutOfMemory, Done: "less at once: train.micro_batch_size 10", Times: 1},
		{Type: pipeline.OutOfMemory, Done: "less at once: train.micro_batch_size 5", Times: 1},
	}
	if got := w.inputs["Publish"].(pipeline.PublishInput).Faults; !slices.Equal(got, survived) {
		t.Errorf("the report is told of %+v, want %+v", got, survived)
	}
}

func TestOutOfMemoryWithOnePictureFailsTheRun(t *testing.T) {
	w := newWorld()
	w.fail = func(name string, call int) error {
		if name == "TrainEpoch" {
			return typed(pipeline.OutOfMemory, "device memory exhausted")
		}
		return nil
	}
	_, err := start(t, w, config(t))
	if errorType(err) != pipeline.OutOfMemory ||
		!strings.Contains(err.Error(), "even with train.micro_batch_size 1") {
		t.Errorf("%v", err)
	}
	if w.count["TrainEpoch"] != 7 { // 32 twice, then 16, 8, 4, 2, 1
		t.Errorf("%d attempts", w.count["TrainEpoch"])
	}
}

func TestOutOfMemoryInEvaluationHalvesItsBatchAlone(t *testing.T) {
	w := newWorld()
	oom := typed(pipeline.OutOfMemory, "device memory exhausted")
	w.fail = failing("Evaluate", oom, oom)
	if _, err := start(t, w, config(t)); err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, e := range w.evals {
		got = append(got, e.Evaluate.BatchSize)
	}
	if fmt.Sprint(got) != "[64 64 32 32 32 32]" || w.epochs[2].Work.Branch != 1 {
		t.Errorf("batches %v", got)
	}
}

func TestDivergedGoesBackOnceAndThenFailsNamingTheStep(t *testing.T) {
	w := newWorld()
	diverged := typed(pipeline.Diverged, "loss is NaN at step 150, examples 7, 9")
	w.fail = failing("TrainEpoch", nil, diverged)
	if _, err := start(t, w, config(t)); err != nil {
		t.Fatal(err)
	}
	again := w.epochs[2]
	if again.Epoch != 1 || again.Work.Branch != 2 || again.Work.Seed != 2 || again.From == nil ||
		again.From.Step != 100 {
		t.Errorf("after the rollback: %+v", again)
	}
	if w.epochs[3].Work.Branch != 2 || w.epochs[3].Work.Seed != 2 {
		t.Errorf("next epoch: %+v", w.epochs[3])
	}

	w = newWorld()
	w.fail = failing("TrainEpoch", nil, diverged, nil, diverged)
	_, err := start(t, w, config(t))
	if errorType(err) != pipeline.Diverged || !strings.Contains(err.Error(), "step 150, examples 7, 9") ||
		w.count["TrainEpoch"] != 4 {
		t.Errorf("%v after %d", err, w.count["TrainEpoch"])
	}
}

func TestChangedNumericsAreRefusedUnlessAllowed(t *testing.T) {
	w := newWorld()
	w.fail = failing("TrainEpoch", nil, typed(pipeline.NumericsChanged, "plugin differs"))
	if _, err := start(t, w, config(t)); errorType(err) != pipeline.NumericsChanged ||
		w.count["TrainEpoch"] != 2 {
		t.Errorf("%v", err)
	}
	w = newWorld()
	w.fail = failing("TrainEpoch", nil, typed(pipeline.NumericsChanged, "plugin differs"))
	if _, err := start(t, w, config(t, "train.allow_numerics_change=true")); err != nil {
		t.Fatal(err)
	}
	if in := w.epochs[2]; in.Work.Branch != 2 || in.From.Step != 100 || in.Work.Seed != 1 {
		t.Errorf("%+v", in)
	}
}

func TestWorkerWithoutTheBackendIsLeftForAnotherAndCountsAsNothing(t *testing.T) {
	w := newWorld()
	var wrong []error
	for range 2 * maxFailures {
		wrong = append(wrong, typed(pipeline.WrongWorker, "not on the worker on b: cpu is not installed"))
	}
	w.fail = failing("TrainEpoch", wrong...)
	if _, err := start(t, w, config(t)); err != nil {
		t.Fatal(err)
	}
	// Each time the session ends, so that another worker may open the next.
	if n := w.count["CloseTrainer"]; n != len(wrong)+1 {
		t.Errorf("%d sessions", n)
	}
	for i, e := range w.epochs[:len(wrong)+1] {
		if e.Work.Branch != 1 || e.Epoch != 0 {
			t.Errorf("attempt %d: %+v", i, e)
		}
	}
}

func TestShardIsPreparedByAWorkerThatHasItsDecoder(t *testing.T) {
	w := newWorld()
	var wrong []error
	for range 20 { // more than Temporal itself tries
		wrong = append(wrong, typed(pipeline.WrongWorker, "not on the worker on b: no libjpeg-turbo"))
	}
	w.fail = failing("PrepareShard", wrong...)
	if _, err := start(t, w, config(t)); err != nil {
		t.Fatal(err)
	}
	if n := w.count["PrepareShard"]; n <= len(wrong) {
		t.Errorf("%d attempts", n)
	}
}

func TestFatalErrorsOnADeviceAreNotTriedAgain(t *testing.T) {
	for _, kind := range []string{pipeline.InvalidInput, pipeline.Nondeterministic, pipeline.Corrupt} {
		w := newWorld()
		w.fail = failing("TrainEpoch", typed(kind, "no"), typed(kind, "no"))
		if _, err := start(t, w, config(t)); errorType(err) != kind || w.count["TrainEpoch"] != 1 {
			t.Errorf("%s: %v after %d", kind, err, w.count["TrainEpoch"])
		}
	}
}

func TestActivityPausedByHandIsRetriedByTemporalAndCountsAsNothing(t *testing.T) {
	w := newWorld()
	w.fail = failing("TrainEpoch", temporal.NewApplicationError("activity paused", ""))
	if _, err := start(t, w, config(t)); err != nil || w.count["TrainEpoch"] != 4 ||
		w.count["FindProgress"] != 1 {
		t.Errorf("%v; calls %s", err, w.without())
	}
}
