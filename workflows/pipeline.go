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

	"distilvit/artifact/record"
	"distilvit/pipeline"
)

// Register makes a worker run the workflows of this package.
func Register(r worker.WorkflowRegistry) {
	r.RegisterWorkflowWithOptions(Pipeline, workflow.RegisterOptions{Name: pipeline.WorkflowType})
	r.RegisterWorkflowWithOptions(Sweep, workflow.RegisterOptions{Name: pipeline.SweepType})
	r.RegisterWorkflowWithOptions(Shards, workflow.RegisterOptions{Name: pipeline.ShardsType})
	r.RegisterWorkflowWithOptions(Retrain, workflow.RegisterOptions{Name: pipeline.RetrainType})
	r.RegisterWorkflowWithOptions(Janitor, workflow.RegisterOptions{Name: pipeline.JanitorType})
}

// Pipeline is a run from a config to a published model. Its workflow id is the run's
// id. Whoever starts it gives the config alone; a state comes only from the run's own
// execution before (see State), or from distilvit recover.
func Pipeline(ctx workflow.Context, cfg pipeline.Config, state *State) (*pipeline.Result, error) {
	if state != nil && state.Recovered != nil {
		return recovered(ctx, cfg, *state.Recovered)
	}
	r := &run{id: workflow.GetInfo(ctx).WorkflowExecution.ID, spent: spentIDs{}}
	if err := r.setup(ctx, cfg, state); err != nil {
		return nil, err
	}
	result, err := r.run(ctx)
	r.ended = err != nil && !workflow.IsContinueAsNewError(err)
	r.releaseDevice(ctx)
	r.tellEnd(ctx, result, err)
	return result, err
}

// State is what a run knows. Between two epochs it may go on as a new execution, so
// that no history grows too long; the state is the new execution's second argument.
type State struct {
	Config     pipeline.Config           `json:"config"` // resolved and frozen
	Backend    string                    `json:"backend"`
	Sources    []pipeline.DownloadResult `json:"sources"`
	Dataset    pipeline.Dataset          `json:"dataset"`
	Model      record.ModelRef           `json:"model"`
	Tokens     pipeline.Tokens           `json:"tokens"`
	Progress   record.Progress           `json:"progress"`
	Warnings   []string                  `json:"warnings"`
	Prepared   bool                      `json:"prepared"`    // preflight, download and prepare are done
	RolledBack bool                      `json:"rolled_back"` // after Diverged, which is forgiven once
	Stopping   bool                      `json:"stopping"`    // training ends with the epoch under way
	Paused     bool                      `json:"paused,omitempty"`
	PauseAfter int                       `json:"pause_after,omitempty"` // epoch at whose end it pauses; 0: none

	Pretrained *record.ModelRef `json:"pretrained,omitempty"` // given weights or tokenizer; nil: none
	Mends      int              `json:"mends,omitempty"`      // times that broken data was made again

	Lengths pipeline.Lengths `json:"lengths,omitzero"` // of captions, as fitted to them

	EvaluateBatch int `json:"evaluate_batch"` // pictures, as lowered after OutOfMemory; 0: the config's

	Faults []record.Fault `json:"faults,omitempty"` // that were survived

	Features pipeline.Features `json:"features,omitzero"` // with train.features
	HeldOut  pipeline.Features `json:"held_out,omitzero"` // of the pictures that are evaluated, with train.features
	Teacher  pipeline.Teacher  `json:"teacher,omitzero"`  // with train.teacher

	Recovered *pipeline.Recovered `json:"recovered,omitempty"` // the execution does nothing but to tell this
}

// run is one execution of the workflow: its state, and what lives no longer than it.
type run struct {
	id string
	State
	device   device
	spent    spentIDs
	failures []string        // reasons since the newest checkpoint
	wrong    int             // workers in a row that lack what the run needs
	status   pipeline.Status // stage, detail, done and total; the rest is filled in by Status

	cancelJob   workflow.CancelFunc // ends what uses a device or waits for one; nil: nothing does
	interrupted bool                // cancelJob was called because a person asked
	breakOff    bool                // a stop was asked for that does not wait for the epoch's end
	ended       bool                // the run has failed: it only tells so

	asked   *pipeline.Question // nil: the run does not wait for approval
	verdict *verdict           // nil: there is none yet

	comparison *record.Comparison // with publish.better_than; nil: not made yet
}

func (r *run) setup(ctx workflow.Context, cfg pipeline.Config, state *State) error {
	if state != nil {
		r.State = *state
	} else if err := r.accept(cfg); err != nil {
		return err
	}
	r.hearShards(ctx)
	return r.serveRequests(ctx)
}

// config is the run's, with the lengths of captions that were fitted to them.
func (r *run) config() pipeline.Config { return r.Lengths.Over(r.Config) }

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
		r.tellSweep(ctx, pipeline.TrialTold{})
	}
	if err := r.train(ctx); err != nil {
		return nil, err
	}
	test, err := r.evaluateBest(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.compare(ctx); err != nil {
		return nil, err
	}
	r.releaseDevice(ctx)
	var result *pipeline.Result
	err = r.healing(ctx, &r.Progress.Best.Checkpoint, func() error {
		exported, err := r.export(ctx)
		if err == nil {
			err = r.approval(ctx, test, exported)
		}
		if err == nil {
			result, err = r.publish(ctx, test, exported)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r.push(ctx, result)
	r.status.Result = result
	r.enter(ctx, pipeline.StageDone, "published "+result.Model)
	return result, nil
}
