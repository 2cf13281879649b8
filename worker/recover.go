package worker

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	sdk "go.temporal.io/sdk/worker"

	"distilvit/internal/retry"
	"distilvit/pipeline"
	"distilvit/workflows"
)

// LostRun is a run that Temporal does not know any more, as the store tells of it.
type LostRun struct {
	ID     string
	Config pipeline.Config // as the run froze it
	pipeline.Recovered
}

// Recover makes an execution for each lost run: it ends at once, completed or as one that can go on. A
// worker of a queue of its own takes them, so that no open run goes on meanwhile.
func Recover(ctx context.Context, o Options, runs []LostRun) error {
	o, err := o.withDefaults()
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := awaitSearchAttributes(ctx, o, retry.Pause); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	w := sdk.New(o.Client, pipeline.RecoverQueue, sdk.Options{DisableRegistrationAliasing: true})
	workflows.Register(w)
	if err := w.Start(); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	defer w.Stop()
	for _, run := range runs {
		if err := recoverRun(ctx, o.Client, run); err != nil {
			return fmt.Errorf("recover run %s: %w", run.ID, err)
		}
	}
	return nil
}

func recoverRun(ctx context.Context, c client.Client, run LostRun) error {
	execution, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       run.ID,
		TaskQueue:                pipeline.RecoverQueue,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
		Memo:                     map[string]any{pipeline.RecoveredMemo: true},
		StaticSummary:            "rebuilt from the object store",
	}, pipeline.WorkflowType, run.Config, &workflows.State{Recovered: &run.Recovered})
	if err != nil {
		return err
	}
	err = execution.Get(ctx, nil)
	var told *temporal.ApplicationError
	if errors.As(err, &told) && told.Type() == pipeline.RecoveredRun {
		return nil
	}
	return err
}
