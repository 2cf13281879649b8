package workflows

import (
	"strings"
	"testing"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"distilvit/pipeline"
)

func TestStopEndsTheEpochAndPublishesTheBest(t *testing.T) {
	for name, stop := range map[string]func(*testsuite.TestWorkflowEnvironment){
		"signal": func(env *testsuite.TestWorkflowEnvironment) {
			env.SignalWorkflow(pipeline.StopRequest, nil)
		},
		"update": func(env *testsuite.TestWorkflowEnvironment) {
			env.UpdateWorkflow(pipeline.StopRequest, "u", &testsuite.TestUpdateCallback{
				OnAccept: func() {},
				OnReject: func(err error) { t.Errorf("update refused: %v", err) },
				OnComplete: func(status any, err error) {
					if err != nil || !status.(pipeline.Status).Stopping {
						t.Errorf("update: %+v %v", status, err)
					}
				},
			})
		},
	} {
		w := newWorld()
		env := environment(t, w)
		w.during = func(name string, call int) {
			if name == "TrainEpoch" && call == 2 {
				stop(env)
			}
		}
		env.ExecuteWorkflow(pipeline.WorkflowType, config(t, "train.epochs=9"))
		result, err := outcome(t, env)
		if err != nil || w.count["TrainEpoch"] != 2 || w.count["Publish"] != 1 || result.Epoch != 2 {
			t.Errorf("%s: %v %+v after %d epochs", name, err, result, w.count["TrainEpoch"])
		}
	}
}

func TestStopBeforeTrainingStillTrainsOneEpochAndALateOneIsRefused(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	refused := ""
	w.during = func(name string, call int) {
		switch name {
		case "PrepareShard":
			env.SignalWorkflow(pipeline.StopRequest, nil)
		case "Export":
			env.UpdateWorkflow(pipeline.StopRequest, "late", &testsuite.TestUpdateCallback{
				OnAccept: func() {}, OnReject: func(err error) { refused = err.Error() },
				OnComplete: func(any, error) {},
			})
		}
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t))
	if _, err := outcome(t, env); err != nil || w.count["TrainEpoch"] != 1 {
		t.Errorf("%v after %d epochs", err, w.count["TrainEpoch"])
	}
	if refused != "training of run r is over; its stage is export" {
		t.Errorf("refusal: %q", refused)
	}
}

func TestStatusTellsStageEpochLossAndBest(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	var statuses []pipeline.Status
	w.during = func(name string, call int) {
		if name != "TrainEpoch" && name != "Export" {
			return
		}
		answer, err := env.QueryWorkflow(pipeline.StatusQuery)
		if err != nil {
			t.Error(err)
			return
		}
		var s pipeline.Status
		if err := answer.Get(&s); err != nil {
			t.Error(err)
		}
		statuses = append(statuses, s)
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t, "name=captioner"))
	if _, err := outcome(t, env); err != nil || len(statuses) != 4 {
		t.Fatalf("%v, %d statuses", err, len(statuses))
	}
	first, third, last := statuses[0], statuses[2], statuses[3]
	if first.Stage != "train" || first.Detail != "epoch 1 of 3" || first.Epochs != 3 || first.Best != nil ||
		first.Run != "r" || first.Model != "captioner" {
		t.Errorf("first epoch: %+v", first)
	}
	if third.Detail != "epoch 3 of 3" || third.Epoch != 2 || third.Step != 200 || third.TrainLoss != 2.5 ||
		third.Best.Epoch != 2 || len(third.History) != 2 {
		t.Errorf("third epoch: %+v", third)
	}
	if last.Stage != "export" || last.Best.Eval.RougeL != 30 {
		t.Errorf("export: %+v", last)
	}
	text := details(third)
	for _, want := range []string{"**train**: epoch 3 of 3", "best eval_rougeL **20.00** after epoch 2; " +
		"loss 2.5000 after epoch 2 of 3 (step 200)", "| 1 | 5.0000 |"} {
		if !strings.Contains(text, want) {
			t.Errorf("details lack %q:\n%s", want, text)
		}
	}
}

func TestCancelLeavesNothingPublishedAndClosesTheTrainer(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	w.during = func(name string, call int) {
		if name == "TrainEpoch" && call == 2 {
			env.CancelWorkflow()
		}
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t))
	_, err := outcome(t, env)
	if !temporal.IsCanceledError(err) {
		t.Errorf("%v", err)
	}
	if len(w.closed) != 1 || w.count["Publish"]+w.count["Export"] > 0 || w.count["TrainEpoch"] != 2 {
		t.Errorf("calls: %s", w.without())
	}
}
