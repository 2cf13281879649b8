package workflows

import (
	"strings"

	"go.temporal.io/sdk/workflow"

	"distilvit/pipeline"
)

// export writes the best checkpoint as ONNX and checks it against the model.
func (r *run) export(ctx workflow.Context) (pipeline.ExportResult, error) {
	dtypes := strings.Join(r.Config.Export.Dtypes, ", ")
	r.enter(ctx, pipeline.StageExport, "ONNX "+dtypes+", run beside the model")
	return call[pipeline.ExportResult](ctx, r, export, "export", "ONNX "+dtypes, pipeline.ExportInput{
		Work: r.work(), Checkpoint: r.Progress.Best.Checkpoint, Export: r.Config.Export, MaxLength: r.Config.Evaluate.MaxLength,
	})
}

// publish makes the model directory visible under its immutable name.
func (r *run) publish(ctx workflow.Context, test pipeline.EvaluateResult, exported pipeline.ExportResult) (*pipeline.Result, error) {
	r.enter(ctx, pipeline.StagePublish, "models/"+r.Config.Name)
	result, err := call[pipeline.Result](ctx, r, publish, "publish", "models/"+r.Config.Name, pipeline.PublishInput{
		Run:      r.id,
		Name:     r.Config.Name,
		Branch:   r.Progress.Branch,
		Config:   r.Config,
		Best:     *r.Progress.Best,
		Test:     test,
		TestedOn: r.testSplit(),
		History:  r.Progress.Epochs,
		Export:   exported,
		Dataset:  r.Dataset,
		Sources:  r.Sources,
		Warnings: r.Warnings,
	})
	if err != nil {
		return nil, err
	}
	r.status.Result = &result
	r.enter(ctx, pipeline.StageDone, "published "+result.Model)
	return &result, nil
}
