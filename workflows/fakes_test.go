package workflows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// world stands for everything activities touch: it stores progress and
// checkpoints as the real ones do, and fails as a test tells it to.
type world struct {
	mu sync.Mutex

	shards  int                               // of the prepared pictures
	page    int                               // shards of a page, of which children work on; 0: there are none
	reused  bool                              // datasets and tokens are there already
	scores  []float64                         // eval_rougeL by epoch; the last one holds on
	same    float64                           // eval_commonest
	base    *record.Baselines                 // where they are asked for
	rows    int                               // training pictures
	losses  []float64                         // eval_loss by epoch, as scores; none: 0
	byStep  map[int64]float64                 // eval_rougeL by step; then the run's own parts of epochs are trained
	rule    string                            // words that evaluations choose, with a note
	steps   int64                             // an epoch
	records []record.Progress                 // recorded progress, in order
	newest  map[int]record.CheckpointRef      // by branch
	fail    func(name string, call int) error // an activity's error; calls of a name count from 1
	during  func(name string, call int)       // runs in the middle of an activity
	signal  func(name string, argument any)   // to the run, where a real server has it

	calls  []string // names in order
	count  map[string]int
	epochs []pipeline.EpochInput
	evals  []pipeline.EvaluateInput
	events []pipeline.NotifyInput
	closed []pipeline.Work
	inputs map[string]any // newest input by name

	lost []string // manifests of checkpoints that DropBroken finds incomplete

	fixed map[string]float64 // eval_rougeL by EvaluateInput.As
}

func newWorld() *world {
	return &world{
		rows: 8000, shards: 3, scores: []float64{10, 20, 30}, steps: 100,
		newest: map[int]record.CheckpointRef{}, count: map[string]int{}, inputs: map[string]any{},
	}
}

// begin notes a call and answers how it fails.
func (w *world) begin(name string, input any) error {
	w.mu.Lock()
	w.calls = append(w.calls, name)
	w.count[name]++
	call := w.count[name]
	w.inputs[name] = input
	w.mu.Unlock()
	if w.during != nil {
		w.during(name, call)
	}
	if w.fail != nil {
		return w.fail(name, call)
	}
	return nil
}

func (w *world) Preflight(_ context.Context, in pipeline.PreflightInput) (pipeline.PreflightResult, error) {
	name := "Preflight"
	if in.Device {
		name = "PreflightDevice"
	}
	return pipeline.PreflightResult{
		Config: in.Config, Backend: "go", Object: "runs/" + in.Run + "/config.json",
	}, w.begin(name, in)
}

func (w *world) Download(_ context.Context, in pipeline.DownloadInput) (pipeline.DownloadResult, error) {
	return pipeline.DownloadResult{Source: in.Source, Digest: fmt.Sprint(in.Index)}, w.begin("Download", in)
}

func (w *world) StorePretrained(_ context.Context, in pipeline.PretrainedInput) (record.ModelRef, error) {
	return record.ModelRef{Digest: "given"}, w.begin("StorePretrained", in)
}

func (w *world) PlanPrepare(_ context.Context, in pipeline.PlanInput) (pipeline.Plan, error) {
	plan := pipeline.Plan{Dataset: "datasets/d", Reused: w.reused, Examples: w.shards * 10}
	for i := range w.shards {
		plan.Shards = append(plan.Shards, pipeline.ShardTask{Index: i, Split: "train", Rows: 10})
	}
	if w.page > 0 {
		for page := range slices.Chunk(plan.Shards, w.page) {
			key := fmt.Sprintf("datasets/d/%d.json", page[0].Index)
			plan.Pages = append(plan.Pages, record.Page{Object: layout.Object{Key: key}, Entries: len(page)})
		}
		plan.Shards, plan.Sources = nil, &record.Page{Entries: 1}
	}
	return plan, w.begin("PlanPrepare", in)
}

func (w *world) ReadTasks(_ context.Context, in pipeline.ReadTasksInput) (pipeline.ShardTasks, error) {
	var out pipeline.ShardTasks
	first := 0
	_, err := fmt.Sscanf(in.Tasks.Object.Key, "datasets/d/%d.json", &first)
	for i := range in.Tasks.Entries {
		out.Shards = append(out.Shards, pipeline.ShardTask{Index: first + i, Split: "train", Rows: 10})
	}
	return out, errors.Join(err, w.begin("ReadTasks", in))
}

func (w *world) StorePage(_ context.Context, in pipeline.StorePageInput) (record.Page, error) {
	first := 0
	if len(in.Prepared) > 0 {
		first = in.Prepared[0].Shard.Index
	} else {
		first = in.Tokenized[0].Shards[0].Index
	}
	return record.Page{Object: layout.Object{Key: fmt.Sprint(in.Group, "/", first)}, Entries: len(in.Prepared) +
		len(in.Tokenized)}, w.begin("StorePage", in)
}

func (w *world) PrepareShard(
	_ context.Context, in pipeline.PrepareShardInput,
) (pipeline.PrepareShardResult, error) {
	return pipeline.PrepareShardResult{Shard: record.Shard{Index: in.Task.Index, Rows: in.Task.Rows}},
		w.begin("PrepareShard", in)
}

func (w *world) FinishPrepare(_ context.Context, in pipeline.FinishPrepareInput) (pipeline.Dataset, error) {
	return pipeline.Dataset{
		Manifest: in.Dataset + "/manifest.json", Shards: w.shards, PageShards: w.page, Rows: map[string]int{
			"train": w.rows, "validation": 100, "test": 100,
		},
	}, w.begin("FinishPrepare", in)
}

func (w *world) BuildModel(_ context.Context, in pipeline.BuildModelInput) (record.ModelRef, error) {
	return record.ModelRef{Digest: "model"}, w.begin("BuildModel", in)
}

func (w *world) PlanTokenize(_ context.Context, in pipeline.TokenizeInput) (pipeline.TokenizePlan, error) {
	return pipeline.TokenizePlan{Tokens: "tokens/t", Reused: w.reused}, w.begin("PlanTokenize", in)
}

func (w *world) TokenizeShards(
	_ context.Context, in pipeline.TokenizeInput,
) (pipeline.TokenizeResult, error) {
	var result pipeline.TokenizeResult
	for i := in.First; i < in.Last; i++ {
		result.Shards = append(result.Shards, record.Shard{Index: i})
	}
	return result, w.begin("TokenizeShards", in)
}

func (w *world) FinishTokens(_ context.Context, in pipeline.FinishTokensInput) (pipeline.Tokens, error) {
	return pipeline.Tokens{Manifest: in.Tokens + "/manifest.json"}, w.begin("FinishTokens", in)
}

func (w *world) PlanFeatures(_ context.Context, in pipeline.FeaturesInput) (pipeline.DerivedPlan, error) {
	group := "features/f"
	if in.HeldOut != nil {
		group = "features/h"
	}
	return w.derived(group), w.begin("PlanFeatures", in)
}

func (w *world) derived(group string) pipeline.DerivedPlan {
	plan := pipeline.DerivedPlan{Group: group, Of: "o"}
	for i := range w.shards {
		if !w.reused {
			plan.Shards = append(plan.Shards, pipeline.DerivedShard{Pictures: record.Shard{Index: i, Rows: 10}, First: 10 * i})
		}
	}
	return plan
}

func (w *world) PlanTeacher(_ context.Context, in pipeline.TeacherInput) (pipeline.DerivedPlan, error) {
	return w.derived("teacher/t"), w.begin("PlanTeacher", in)
}

func (w *world) TeachShard(_ context.Context, in pipeline.TeachInput) (record.TaughtShard, error) {
	return record.TaughtShard{Shard: in.Shard.Pictures}, w.begin("TeachShard", in)
}

func (w *world) FinishTeacher(_ context.Context, in pipeline.FinishTeacherInput) (pipeline.Teacher, error) {
	return pipeline.Teacher{Model: in.Work.Teacher.Model, Manifest: in.Plan.Group + "/manifest.json"}, w.begin("FinishTeacher", in)
}

func (w *world) EncodeShard(_ context.Context, in pipeline.EncodeInput) (record.Shard, error) {
	return in.Shard.Pictures, w.begin("EncodeShard", in)
}

func (w *world) FinishFeatures(_ context.Context, in pipeline.FinishFeaturesInput) (pipeline.Features, error) {
	return pipeline.Features{Manifest: in.Plan.Group + "/manifest.json"}, w.begin("FinishFeatures", in)
}

func (w *world) FindProgress(_ context.Context, in pipeline.FindProgressInput) (record.Progress, error) {
	err := w.begin("FindProgress", in)
	w.mu.Lock()
	defer w.mu.Unlock()
	var found record.Progress
	if len(w.records) > 0 {
		found = w.records[len(w.records)-1]
	}
	branch := max(in.Branch, found.Branch, 1)
	if in.Branch > 0 {
		branch = in.Branch
	}
	if newest, ok := w.newest[branch]; ok {
		found.Newest = &newest
	}
	return found, err
}

func (w *world) RecordProgress(_ context.Context, in pipeline.RecordProgressInput) error {
	err := w.begin("RecordProgress", in)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, in.Progress)
	return err
}

func (w *world) TrainEpoch(_ context.Context, in pipeline.EpochInput) (pipeline.EpochResult, error) {
	w.mu.Lock()
	w.epochs = append(w.epochs, in)
	w.mu.Unlock()
	if err := w.begin("TrainEpoch", in); err != nil {
		return pipeline.EpochResult{}, err
	}
	if w.byStep != nil {
		return pipeline.EpochResult{Checkpoint: w.part(in), Seconds: 60}, nil
	}
	return pipeline.EpochResult{
		Checkpoint: w.checkpoint(in.Work.Branch, in.Epoch+1, int64(in.Epoch+1)*w.steps),
		Loss:       5 / float64(in.Epoch+1), Seconds: 60,
	}, nil
}

// part is the end of what is trained by steps: 250 an epoch, but as many as train.max_steps says.
func (w *world) part(in pipeline.EpochInput) record.CheckpointRef {
	steps, most := int64(250), int64(in.Work.Train.MaxSteps)
	begun := int64(in.Epoch) * steps
	if e := in.Work.Extension; e != nil && in.Epoch >= e.After {
		begun = e.Step + int64(in.Epoch-e.After)*steps
	} else if most > 0 {
		steps = min(steps, most-begun)
	}
	if in.Until == 0 {
		return w.checkpoint(in.Work.Branch, in.Epoch+1, begun+steps)
	}
	c := w.checkpoint(in.Work.Branch, in.Epoch, begun+in.Until)
	c.EpochStep = in.Until
	return c
}

// checkpoint completes one in the store.
func (w *world) checkpoint(branch, epoch int, step int64) record.CheckpointRef {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := record.CheckpointRef{
		Manifest: fmt.Sprintf("runs/r/checkpoints/%d/%d/manifest.json", branch, step), Branch: branch,
		Epoch: epoch, Step: step,
	}
	w.newest[branch] = c
	return c
}

func (w *world) Evaluate(_ context.Context, in pipeline.EvaluateInput) (pipeline.EvaluateResult, error) {
	w.mu.Lock()
	w.evals = append(w.evals, in)
	w.mu.Unlock()
	at := func(values []float64) float64 { return values[min(max(in.Checkpoint.Epoch, 1), len(values))-1] }
	out := pipeline.EvaluateResult{
		Metrics: record.Metrics{Scores: record.Scores{RougeL: at(w.scores), Samples: 100}},
	}
	if w.byStep != nil {
		out.Metrics.RougeL = w.byStep[in.Checkpoint.Step]
	}
	if score, ok := w.fixed[in.As]; ok {
		out.Metrics.RougeL = score
	}
	out.Metrics.Commonest = w.same
	if in.Baselines {
		out.Metrics.Baselines = w.base
	}
	if len(w.losses) > 0 {
		out.Metrics.Loss = at(w.losses)
	}
	if out.Metrics.Words = in.Evaluate.Words; out.Metrics.Words == "" && w.rule != "" {
		out.Metrics.Words, out.Warnings = w.rule, []string{"scored on words of " + w.rule}
	}
	return out, w.begin("Evaluate", in)
}

func (w *world) CloseTrainer(_ context.Context, in pipeline.Work) error {
	w.mu.Lock()
	w.closed = append(w.closed, in)
	w.mu.Unlock()
	return w.begin("CloseTrainer", in)
}

func (w *world) Export(_ context.Context, in pipeline.ExportInput) (record.Export, error) {
	return record.Export{Checks: []record.ExportCheck{{Dtype: "q8", Pictures: 100}}},
		w.begin("Export", in)
}

func (w *world) Publish(_ context.Context, in pipeline.PublishInput) (pipeline.Result, error) {
	return pipeline.Result{
		Run: in.Run, Model: "models/" + in.Name + "/" + in.Run, Epoch: in.Best.Epoch,
		Step: in.Best.Checkpoint.Step, Eval: in.Best.Eval, Test: in.Test.Metrics,
		Comparison: in.Comparison,
	}, w.begin("Publish", in)
}

func (w *world) Push(_ context.Context, in pipeline.PushInput) (pipeline.Pushed, error) {
	return pipeline.Pushed{To: in.To, Page: "https://hub/page", Commit: "c"}, w.begin("Push", in)
}

func (w *world) Track(_ context.Context, in pipeline.TrackInput) error { return w.begin("Track", in) }

func (w *world) Notify(_ context.Context, in pipeline.NotifyInput) error {
	w.mu.Lock()
	w.events = append(w.events, in)
	w.mu.Unlock()
	return w.begin("Notify", in)
}

func (w *world) DropBroken(
	_ context.Context, in pipeline.DropBrokenInput,
) (pipeline.DropBrokenResult, error) {
	return pipeline.DropBrokenResult{Dropped: in.Keys, Checkpoints: w.lost}, w.begin("DropBroken", in)
}

// register puts the activities into a worker or a test environment, under the
// names the real ones have.
func (w *world) register(registry interface {
	RegisterActivityWithOptions(any, activity.RegisterOptions)
}) {
	for name, do := range map[string]any{
		"Preflight": w.Preflight, "Download": w.Download, "StorePretrained": w.StorePretrained,
		"PlanPrepare": w.PlanPrepare, "PrepareShard": w.PrepareShard, "ReadTasks": w.ReadTasks, "StorePage": w.StorePage,
		"FinishPrepare": w.FinishPrepare, "BuildModel": w.BuildModel, "PlanTokenize": w.PlanTokenize,
		"TokenizeShards": w.TokenizeShards,
		"FinishTokens":   w.FinishTokens, "PlanFeatures": w.PlanFeatures, "EncodeShard": w.EncodeShard,
		"PlanTeacher": w.PlanTeacher, "TeachShard": w.TeachShard, "FinishTeacher": w.FinishTeacher,
		"FinishFeatures": w.FinishFeatures, "FindProgress": w.FindProgress, "RecordProgress": w.RecordProgress,
		"TrainEpoch": w.TrainEpoch,
		"Evaluate":   w.Evaluate, "CloseTrainer": w.CloseTrainer, "Export": w.Export, "Publish": w.Publish,
		"DropBroken": w.DropBroken, "Push": w.Push,
		"Track": w.Track, "Notify": w.Notify,
	} {
		registry.RegisterActivityWithOptions(do, activity.RegisterOptions{Name: name})
	}
}

// the calls without those of names, as one string.
func (w *world) without(names ...string) string {
	return strings.Join(slices.DeleteFunc(
		slices.Clone(w.calls), func(name string) bool { return slices.Contains(names, name) },
	), " ")
}

// typed is an activity's error as the real ones give it.
func typed(kind string, message string) error { return temporal.NewApplicationError(message, kind) }

// config of a run of three epochs without early stopping.
func config(t *testing.T, set ...string) pipeline.Config {
	t.Helper()
	c, err := pipeline.Decode(
		[]byte("dataset: [{kind: shapes}]\nmodel: {preset: tiny}\ntrain: {epochs: 3, patience: 0}\n"), set...,
	)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// environment is a Temporal with one device and a clock that skips waiting.
func environment(t *testing.T, w *world) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	env := new(testsuite.WorkflowTestSuite).NewTestWorkflowEnvironment()
	env.SetWorkerOptions(worker.Options{EnableSessionWorker: true, MaxConcurrentSessionExecutionSize: 1})
	env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: "r"})
	Register(env)
	w.register(env)
	return env
}

// start runs a whole run.
func start(t *testing.T, w *world, cfg pipeline.Config) (*pipeline.Result, error) {
	t.Helper()
	env := environment(t, w)
	env.ExecuteWorkflow(pipeline.WorkflowType, cfg)
	return outcome(t, env)
}

func outcome(t *testing.T, env *testsuite.TestWorkflowEnvironment) (*pipeline.Result, error) {
	t.Helper()
	if !env.IsWorkflowCompleted() {
		t.Fatal("the workflow has not ended")
	}
	if err := env.GetWorkflowError(); err != nil {
		return nil, err
	}
	var result pipeline.Result
	if err := env.GetWorkflowResult(&result); err != nil {
		t.Fatal(err)
	}
	return &result, nil
}

// unpack gives the arguments of a continuation.
func unpack(again *workflow.ContinueAsNewError, into ...any) error {
	return converter.GetDefaultDataConverter().FromPayloads(again.Input, into...)
}
