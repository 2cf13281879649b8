package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// export writes the best checkpoint as ONNX and checks it against the model.
func (r *run) export(ctx workflow.Context) (record.Export, error) {
	dtypes := strings.Join(r.Config.Export.Dtypes, ", ")
	r.enter(ctx, pipeline.StageExport, "ONNX "+dtypes+", run beside the model")
	in := pipeline.ExportInput{
		Work: r.work(), Checkpoint: r.Progress.Best.Checkpoint, Export: r.Config.Export,
		MaxLength: r.config().Evaluate.MaxLength,
	}
	if r.Config.Train.LoRA.R > 0 {
		in.Base = r.Config.Model.Weights
	}
	return call[record.Export](ctx, r, export, "export", "ONNX "+dtypes, in)
}

// publish makes the model directory visible under its immutable name.
func (r *run) publish(
	ctx workflow.Context, test pipeline.EvaluateResult, exported record.Export,
) (*pipeline.Result, error) {
	under := layout.Models + "/" + r.Config.Name
	r.enter(ctx, pipeline.StagePublish, under)
	result, err := call[pipeline.Result](ctx, r, publish, "publish", under,
		pipeline.PublishInput{
			Run:      r.id,
			Name:     r.Config.Name,
			Branch:   r.Progress.Branch,
			Config:   r.config(),
			Backend:  r.Backend,
			Best:     *r.Progress.Best,
			Test:     test,
			TestedOn: r.testSplit(),
			History:  r.Progress.Epochs,
			Export:   exported,
			Dataset:  r.Dataset,
			Tokens:   r.Tokens,
			Faults:   r.Faults,
			Sources:  r.Sources,
			Warnings: r.Warnings,
			Approval: r.approvedBy(),

			Comparison: r.comparison,
		})
	if err != nil {
		return nil, err
	}
	return &result, nil
}

// push brings the published model to the hub where the config wants that. The run does not depend on it:
// the model is published already, and can be pushed later.
func (r *run) push(ctx workflow.Context, result *pipeline.Result) {
	to := r.Config.Publish.Push
	if to == "" {
		return
	}
	r.enter(ctx, pipeline.StagePush, to)
	pushed, err := call[pipeline.Pushed](ctx, r, push, "push", to, pipeline.PushInput{
		Run: r.id, Model: result.Model, To: to, Private: r.Config.Publish.Private,
	})
	if err != nil {
		pushed = pipeline.Pushed{To: to, Error: reason(err)}
		r.warn([]string{fmt.Sprintf("the model is published, but not pushed to %s: %s; distilvit push %s %s tries again",
			to, pushed.Error, r.id, to)})
	}
	result.Pushed = &pushed
}
