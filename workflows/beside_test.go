package workflows

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

const (
	hook   = "notify.webhook=https://example.org/hook"
	mlflow = "track.mlflow=https://example.org"
)

// told are the events in order.
func (w *world) told() (types []string) {
	for _, e := range w.events {
		types = append(types, e.Event.Type)
	}
	return types
}

func TestEndsAndQuestionsAreNotified(t *testing.T) {
	for name, test := range map[string]struct {
		set  []string
		do   func(*world)
		want []string
		text string // of the last
	}{
		"published": {want: []string{pipeline.EventPublished}, text: "published models/r/r"},
		"approved": {set: []string{"publish.approve=true"}, do: func(w *world) {
			w.signal(pipeline.ApproveRequest, record.Decision{})
		}, want: []string{pipeline.EventApproval, pipeline.EventPublished}, text: "published models/r/r"},
		"rejected": {set: []string{"publish.approve=true"}, do: func(w *world) {
			w.signal(pipeline.RejectRequest, record.Decision{Note: "no"})
		}, want: []string{pipeline.EventApproval, pipeline.EventRejected}, text: "Rejected: no; its model is not published"},
		"failed": {do: func(w *world) {
			w.fail = func(name string, _ int) error {
				if name == "Export" {
					return temporal.NewNonRetryableApplicationError("captions are worse", pipeline.InvalidInput, nil)
				}
				return nil
			}
		}, want: []string{pipeline.EventFailed}, text: "InvalidInput: captions are worse"},
		"canceled": {do: func(w *world) { w.signal("cancel", nil) }, want: []string{pipeline.EventFailed}, text: "the run was canceled"},
	} {
		w := newWorld()
		env := environment(t, w)
		w.signal = func(name string, argument any) {
			env.RegisterDelayedCallback(func() {
				if name == "cancel" {
					env.CancelWorkflow()
					return
				}
				env.SignalWorkflow(name, argument)
			}, time.Hour)
		}
		set := append(test.set, hook, "notify.secret=${DISTILVIT_SECRET_HOOK}", mlflow)
		if name == "canceled" {
			set = append(set, "publish.approve=true") // which is waited for meanwhile
			test.want = append([]string{pipeline.EventApproval}, test.want...)
		}
		if test.do != nil {
			test.do(w)
		}
		env.ExecuteWorkflow(pipeline.WorkflowType, config(t, set...))
		if !env.IsWorkflowCompleted() {
			t.Fatal("the workflow has not ended")
		}
		if !reflect.DeepEqual(w.told(), test.want) {
			t.Errorf("%s: told %q, want %q", name, w.told(), test.want)
			continue
		}
		last := w.events[len(w.events)-1]
		if !strings.HasPrefix(last.Event.Data.Text, test.text) || last.Notify.Secret != "${DISTILVIT_SECRET_HOOK}" ||
			!strings.HasSuffix(last.ID, "-"+last.Event.Type) || last.Event.Data.Run != "r" || last.Event.Timestamp.IsZero() {
			t.Errorf("%s: %+v", name, last)
		}
		end := w.inputs["Track"].(pipeline.TrackInput)
		if end.End != test.want[len(test.want)-1] || len(end.Progress.Epochs) != 3 {
			t.Errorf("%s: tracked %q after %d epochs", name, end.End, len(end.Progress.Epochs))
		}
	}
}

// Who is told never holds the run up for long, and never fails it.
func TestRunDoesNotDependOnWhoIsTold(t *testing.T) {
	w := newWorld()
	env := environment(t, w)
	w.fail = func(name string, _ int) error {
		if name == "Track" || name == "Notify" {
			return typed("", "no answer")
		}
		return nil
	}
	began := env.Now()
	env.ExecuteWorkflow(pipeline.WorkflowType, config(t, hook, mlflow))
	result, err := outcome(t, env)
	if err != nil || result.Epoch != 3 {
		t.Fatalf("%v %+v", err, result)
	}
	if waited := env.Now().Sub(began); waited > 2*endPatience {
		t.Errorf("the run waited %v", waited)
	}
	answer, err := env.QueryWorkflow(pipeline.StatusQuery)
	var status pipeline.Status
	if err != nil || answer.Get(&status) != nil || !strings.Contains(strings.Join(status.Warnings, "\n"), "not told: no answer") {
		t.Errorf("%v %q", err, status.Warnings)
	}
	if w.count["Track"] < 4 || w.count["Notify"] < 2 {
		t.Errorf("tried %d and %d times", w.count["Track"], w.count["Notify"])
	}
}

func TestNobodyIsToldUnasked(t *testing.T) {
	w := newWorld()
	if _, err := start(t, w, config(t)); err != nil || w.count["Track"]+w.count["Notify"] > 0 {
		t.Errorf("%v: %s", err, w.without())
	}
	for _, e := range w.epochs {
		if e.TensorBoard {
			t.Error("curves are kept unasked")
		}
	}
}
