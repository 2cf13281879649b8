package workflows

import (
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// verdict is the answer to the question whether a run may publish. What is made again after it, since
// stored data broke, needs no other.
type verdict struct {
	record.Decision
	approved bool
}

// approval asks whether the export may be published, where the config wants that, and waits for the
// answer as long as it takes.
func (r *run) approval(ctx workflow.Context, test pipeline.EvaluateResult, exported record.Export) error {
	if !r.Config.Publish.Approve || r.verdict != nil {
		return nil
	}
	r.asked = &pipeline.Question{
		Approvers: r.Config.Publish.Approvers, Epoch: r.Progress.Best.Epoch, Test: test.Metrics,
		Checks: exported.Checks,
	}
	r.enter(ctx, pipeline.StageApprove, waitingFor(r.asked.Approvers))
	r.notifyQuestion(ctx)
	err := workflow.Await(ctx, func() bool { return r.verdict != nil })
	r.asked = nil
	if err != nil {
		return err
	}
	if r.verdict.approved {
		return nil
	}
	said := pipeline.Rejected + r.verdict.After() + "; its model is not published, and its checkpoints are kept"
	r.enter(ctx, pipeline.StageRejected, said)
	return temporal.NewNonRetryableApplicationError(said, pipeline.Rejected, nil)
}

func waitingFor(approvers []string) string {
	if len(approvers) == 0 {
		return "waiting for approval"
	}
	return "waiting for approval of " + strings.Join(approvers, ", ")
}

// approvedBy is what the published manifest tells of the approval; nil: nobody was asked.
func (r *run) approvedBy() *record.Decision {
	if r.verdict == nil {
		return nil
	}
	return &r.verdict.Decision
}

// maxNote bounds what becomes a part of a history, a manifest and a card, in bytes.
const maxNote = 2000

func (r *run) refuseDecision(d record.Decision) error {
	switch {
	case len(d.Note) > maxNote || len(d.By) > maxNote:
		return fmt.Errorf("the note and its author may have %d bytes each", maxNote)
	case r.verdict != nil:
		return fmt.Errorf("run %s is decided already", r.id)
	case !r.Config.Publish.Approve:
		return fmt.Errorf("run %s asks nobody: its config has no publish.approve", r.id)
	case r.asked == nil:
		return fmt.Errorf("run %s has nothing to approve yet; its stage is %s", r.id, r.status.Stage)
	}
	return nil
}

func (r *run) approve(_ workflow.Context, d record.Decision) { r.verdict = &verdict{d, true} }

func (r *run) reject(_ workflow.Context, d record.Decision) { r.verdict = &verdict{d, false} }

// serveDecisions takes the answer to approval's question.
func (r *run) serveDecisions(ctx workflow.Context) error {
	return errors.Join(
		serve(ctx, r, pipeline.ApproveRequest, "publish the model that waits for approval",
			r.refuseDecision, r.approve),
		serve(ctx, r, pipeline.RejectRequest, "end the run without publishing its model",
			r.refuseDecision, r.reject),
	)
}
