package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/pipeline"
)

var (
	searchModel = temporal.NewSearchAttributeKeyKeyword(pipeline.SearchModel)
	searchStage = temporal.NewSearchAttributeKeyKeyword(pipeline.SearchStage)
)

// enter begins a stage, visibly.
func (r *run) enter(ctx workflow.Context, stage, detail string) {
	r.status.Stage = stage
	if err := workflow.UpsertTypedSearchAttributes(ctx, searchModel.ValueSet(r.Config.Name), searchStage.ValueSet(stage)); err != nil {
		workflow.GetLogger(ctx).Warn("search attributes are not set", "error", err)
	}
	r.show(ctx, detail)
}

// show says in one line what is going on now.
func (r *run) show(ctx workflow.Context, detail string) {
	r.status.Detail = detail
	r.status.Done, r.status.Total = 0, 0
	r.refresh(ctx)
}

func (r *run) refresh(ctx workflow.Context) { workflow.SetCurrentDetails(ctx, details(r.Status())) }

// expect and tick count the parts of a fanned-out stage.
func (r *run) expect(total int) { r.status.Total = int64(total) }

func (r *run) tick(ctx workflow.Context) {
	r.status.Done++
	r.refresh(ctx)
}

func (r *run) warn(warnings []string) { r.Warnings = append(r.Warnings, warnings...) }

// Status is the whole state of the run as people see it.
func (r *run) Status() pipeline.Status {
	s := r.status
	s.Run, s.Model = r.id, r.Config.Name
	s.Epoch, s.Epochs = len(r.Progress.Epochs), r.lastEpoch()
	s.Best, s.History, s.Branch = r.Progress.Best, r.Progress.Epochs, r.Progress.Branch
	s.Warnings, s.Stopping, s.Paused = r.Warnings, r.Stopping, r.Paused
	if newest := r.Progress.Newest; newest != nil {
		s.Step = newest.Step
	}
	if s.Epoch > 0 {
		s.TrainLoss = s.History[s.Epoch-1].TrainLoss
	}
	return s
}

const detailedEpochs = 10

// details is the status as Markdown, for the Temporal UI.
func details(s pipeline.Status) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if s.Total > 0 {
		add("**%s**: %s, %d of %d\n", s.Stage, s.Detail, s.Done, s.Total)
	} else {
		add("**%s**: %s\n", s.Stage, s.Detail)
	}
	if s.Stopping {
		add("stopping after this epoch\n")
	}
	if s.Paused {
		add("**paused**: `distilvit resume %s` or signal `resume` goes on\n", s.Run)
	}
	if s.Best != nil {
		add("best eval_rougeL **%.2f** after epoch %d; loss %.4f after epoch %d of %d (step %d)\n",
			s.Best.Eval.RougeL, s.Best.Epoch, s.TrainLoss, s.Epoch, s.Epochs, s.Step)
	}
	if s.Branch > 1 {
		add("branch %d\n", s.Branch)
	}
	if s.Epoch > 0 {
		add("| epoch | loss | eval_loss | eval_rougeL | seconds |\n|--:|--:|--:|--:|--:|")
		for _, e := range s.History[max(0, s.Epoch-detailedEpochs):] {
			add("| %d | %.4f | %.4f | %.2f | %.0f |", e.Epoch, e.TrainLoss, e.Eval.Loss, e.Eval.RougeL, e.Seconds)
		}
		add("")
	}
	for _, w := range s.Warnings {
		add("- ⚠ %s", w)
	}
	return strings.Join(lines, "\n")
}
