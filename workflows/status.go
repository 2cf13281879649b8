package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

var (
	searchModel = temporal.NewSearchAttributeKeyKeyword(pipeline.SearchModel)
	searchStage = temporal.NewSearchAttributeKeyKeyword(pipeline.SearchStage)
)

// enter begins a stage, visibly.
func (r *run) enter(ctx workflow.Context, stage, detail string) {
	r.status.Stage = stage
	if err := workflow.UpsertTypedSearchAttributes(ctx, searchModel.ValueSet(r.Config.Name),
		searchStage.ValueSet(stage)); err != nil {
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
	s.Epoch, s.Epochs = r.finished(), r.lastEpoch()
	s.Best, s.History, s.Branch = r.Progress.Best, r.Progress.Epochs, r.Progress.Branch
	s.Warnings, s.Stopping, s.Paused, s.Asked = r.Warnings, r.Stopping, r.Paused, r.asked
	s.Comparison = r.comparison
	s.Backend, s.Pictures = r.Backend, r.Dataset.Rows
	if len(s.Pictures) > 0 {
		s.StepsPerEpoch = pipeline.StepsPerEpoch(r.Dataset, r.Config.Train.BatchSize)
	}
	if newest := r.Progress.Newest; newest != nil {
		s.Step = newest.Step
	}
	if n := len(s.History); n > 0 {
		s.TrainLoss = s.History[n-1].TrainLoss
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
	if s.Asked != nil {
		add("**to be approved**: `distilvit approve %[1]s` publishes, `distilvit reject %[1]s` does not; or signals "+
			"and updates `approve`, `reject` with `{\"by\": …, \"note\": …}`\n", s.Run)
	}
	if s.Best != nil {
		name, value, _ := strings.Cut(s.Best.Eval.Shown(s.Best.Metric()), " ")
		add("best %s **%s** after %s; loss %.4f after epoch %d of %d (step %d)\n",
			name, value, s.Best.Name(), s.TrainLoss, s.Epoch, s.Epochs, s.Step)
	}
	if s.Comparison != nil {
		add("%s\n", s.Comparison)
	}
	if s.Branch > 1 {
		add("branch %d\n", s.Branch)
	}
	if len(s.History) > 0 {
		score := record.MetricRougeL
		if s.Best != nil && s.Best.Metric() != record.MetricLoss { // which has a column of its own
			score = s.Best.Metric()
		}
		add("| epoch | loss | eval_loss | %s | distinct %% | seconds |\n|--:|--:|--:|--:|--:|--:|", score)
		for _, e := range s.History[max(0, len(s.History)-detailedEpochs):] {
			add("| %s | %.4f | %.4f | %.2f | %.1f | %.0f |", strings.TrimPrefix(e.Name(), "epoch "), e.TrainLoss, e.Eval.Loss,
				e.Eval.Value(score), e.Eval.Distinct, e.Seconds)
		}
		add("")
		for _, b := range s.History[0].Eval.Baselines.Rows() {
			add("without a model, %s: %s %.2f\n", b.Name, score, record.Metrics{Scores: b.Scores}.Value(score))
		}
	}
	for _, w := range s.Warnings {
		add("- ⚠ %s", w)
	}
	return strings.Join(lines, "\n")
}
