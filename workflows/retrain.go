package workflows

import (
	"errors"
	"fmt"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// Retrain is one turn of a schedule. Where data or config have changed since the turn before, a run trains on from the
// newest version that is published, and publishes if it is better. Temporal hands each turn the result of the last one
// that ended well.
func Retrain(ctx workflow.Context, in pipeline.Retrain) (*pipeline.Turn, error) {
	t := &turn{in: in, now: pipeline.Turn{Schedule: in.Schedule}}
	if err := t.setup(ctx); err != nil {
		return nil, err
	}
	if err := t.run(ctx); err != nil {
		return nil, err
	}
	return &t.now, nil
}

// turn is the workflow's state.
type turn struct {
	in  pipeline.Retrain
	now pipeline.Turn
}

func (t *turn) setup(ctx workflow.Context) error {
	if err := t.in.Validate(); err != nil {
		return invalid(err)
	}
	t.ignoreRun(ctx)
	return workflow.SetQueryHandler(ctx, pipeline.StatusQuery, func() (pipeline.Turn, error) { return t.now, nil })
}

// ignoreRun receives what the run tells whoever started it, which is for sweeps.
func (t *turn) ignoreRun(ctx workflow.Context) {
	told := workflow.GetSignalChannel(ctx, pipeline.TrialSignal)
	workflow.GoNamed(ctx, pipeline.TrialSignal, func(ctx workflow.Context) {
		for told.Receive(ctx, nil) {
		}
	})
}

func (t *turn) run(ctx workflow.Context) error {
	t.show(ctx, "looking at what the sources hold")
	nobody := &run{spent: spentIDs{}} // no run is paused here
	plan, err := call[pipeline.TurnPlan](ctx, nobody, planTurn, "plan-turn", "sources and newest version",
		pipeline.TurnInput{Published: t.in.Published(), Config: t.in.Config})
	if err != nil {
		return err
	}
	t.now.Data, t.now.Model = plan.Data, plan.Model
	last, err := t.last(ctx)
	if err != nil {
		return err
	}
	if last.Data == plan.Data && plan.Model != "" && len(plan.Unclear) == 0 {
		t.now.Run = last.Run
		t.end(ctx, pipeline.TurnUnchanged, "nothing has changed since run "+last.Run+": nothing is trained")
		return nil
	}
	return t.train(ctx, plan.Model)
}

// last is the turn before that ended well; zero: there was none.
func (t *turn) last(ctx workflow.Context) (last pipeline.Turn, err error) {
	if workflow.HasLastCompletionResult(ctx) {
		err = workflow.GetLastCompletionResult(ctx, &last)
	}
	return last, err
}

// train runs the turn's run to its end.
func (t *turn) train(ctx workflow.Context, from string) error {
	cfg := t.in.RunConfig(from)
	t.now.Run = t.in.RunOf(workflow.GetInfo(ctx).WorkflowStartTime)
	start := "from " + from
	if from == "" {
		start = "as its config says, since no version is published yet"
	}
	t.show(ctx, fmt.Sprintf("run %s trains, %s", t.now.Run, start))
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: t.now.Run, TaskQueue: pipeline.TaskQueue, WaitForCancellation: true,
		WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		StaticSummary:         "a turn of schedule " + t.in.Schedule,
		Priority:              temporal.Priority{PriorityKey: cfg.Priority},
	})
	var result pipeline.Result
	err := workflow.ExecuteChildWorkflow(ctx, pipeline.WorkflowType, cfg).Get(ctx, &result)
	if errorType(err) == pipeline.Rejected {
		t.now.Comparison = compared(err)
		t.end(ctx, pipeline.TurnRejected, reason(err))
		return nil
	}
	if err != nil {
		return err
	}
	t.now.Model, t.now.Comparison = result.Model, result.Comparison
	detail := "published " + result.Model
	if result.Comparison != nil {
		detail += ", which is better: " + result.Comparison.String()
	}
	t.end(ctx, pipeline.TurnPublished, detail)
	return nil
}

// compared is the comparison that a rejected run tells of; nil: somebody rejected it.
func compared(err error) *record.Comparison {
	var application *temporal.ApplicationError
	var c record.Comparison
	if errors.As(err, &application) && application.HasDetails() && application.Details(&c) == nil {
		return &c
	}
	return nil
}

func (t *turn) end(ctx workflow.Context, outcome, detail string) {
	t.now.Outcome = outcome
	t.show(ctx, detail)
}

// show says in one line what the turn does or has come to.
func (t *turn) show(ctx workflow.Context, detail string) {
	t.now.Detail = detail
	workflow.SetCurrentDetails(ctx, detail)
}
