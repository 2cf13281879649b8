package workflows

import (
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// atApproval does something once the run waits for approval, a day after its export.
func atApproval(env *testsuite.TestWorkflowEnvironment, w *world, do ...func()) {
	w.during = func(name string, call int) {
		if name == "Export" && call == 1 {
			for i, one := range do {
				env.RegisterDelayedCallback(one, time.Duration(i+1)*24*time.Hour)
			}
		}
	}
}

func TestApprovedRunPublishesWithTheNote(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	var status pipeline.Status
	var extend, approved, again *answer
	published := -1
	atApproval(env, w, func() {
		answered, err := env.QueryWorkflow(pipeline.StatusQuery)
		if err != nil || answered.Get(&status) != nil {
			t.Error(err)
		}
		published = w.count["Publish"]
		extend = ask(env, pipeline.ExtendRequest, record.Extend{Epochs: 1})
		approved = ask(env, pipeline.ApproveRequest, record.Decision{By: "Ada", Note: "fine"})
		again = ask(env, pipeline.RejectRequest, record.Decision{})
	})
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t, "publish.approve=true", "publish.approvers=[Ada,Bob]"))
	result, err := outcome(t, env)
	if err != nil || result.Epoch != 3 {
		t.Fatalf("%v %+v", err, result)
	}
	if status.Stage != pipeline.StageApprove || status.Detail != "waiting for approval of Ada, Bob" ||
		status.Asked == nil || status.Asked.Test.RougeL != 30 || status.Asked.Checks[0].Dtype != "q8" || published != 0 {
		t.Errorf("%+v, published %d", status, published)
	}
	if text := details(status); !strings.Contains(text, "distilvit approve r") || !strings.Contains(text, "Ada, Bob") {
		t.Errorf("details do not ask:\n%s", text)
	}
	if approved.refused != nil || approved.status.Stage != pipeline.StageApprove ||
		again.refusal() != "run r is decided already" || !strings.Contains(extend.refusal(), "stage is approve") {
		t.Errorf("approve %v, again %v, extend %v", approved.refused, again.refused, extend.refused)
	}
	got := w.inputs["Publish"].(pipeline.PublishInput).Approval
	if got == nil || *got != (record.Decision{By: "Ada", Note: "fine"}) {
		t.Errorf("published with %+v", got)
	}
	if len(w.closed) != 1 || w.calls[len(w.calls)-1] != "Publish" {
		t.Errorf("the device is not free while the run waits: %s", w.without())
	}
}

func TestRejectedRunPublishesNothingAndSaysWhy(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	atApproval(env, w, func() { env.SignalWorkflow(pipeline.RejectRequest, record.Decision{Note: "says dog of cats"}) })
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t, "publish.approve=true"))
	_, err := outcome(t, env)
	if errorType(err) != pipeline.Rejected || !strings.Contains(err.Error(), "Rejected: says dog of cats; its model") {
		t.Errorf("%v", err)
	}
	if w.count["Publish"]+w.count["DropBroken"] > 0 {
		t.Errorf("calls: %s", w.without())
	}
	answered, err := env.QueryWorkflow(pipeline.StatusQuery)
	var status pipeline.Status
	if err != nil || answered.Get(&status) != nil || status.Stage != pipeline.StageRejected || status.Asked != nil {
		t.Errorf("%v %+v", err, status)
	}
}

func TestDecisionsAreRefusedWhereNobodyAsks(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	var early, long *answer
	w.during = func(name string, call int) {
		if name == "TrainEpoch" && call == 1 {
			early = ask(env, pipeline.ApproveRequest, record.Decision{})
			long = ask(env, pipeline.ApproveRequest, record.Decision{Note: strings.Repeat("x", maxNote+1)})
		}
		if name == "Export" {
			env.RegisterDelayedCallback(func() { env.SignalWorkflow(pipeline.ApproveRequest, nil) }, time.Hour)
		}
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t, "publish.approve=true"))
	if _, err := outcome(t, env); err != nil {
		t.Fatal(err)
	}
	if early.refusal() != "run r has nothing to approve yet; its stage is train" ||
		!strings.Contains(long.refusal(), "2000 bytes") {
		t.Errorf("early: %v; long: %v", early.refused, long.refused)
	}
	if got := w.inputs["Publish"].(pipeline.PublishInput).Approval; got == nil || *got != (record.Decision{}) {
		t.Errorf("a signal without argument: %+v", got)
	}

	w = newWorld()
	env = environment(t, w)
	var unasked *answer
	w.during = func(name string, _ int) {
		if name == "Export" {
			unasked = ask(env, pipeline.RejectRequest, record.Decision{})
		}
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t))
	if _, err := outcome(t, env); err != nil || !strings.Contains(unasked.refusal(), "no publish.approve") {
		t.Errorf("%v, %v", err, unasked.refused)
	}
	if w.inputs["Publish"].(pipeline.PublishInput).Approval != nil {
		t.Error("nobody was asked, and somebody approved")
	}
}

// A pause while the run waits holds the publication back, even when it is approved meanwhile; and what
// is made again since stored data broke is not asked for once more.
func TestApprovalOutlastsAPauseAndBrokenData(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	published := -1
	atApproval(env, w,
		func() { env.SignalWorkflow(pipeline.PauseRequest, nil) },
		func() { env.SignalWorkflow(pipeline.ApproveRequest, record.Decision{Note: "yes"}) },
		func() {
			published = w.count["Publish"]
			env.SignalWorkflow(pipeline.ResumeRequest, nil)
		})
	w.fail = func(name string, call int) error {
		if name == "Publish" && call == 1 {
			return corrupt("runs/r/blobs/b")
		}
		return nil
	}
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t, "publish.approve=true"))
	if _, err := outcome(t, env); err != nil {
		t.Fatal(err)
	}
	if published != 0 || w.count["Publish"] != 2 || w.count["Export"] != 2 {
		t.Errorf("%d published while paused; %s", published, w.without())
	}
	if got := w.inputs["Publish"].(pipeline.PublishInput).Approval; got == nil || got.Note != "yes" {
		t.Errorf("published with %+v", got)
	}
}

func TestCancelEndsTheWaitForApproval(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	atApproval(env, w, env.CancelWorkflow)
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t, "publish.approve=true"))
	if _, err := outcome(t, env); !temporal.IsCanceledError(err) || w.count["Publish"] > 0 {
		t.Errorf("%v: %s", err, w.without())
	}
}
