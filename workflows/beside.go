package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/pipeline"
)

// beside starts an activity that the run does not depend on. Nobody has to wait for it.
func (r *run) beside(
	ctx workflow.Context, t task, patience time.Duration, id, summary string, input any,
) workflow.Future {
	options := t.options(id, summary)
	options.ScheduleToCloseTimeout, options.WaitForCancellation = patience, false
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), t.name, input)
}

// trackEpoch tells track's programs of a finished epoch, while the next one is trained. What fails is told with
// the next.
func (r *run) trackEpoch(ctx workflow.Context) {
	if r.Config.Track != (pipeline.TrackConfig{}) {
		n := len(r.Progress.Epochs)
		r.beside(ctx, track, besidePatience, fmt.Sprintf("track-%d-%d", r.Progress.Branch, n),
			fmt.Sprintf("curves after epoch %d", n), r.trackInput(ctx, ""))
	}
}

func (r *run) trackInput(ctx workflow.Context, end string) pipeline.TrackInput {
	progress := r.Progress
	progress.Newest = nil
	return pipeline.TrackInput{
		Run: r.id, Config: r.config(), Progress: progress, At: workflow.Now(ctx).UTC(), End: end,
	}
}

// event is what notify.webhook is told now.
func (r *run) event(ctx workflow.Context, kind, text string) pipeline.Event {
	return pipeline.Event{Type: kind, Timestamp: workflow.Now(ctx).UTC(), Data: pipeline.EventData{
		Run: r.id, Model: r.Config.Name, Text: text,
	}}
}

// notify sends an event; its id is that of the execution, which has one of each kind.
func (r *run) notify(ctx workflow.Context, patience time.Duration, e pipeline.Event) workflow.Future {
	id := workflow.GetInfo(ctx).WorkflowExecution.RunID + "-" + e.Type
	return r.beside(ctx, notify, patience, "notify-"+e.Type, e.Type, pipeline.NotifyInput{
		Notify: r.Config.Notify, ID: id, Event: e,
	})
}

// notifyQuestion tells that somebody is asked.
func (r *run) notifyQuestion(ctx workflow.Context) {
	if r.Config.Notify.Webhook == "" {
		return
	}
	e := r.event(ctx, pipeline.EventApproval, fmt.Sprintf(
		"run %s is %s: distilvit approve %[1]s publishes it, distilvit reject %[1]s does not",
		r.id, waitingFor(r.asked.Approvers)))
	e.Data.Approvers, e.Data.Test = r.asked.Approvers, &r.asked.Test.Scores
	r.notify(ctx, besidePatience, e)
}

// tellEnd tells everybody how the run ends, also when it is cancelled. It waits for that a little, since with
// the workflow its activities end.
func (r *run) tellEnd(ctx workflow.Context, result *pipeline.Result, failed error) {
	var again *workflow.ContinueAsNewError
	if errors.As(failed, &again) {
		return
	}
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	e := r.event(ctx, pipeline.EventPublished, "")
	switch {
	case failed == nil:
		e.Data.Text, e.Data.Test, e.Data.Result = "published "+result.Model, &result.Test.Scores, result
	case errorType(failed) == pipeline.Rejected:
		e.Type, e.Data.Text = pipeline.EventRejected, r.status.Detail
	case temporal.IsCanceledError(failed):
		e.Type, e.Data.Text = pipeline.EventFailed, "the run was canceled"
	default:
		e.Type, e.Data.Text = pipeline.EventFailed, reason(failed)
	}
	var told []workflow.Future
	if r.Config.Track != (pipeline.TrackConfig{}) {
		told = append(told, r.beside(ctx, track, endPatience, "track-end", "curves of the whole run", r.trackInput(ctx, e.Type)))
	}
	if r.Config.Notify.Webhook != "" {
		told = append(told, r.notify(ctx, endPatience, e))
	}
	for _, f := range told {
		if err := f.Get(ctx, nil); err != nil {
			r.warn([]string{"not told: " + reason(err)})
			r.refresh(ctx)
		}
	}
}
