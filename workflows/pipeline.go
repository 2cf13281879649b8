// Package workflows orchestrates a run: it says which activity comes when, what
// is retried how, and what people see meanwhile. It does no work itself: no
// input or output, no clock, no model. Start reading at Pipeline; policies.go
// holds every timeout and retry policy, device.go what happens when a device
// fails.
package workflows

import (
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"distilvit/pipeline"
)

// Register makes a worker run the workflows of this package.
func Register(r worker.WorkflowRegistry) {
	r.RegisterWorkflowWithOptions(Pipeline, workflow.RegisterOptions{Name: pipeline.WorkflowType})
	r.RegisterWorkflowWithOptions(Janitor, workflow.RegisterOptions{Name: pipeline.JanitorType})
}

// Pipeline is a run from a config to a published model. Its workflow id is the
// run's id. It is started with the config alone; only its own continuation as a
// new execution passes state, which is nil otherwise.
func Pipeline(ctx workflow.Context, cfg pipeline.Config, state *State) (*pipeline.Result, error) {
	r := &run{id: workflow.GetInfo(ctx).WorkflowExecution.ID, spent: spentIDs{}}
	if err := r.setup(ctx, cfg, state); err != nil {
		return nil, err
	}
	result, err := r.run(ctx)
	r.releaseDevice(ctx)
	return result, err
}

// State is what a run carries into its continuation as a new execution, at the
// boundary between two epochs.
type State struct {
	Config     pipeline.Config           `json:"config"` // resolved and frozen
	Backend    string                    `json:"backend"`
	Sources    []pipeline.DownloadResult `json:"sources"`
	Dataset    pipeline.Dataset          `json:"dataset"`
	Model      pipeline.ModelRef         `json:"model"`
	Tokens     pipeline.Tokens           `json:"tokens"`
	Progress   pipeline.Progress         `json:"progress"`
	Warnings   []string                  `json:"warnings"`
	Prepared   bool                      `json:"prepared"`    // everything above is filled in
	RolledBack bool                      `json:"rolled_back"` // after Diverged, which is done once
	Stopping   bool                      `json:"stopping"`
	Paused     bool                      `json:"paused,omitempty"`
	Pretrained *pipeline.ModelRef        `json:"pretrained,omitempty"` // given weights or tokenizer, as stored
	Mends      int                       `json:"mends,omitempty"`      // times that broken data was made again

	EvaluateBatch int `json:"evaluate_batch"` // as lowered after OutOfMemory; 0: the config's
}

// run is one execution of the workflow.
type run struct {
	id string
	State
	device   device
	spent    spentIDs        // of activities
	failures []string        // reasons since the newest checkpoint
	status   pipeline.Status // stage, detail, done and total; the rest is filled in by Status

	cancelJob   workflow.CancelFunc // of what goes on with a device or waits for one; nil: nothing does
	interrupted bool                // the job was cancelled on request
	breakOff    bool                // by a stop that does not wait for the epoch's end
}

func (r *run) setup(ctx workflow.Context, cfg pipeline.Config, state *State) error {
	if state != nil {
		r.State = *state
	} else if err := r.accept(cfg); err != nil {
		return err
	}
	return r.serveRequests(ctx)
}

// accept checks and resolves the config a person gave.
func (r *run) accept(cfg pipeline.Config) error {
	if err := pipeline.CheckRunID(r.id); err != nil {
		return invalid(err)
	}
	if err := cfg.Validate(); err != nil {
		return invalid(err)
	}
	r.Config = cfg.Resolve()
	if r.Config.Name == "" {
		r.Config.Name = r.id
	}
	return nil
}

func invalid(err error) error {
	return temporal.NewNonRetryableApplicationError(err.Error(), pipeline.InvalidInput, nil)
}

func (r *run) run(ctx workflow.Context) (*pipeline.Result, error) {
	if !r.Prepared {
		if err := r.preflight(ctx); err != nil {
			return nil, err
		}
		pretrained, err := r.download(ctx)
		if err != nil {
			return nil, err
		}
		if err := r.healing(ctx, nil, func() error { return r.prepare(ctx, pretrained) }); err != nil {
			return nil, err
		}
	}
	if err := r.train(ctx); err != nil {
		return nil, err
	}
	test, err := r.evaluateBest(ctx)
	if err != nil {
		return nil, err
	}
	r.releaseDevice(ctx)
	var result *pipeline.Result
	err = r.healing(ctx, &r.Progress.Best.Checkpoint, func() error {
		exported, err := r.export(ctx)
		if err == nil {
			result, err = r.publish(ctx, test, exported)
		}
		return err
	})
	return result, err
}
