package pipeline

import (
	"time"

	"distilvit/artifact/record"
	"distilvit/storage/layout"
)

// Names that people and other programs type.
const (
	WorkflowType = "Pipeline"      // type of a run's workflow; its only argument is a Config
	SweepType    = "Sweep"         // type of the workflow that tries several configs; its only argument is a Sweep
	ShardsType   = "Shards"        // type of a run's children that prepare many shards; its only argument is a ShardsInput
	RetrainType  = "Retrain"       // type of a schedule's turns; its only argument is a Retrain
	JanitorType  = "Janitor"       // type of the workflow that cleans the store; its only argument is a JanitorInput
	TaskQueue    = "distilvit"     // queue of the workflows and of every activity that needs no device
	DeviceQueue  = "distilvit-gpu" // queue of sessions: epochs and evaluations
	// queue of executions that stand for runs whose history is lost; only distilvit recover serves it
	RecoverQueue = "distilvit-recover"
	// memo of such an execution: true
	RecoveredMemo = "recovered"

	StatusQuery = "status" // query without an argument: answers a Status, of a sweep a SweepStatus

	TrialSignal = "trial" // from a run to the sweep that it is a trial of; argument TrialTold

	ShardsSignal = "shards" // from a child of type ShardsType to its run; argument ShardsTold
	PausedSignal = "paused" // from a run to such a child; argument bool: whether it is
)

// What people ask of an open run. Each is a signal, and an update of the same
// name that answers the Status or says why it is refused.
const (
	StopRequest   = "stop"   // argument Stop, or none: end training, then publish the best checkpoint
	PauseRequest  = "pause"  // argument Pause, or none: leave a checkpoint, give the device back and wait
	ResumeRequest = "resume" // go on after a pause
	ExtendRequest = "extend" // argument Extend: train more epochs

	ApproveRequest = "approve" // argument Decision, or none: publish what the run has exported
	RejectRequest  = "reject"  // argument Decision, or none: end the run without publishing
)

// Stop says when training ends. The best epoch so far is evaluated, exported and
// published all the same.
type Stop struct {
	// Now breaks the epoch off and leaves a checkpoint; it is refused before the
	// first epoch is finished. False: training ends with the epoch under way.
	Now bool `json:"now"`
}

// Pause says when a run pauses.
type Pause struct {
	// AfterEpoch is the epoch, 1-based, at whose end, or at the next one's if it is over, the run pauses, unless that ends
	// its training; 0: now. The next pause that is asked for takes its place.
	AfterEpoch int `json:"after_epoch,omitempty"`
}

// Stage names, in order, as the status, the search attribute and the UI show them.
const (
	StagePreflight = "preflight" // checks of config, sources, storage and backend
	StageDownload  = "download"  // sources and given weights into the object store
	StagePrepare   = "prepare"   // shards of pictures, the model's directory, shards of tokens
	StageTrain     = "train"     // epochs, each with its validation
	StageEvaluate  = "evaluate"  // the best checkpoint on the test set
	StageExport    = "export"    // ONNX files, compared with the model
	StageApprove   = "approve"   // with publish.approve: waiting for somebody to decide
	StagePublish   = "publish"   // the model's directory under its name
	StagePush      = "push"      // with publish.push: the published model to the hub
	StageDone      = "done"      // the run's Result is there
	StageRejected  = "rejected"  // nothing is published; the run fails with the reason
)

// Search attributes (keywords) every run sets.
const (
	SearchModel = "DistilvitModel" // the config's name
	SearchStage = "DistilvitStage" // one of the stage names
)

// Status is how far a run is: the answer to the status query, and what the
// Temporal UI shows as current details.
type Status struct {
	Run       string               `json:"run"`             // the run's id, which is its workflow's
	Model     string               `json:"model"`           // the config's name
	Stage     string               `json:"stage"`           // one of the stage names
	Detail    string               `json:"detail"`          // one line: what is going on now
	Done      int64                `json:"done,omitempty"`  // parts of the stage done ...
	Total     int64                `json:"total,omitempty"` // ... of so many; 0: not known
	Epoch     int                  `json:"epoch"`           // epochs finished
	Epochs    int                  `json:"epochs"`          // epochs asked for, extensions included
	Step      int64                `json:"step"`            // steps in the newest checkpoint
	TrainLoss float64              `json:"train_loss"`      // of the last finished epoch
	Best      *record.Best         `json:"best,omitempty"`  // nil: no epoch is finished
	History   []record.EpochRecord `json:"history,omitempty"`
	Warnings  []string             `json:"warnings,omitempty"`
	Result    *Result              `json:"result,omitempty"`   // nil: not published yet
	Branch    int                  `json:"branch"`             // see CheckpointRef
	Stopping  bool                 `json:"stopping,omitempty"` // training ends with this epoch
	Paused    bool                 `json:"paused,omitempty"`   // waiting for a resume request
	Backend   string               `json:"backend,omitempty"`  // cuda, xla (CPU) or go; empty: not chosen yet

	Asked *Question `json:"asked,omitempty"` // nil: the run does not wait for approval

	Comparison *record.Comparison `json:"comparison,omitempty"` // by publish.better_than; nil: none is made, or not yet

	Pictures      map[string]int `json:"pictures,omitempty"`        // by split; nil: not prepared yet
	StepsPerEpoch int64          `json:"steps_per_epoch,omitempty"` // 0: not prepared yet
}

// Question is what somebody is to decide before a run publishes, and what by.
type Question struct {
	Approvers Paths                `json:"approvers,omitempty"` // publish.approvers
	Epoch     int                  `json:"epoch"`               // of the best checkpoint, 1-based
	Test      record.Metrics       `json:"test"`                // as Result's
	Checks    []record.ExportCheck `json:"checks"`
}

// Below, each activity's input and result. An input names the run and the parts
// of the config that the activity needs; a result holds names of stored objects
// and small numbers only. Run is the run's id, Config a resolved config.

// PreflightInput asks for what would fail a run later: of a worker of TaskQueue
// everything but the backend, and with Device of one of DeviceQueue the backend
// alone, since the two may be different machines.
type PreflightInput struct {
	Run    string `json:"run"`
	Config Config `json:"config"`
	Device bool   `json:"device,omitempty"`
}

// PreflightResult is the config that the run goes by from now on.
type PreflightResult struct {
	Config   Config   `json:"config"`  // resolved and frozen: every default filled in
	Object   string   `json:"object"`  // runs/<run>/config.json
	Backend  string   `json:"backend"` // cuda, xla or go; of Device only
	Warnings []string `json:"warnings,omitempty"`
}

// DownloadInput asks for one source's files in the object store.
type DownloadInput struct {
	Run    string       `json:"run"`
	Index  int          `json:"index"` // of the config's dataset list
	Source SourceConfig `json:"source"`
}

// DownloadResult is a source as stored.
type DownloadResult struct {
	Source SourceConfig `json:"source"`
	Digest string       `json:"digest"` // of the files' digests, or of what shapes are drawn by
	Files  []SourceFile `json:"files,omitempty"`

	FilesPage *record.Page `json:"files_page,omitempty"` // of thousands of files, the stored list of Files
}

// SourceFile is one stored file of a source.
type SourceFile struct {
	Role   string        `json:"role"` // captions, images or files: the config's key that named it
	Name   string        `json:"name"` // the file's own, by which its kind is known
	Object layout.Object `json:"object"`
}

// PretrainedInput asks for a directory in Hugging Face form under
// weights/<digest>/: a given one, local or of the hub, or what an encoder's and a
// decoder's make together. The result is a ModelRef.
type PretrainedInput struct {
	Run        string `json:"run"`
	Weights    string `json:"weights"` // as ModelConfig's, and so are the others
	Encoder    string `json:"encoder,omitempty"`
	Decoder    string `json:"decoder,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Projection string `json:"projection,omitempty"`
	Seed       uint64 `json:"seed,omitempty"` // of the weights that join encoder and decoder
	Tokenizer  string `json:"tokenizer"`
	Adapter    string `json:"adapter,omitempty"`

	FromLayers LayersConfig `json:"from_layers,omitzero"`

	Teacher bool `json:"teacher,omitempty"` // Weights are TrainConfig's Teacher

	ScaleFactor int `json:"scale_factor,omitempty"`
}

// PlanInput asks for the list of pictures, cut into shards.
type PlanInput struct {
	Run     string           `json:"run"`
	Sources []DownloadResult `json:"sources"`
	// its preprocessor_config.json decides the pixels; zero: Image does
	Model   record.ModelRef `json:"model"`
	Image   int             `json:"image"` // side of the pictures, pixels, for models built from scratch
	Prepare PrepareConfig   `json:"prepare"`
	Seed    uint64          `json:"seed"`

	// Dataset is the datasets/<key> that the run has had and that has lost parts:
	// what is made again gets the same key, so it is decoded in the same way.
	// Empty: the run's first plan.
	Dataset string `json:"dataset,omitempty"`
}

// Plan says which pictures go into which shards.
type Plan struct {
	Dataset  string      `json:"dataset"` // datasets/<key>
	Reused   bool        `json:"reused"`  // an earlier run has made it: nothing to do
	Shards   []ShardTask `json:"shards,omitempty"`
	Examples int         `json:"examples"` // pictures, of all shards
	Warnings []string    `json:"warnings,omitempty"`

	// Of what one history would not bear, the stored lists of ShardTask that Shards then lacks, and of the sources.
	Pages   []record.Page `json:"pages,omitempty"`
	Sources *record.Page  `json:"sources,omitempty"`
}

// ShardTask is one shard to be made.
type ShardTask struct {
	Index  int           `json:"index"`
	Split  string        `json:"split"`            // train, validation or test
	Source int           `json:"source,omitempty"` // as Shard's
	Work   layout.Object `json:"work"`             // the shard's list of examples
	Rows   int           `json:"rows"`             // pictures in the list
	// decoder of all the dataset's JPEG files; empty: image/jpeg
	JPEG string `json:"jpeg,omitempty"`
}

// PrepareShardInput asks for one shard of pictures and captions.
type PrepareShardInput struct {
	Run     string           `json:"run"`
	Dataset string           `json:"dataset"` // datasets/<key>
	Task    ShardTask        `json:"task"`
	Sources []DownloadResult `json:"sources"` // none where SourcesPage has them
	Model   record.ModelRef  `json:"model"`   // as PlanInput's, and so is Image
	Image   int              `json:"image"`
	Prepare PrepareConfig    `json:"prepare"`

	SourcesPage *record.Page `json:"sources_page,omitempty"` // as the plan's Sources
}

// PrepareShardResult is a shard and what was met on the way.
type PrepareShardResult struct {
	Shard   record.Shard  `json:"shard"`
	Bad     int           `json:"bad"`             // examples left out
	BadList layout.Object `json:"bad_list"`        // their ids and reasons; zero where Bad is 0
	Turned  int           `json:"turned"`          // pictures that carry an EXIF orientation
	JPEGs   int           `json:"jpegs,omitempty"` // pictures that were JPEG files
}

// FinishPrepareInput asks for the manifest of a dataset whose shards are stored.
// The result is a Dataset, or the error that too many pictures are bad.
type FinishPrepareInput struct {
	Run     string               `json:"run"`
	Dataset string               `json:"dataset"` // datasets/<key>
	Shards  []PrepareShardResult `json:"shards"`  // none where the plan says Reused
	Prepare PrepareConfig        `json:"prepare"`
	Weights []float64            `json:"weights,omitempty"` // by source; none: all 1
	Pages   []record.Page        `json:"pages,omitempty"`   // in the place of Shards, where the plan has pages
}

// Dataset names prepared pictures and captions.
type Dataset struct {
	Manifest string         `json:"manifest"`          // datasets/<key>/manifest.json
	Rows     map[string]int `json:"rows"`              // pictures by split
	Weights  []float64      `json:"weights,omitempty"` // as FinishPrepareInput's
	Seen     int            `json:"seen,omitempty"`    // training pictures an epoch shows; 0: each once
	Shards   int            `json:"shards"`
	Bytes    int64          `json:"bytes"` // of all shards
	Bad      int            `json:"bad"`   // examples left out
	Warnings []string       `json:"warnings,omitempty"`

	// PageShards is how many shards at most one history bears; 0: all of them.
	PageShards int `json:"page_shards,omitempty"`
}

// BuildModelInput asks for the run's model directory: sizes resolved, and a
// tokenizer trained on the training captions where none is given. The result is a
// BuiltModel.
type BuildModelInput struct {
	Run   string      `json:"run"`
	Model ModelConfig `json:"model"`
	// stored weights or tokenizer; nil: none is given
	Pretrained *record.ModelRef `json:"pretrained,omitempty"`
	Dataset    Dataset          `json:"dataset"`
	Train      TrainConfig      `json:"train"`
	// tokens a generated caption has at most, start token included; 0: as the captions need
	MaxLength int `json:"max_length"`

	Generate GenerateConfig `json:"generate,omitzero"`
}

// BuiltModel is a run's model directory, and the lengths that were chosen for it.
type BuiltModel struct {
	record.ModelRef
	Lengths  Lengths  `json:"lengths,omitzero"`
	Warnings []string `json:"warnings,omitempty"`
}

// Lengths are how many tokens captions have at most, as the config says or as the training captions need. Zero,
// of older programs: as the config says.
type Lengths struct {
	Train    int `json:"train"`    // label tokens, end token included
	Evaluate int `json:"evaluate"` // generated, start token included
}

// Over is a config with these lengths.
func (l Lengths) Over(c Config) Config {
	if l != (Lengths{}) {
		c.Train.MaxLength, c.Evaluate.MaxLength = l.Train, l.Evaluate
	}
	return c
}

// TokenizeInput asks for the labels of some shards' captions; its plan, for which
// First and Last mean nothing, is asked for with the same.
type TokenizeInput struct {
	Run       string          `json:"run"`
	Dataset   Dataset         `json:"dataset"`
	Model     record.ModelRef `json:"model"`      // its tokenizer
	MaxLength int             `json:"max_length"` // label tokens a caption has at most, end token included
	Compat    string          `json:"compat,omitempty"`
	First     int             `json:"first"` // shards First to Last-1 of the dataset's manifest
	Last      int             `json:"last"`
}

// TokenizePlan says whether there is something to tokenize.
type TokenizePlan struct {
	Tokens string `json:"tokens"`        // tokens/<key>
	Reused bool   `json:"reused"`        // an earlier run has made them: nothing to do
	Cut    int    `json:"cut,omitempty"` // captions cut in what is reused; 0 also where an older program made it
	// what is made again although it was made before
	Warnings []string `json:"warnings,omitempty"`
}

// TokenizeResult is the token shards of one call, in the dataset's order.
type TokenizeResult struct {
	Shards []record.Shard `json:"shards"`
	Cut    int            `json:"cut"` // captions cut at MaxLength
}

// FinishTokensInput asks for the manifest of token shards that are stored. The
// result is a Tokens.
type FinishTokensInput struct {
	Run    string         `json:"run"`
	Tokens string         `json:"tokens"`        // tokens/<key>
	Shards []record.Shard `json:"shards"`        // all, in the dataset's order; none where the plan says Reused
	Cut    int            `json:"cut,omitempty"` // captions that were cut; not with Pages
	// in the place of Shards, stored lists of TokenizeResult
	Pages []record.Page `json:"pages,omitempty"`
}

// ShardsInput is the argument of a workflow of type ShardsType: a share of a run's prepare or tokenize, of one of
// which it has what an activity is given.
type ShardsInput struct {
	Run   string       `json:"run"`
	Group string       `json:"group"` // datasets/<key> or tokens/<key>, below which results are stored
	Parts []ShardsPart `json:"parts"` // to be worked on, one an execution

	Prepare  *PrepareShardInput `json:"prepare,omitempty"`  // but for Task
	Tokenize *TokenizeInput     `json:"tokenize,omitempty"` // but for First and Last

	Open      int  `json:"open"`       // activities at once
	TellEvery int  `json:"tell_every"` // shards after which the run is told
	Paused    bool `json:"paused,omitempty"`

	// What executions before have made: pages of results, one a part, and results of the first part's begin.
	Made      []record.Page        `json:"made,omitempty"`
	Prepared  []PrepareShardResult `json:"prepared,omitempty"`
	Tokenized []TokenizeResult     `json:"tokenized,omitempty"`
	Untold    int                  `json:"untold,omitempty"` // shards that the run does not know of
}

// ShardsPart is shards First to Last-1 of a list.
type ShardsPart struct {
	First int          `json:"first"`
	Last  int          `json:"last"`
	Tasks *record.Page `json:"tasks,omitempty"` // of prepare, the stored list of their ShardTask
}

// ShardsTold is what a workflow of type ShardsType tells the run, by a signal of this name.
type ShardsTold struct {
	Done  int    `json:"done"`            // shards that are made since it was told the last time
	Waits string `json:"waits,omitempty"` // what it waits for
}

// ReadTasksInput asks for a stored list of ShardTask; the result is a ShardTasks.
type ReadTasksInput struct {
	Tasks record.Page `json:"tasks"`
}

// ShardTasks is a list of shards to be made.
type ShardTasks struct {
	Shards []ShardTask `json:"shards"`
}

// StorePageInput asks for a stored list of results, of either kind. The result is a record.Page.
type StorePageInput struct {
	Group     string               `json:"group"` // datasets/<key> or tokens/<key>
	Prepared  []PrepareShardResult `json:"prepared,omitempty"`
	Tokenized []TokenizeResult     `json:"tokenized,omitempty"`
}

// Tokens names the labels of a dataset's captions.
type Tokens struct {
	Manifest string `json:"manifest"`      // tokens/<key>/manifest.json
	Cut      int    `json:"cut,omitempty"` // captions that were cut; only of FinishTokensInput's Pages
}

// FeaturesInput asks which shards of a frozen encoder's features are to be made. The result is a DerivedPlan.
type FeaturesInput struct {
	Work Work   `json:"work"`
	Seed uint64 `json:"seed"` // the config's, of drawn views

	HeldOut *HeldOut `json:"held_out,omitempty"` // asks for these pictures'; nil: for the training pictures'
}

// HeldOut is the pictures that a run validates and tests on, all test pictures among them.
type HeldOut struct {
	Validation int `json:"validation,omitempty"` // pictures of the validation set that are needed, its first; 0: all
}

// DerivedPlan names shards that a device makes beside pictures' shards, and lists what is to be made of them.
type DerivedPlan struct {
	Group    string            `json:"features"`         // features/<key> or teacher/<key>
	Of       string            `json:"of"`               // as record.FeaturesManifest's, and so is Numerics
	Numerics map[string]string `json:"numerics"`         // of the worker that planned: the others must have the same
	Shards   []DerivedShard    `json:"shards,omitempty"` // none: an earlier run has made them
	Warnings []string          `json:"warnings,omitempty"`
}

// DerivedShard is a shard of pictures beside which one is to be made.
type DerivedShard struct {
	Pictures record.Shard `json:"pictures"`
	First    int          `json:"first"` // number of its first row, counted through all shards that are meant
}

// EncodeInput asks for the features of one shard. The result is a record.Shard.
type EncodeInput struct {
	Work     Work              `json:"work"`
	Features string            `json:"features"` // features/<key>
	Numerics map[string]string `json:"numerics"` // the plan's
	Shard    DerivedShard      `json:"shard"`
	Seed     uint64            `json:"seed"` // as FeaturesInput's
}

// FinishFeaturesInput asks for the manifest of features whose shards are stored. The result is a Features.
type FinishFeaturesInput struct {
	Work   Work           `json:"work"`
	Plan   DerivedPlan    `json:"plan"`
	Shards []record.Shard `json:"shards"` // that were made; none where the plan lists none
}

// Features names a frozen encoder's vectors of pictures. Zero: they are encoded at each step, or evaluation.
type Features struct {
	Manifest string `json:"manifest,omitempty"` // features/<key>/manifest.json
}

// TeacherInput asks which shards of what a teacher says are to be made. The result is a DerivedPlan.
type TeacherInput struct {
	Work Work   `json:"work"`
	Seed uint64 `json:"seed"` // the config's, of drawn views
}

// TeachInput asks a teacher of the captions of one shard. The result is a record.TaughtShard.
type TeachInput struct {
	Work     Work              `json:"work"`
	Teacher  string            `json:"teacher"`  // teacher/<key>
	Numerics map[string]string `json:"numerics"` // the plan's
	Shard    DerivedShard      `json:"shard"`
	Seed     uint64            `json:"seed"` // as TeacherInput's
}

// FinishTeacherInput asks for the manifest of what a teacher says, whose shards are stored. The result is a Teacher.
type FinishTeacherInput struct {
	Work   Work                 `json:"work"`
	Seed   uint64               `json:"seed"` // as TeacherInput's
	Plan   DerivedPlan          `json:"plan"`
	Shards []record.TaughtShard `json:"shards"` // that were made; none where the plan lists none
}

// Teacher is whom a run learns from, and what it says. Zero: the captions teach alone.
type Teacher struct {
	Model    record.ModelRef `json:"model,omitzero"`
	Manifest string          `json:"manifest,omitempty"` // teacher/<key>/manifest.json
}

// Work is what every device activity of a run needs to open its trainer.
type Work struct {
	Run     string          `json:"run"`
	Branch  int             `json:"branch"` // that is trained now, see CheckpointRef
	Seed    uint64          `json:"seed"`   // of the branch: the config's, and one more for each rollback
	Backend string          `json:"backend"`
	Model   record.ModelRef `json:"model"`
	Dataset Dataset         `json:"dataset"`
	Tokens  Tokens          `json:"tokens"`
	Train   TrainConfig     `json:"train"` // micro_batch_size is the run's present one

	Extension *record.Extension `json:"extension,omitempty"` // the one under way; nil: none

	Features Features `json:"features,omitzero"` // of the training pictures
	HeldOut  Features `json:"held_out,omitzero"` // of those that are evaluated
	Teacher  Teacher  `json:"teacher,omitzero"`
}

// EpochInput asks for one epoch, or with Until for a part of it. The activity goes on from the newest complete
// checkpoint of the branch, or from From where the branch has none yet.
type EpochInput struct {
	Work  Work                  `json:"work"`
	Epoch int                   `json:"epoch"`           // 0-based
	Until int64                 `json:"until,omitempty"` // ends after so many steps of the epoch; 0: after all
	From  *record.CheckpointRef `json:"from,omitempty"`  // start of the branch; nil: the initial weights
	Best  *record.CheckpointRef `json:"best,omitempty"`  // never pruned, and neither is From

	TensorBoard bool `json:"tensorboard,omitempty"` // as TrackConfig's: tell each step
}

// EpochResult is the checkpoint at an epoch's end, or where Until says.
type EpochResult struct {
	Checkpoint record.CheckpointRef `json:"checkpoint"`
	Loss       float64              `json:"loss"`    // mean over the epoch's label tokens so far
	Seconds    float64              `json:"seconds"` // of the activity
	Times      record.Times         `json:"times,omitzero"`
	Warnings   []string             `json:"warnings,omitempty"` // what of older checkpoints could not be read
}

// FindProgressInput asks how far a run is: its newest recorded Progress, and
// the newest complete checkpoint of the branch.
type FindProgressInput struct {
	Run    string `json:"run"`
	Branch int    `json:"branch"` // 0: that of the newest recorded progress, else 1
}

// RecordProgressInput stores Progress as runs/<run>/progress/<branch>-<epochs>.json,
// both numbers with leading zeros so that the last key is the newest.
type RecordProgressInput struct {
	Run      string          `json:"run"`
	Progress record.Progress `json:"progress"`
}

// EvaluateInput asks for the captions of a split's pictures and their scores.
type EvaluateInput struct {
	Work       Work                 `json:"work"`
	Split      string               `json:"split"`               // validation or test
	As         string               `json:"as,omitempty"`        // in the place of the split in the predictions' key
	Checkpoint record.CheckpointRef `json:"checkpoint"`          // zero: the weights of Work.Model
	Evaluate   EvaluateConfig       `json:"evaluate"`            // batch_size is the run's present one
	Baselines  bool                 `json:"baselines,omitempty"` // score what needs no model, too
}

// EvaluateResult is the scores, and where the captions are.
type EvaluateResult struct {
	Metrics record.Metrics `json:"metrics"`
	// JSON lines: image_id, caption, token_ids, references, group
	Predictions layout.Object   `json:"predictions"`
	Samples     []record.Sample `json:"samples,omitempty"`
	Warnings    []string        `json:"warnings,omitempty"`
}

// ExportInput asks for a checkpoint's ONNX files, each compared with the model.
type ExportInput struct {
	Work       Work                 `json:"work"`
	Checkpoint record.CheckpointRef `json:"checkpoint"`
	Export     ExportConfig         `json:"export"`
	MaxLength  int                  `json:"max_length"` // as BuildModelInput's

	// ModelConfig's Weights, which adapters are published for; "" without train.lora
	Base string `json:"base,omitempty"`
}

// PublishInput asks for the model's directory under its immutable name, with the
// card and the report. The result is the run's Result.
type PublishInput struct {
	Run      string               `json:"run"`
	Name     string               `json:"name"`   // the config's
	Branch   int                  `json:"branch"` // part of the version
	Config   Config               `json:"config"`
	Best     record.Best          `json:"best"`
	Test     EvaluateResult       `json:"test"`
	TestedOn string               `json:"tested_on"` // test, or validation where there is no test set
	History  []record.EpochRecord `json:"history"`
	Export   record.Export        `json:"export"`
	Dataset  Dataset              `json:"dataset"`
	Sources  []DownloadResult     `json:"sources"`
	Warnings []string             `json:"warnings,omitempty"`

	Approval *record.Decision `json:"approval,omitempty"` // nil: nobody was asked

	Comparison *record.Comparison `json:"comparison,omitempty"` // as Status's

	// Backend is that which computed: cuda, xla (CPU) or go. Empty: the input is
	// of an older program, which says what its config asks for.
	Backend string `json:"backend,omitempty"`

	Tokens Tokens         `json:"tokens,omitzero"`  // zero: of an older program
	Faults []record.Fault `json:"faults,omitempty"` // that the run survived
}

// Result is what a finished run leaves; the workflow's result.
type Result struct {
	Run     string               `json:"run"`
	Model   string               `json:"model"`        // models/<name>/<version>
	Version string               `json:"version"`      // <run>-b<branch>
	Epoch   int                  `json:"epoch"`        // of the best checkpoint, 1-based
	Step    int64                `json:"step"`         // steps done at that checkpoint
	By      string               `json:"by,omitempty"` // as record.Best's
	Eval    record.Metrics       `json:"eval"`         // validation, best checkpoint
	Test    record.Metrics       `json:"test"`         // test set, or validation where there is none
	Checks  []record.ExportCheck `json:"checks"`
	Pruning *record.Pruning      `json:"pruning,omitempty"` // nil: the vocabulary is whole
	Bytes   int64                `json:"bytes"`             // of all published files

	Pushed *Pushed `json:"pushed,omitempty"` // nil: publish.push is empty

	Comparison *record.Comparison `json:"comparison,omitempty"` // as Status's
}

// TrackInput asks that the programs of Config.Track know what the run has come to. The activity may fail: the next
// one tells what this one did not.
type TrackInput struct {
	Run      string          `json:"run"`
	Config   Config          `json:"config"`
	Progress record.Progress `json:"progress"`
	At       time.Time       `json:"at"`            // end of the last epoch's validation
	End      string          `json:"end,omitempty"` // "" while the run is open, or the type of an Event that ends it
}

// Types of events that notify.webhook is told of.
const (
	EventApproval  = "run.approval_asked"
	EventPublished = "run.published"
	EventRejected  = "run.rejected"
	EventFailed    = "run.failed"
)

// NotifyInput is an event for notify.webhook; the JSON that is sent is that of Event.
type NotifyInput struct {
	Notify NotifyConfig `json:"notify"`
	ID     string       `json:"id"` // the same whenever the event is told again
	Event  Event        `json:"event"`
}

// Event is what notify.webhook is told.
type Event struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      EventData `json:"data"`
}

// EventData is what happened to a run.
type EventData struct {
	Run       string         `json:"run"`
	Model     string         `json:"model"` // the config's name
	Text      string         `json:"text"`  // one line for people
	Approvers Paths          `json:"approvers,omitempty"`
	Test      *record.Scores `json:"test,omitempty"`   // of the best checkpoint, where it is tested
	Result    *Result        `json:"result,omitempty"` // of run.published
}

// PushInput asks for a published model in a repository of the Hugging Face hub. The result is a
// Pushed.
type PushInput struct {
	Run     string `json:"run"`
	Model   string `json:"model"` // models/<name>/<version>
	To      string `json:"to"`    // hf:ORG/NAME[@BRANCH]
	Private bool   `json:"private,omitempty"`
}

// Pushed is what became of a push.
type Pushed struct {
	To     string `json:"to"`               // hf:ORG/NAME[@BRANCH]
	Page   string `json:"page,omitempty"`   // where people look at it
	Commit string `json:"commit,omitempty"` // 40 hex digits
	Sent   int64  `json:"sent,omitempty"`   // bytes of large files that the hub did not have
	Error  string `json:"error,omitempty"`  // why it is not there
}

// Recovered is what the store tells of a run whose history is lost.
type Recovered struct {
	Stage    string  `json:"stage"`            // that it had come to
	Standing string  `json:"standing"`         // how far it is, for people
	Result   *Result `json:"result,omitempty"` // nil: it is not complete
}

// Heartbeat is the detail that an activity reports every 2 s: how far it is.
type Heartbeat struct {
	Phase   string  `json:"phase"` // what it does now, such as fetch, compile, train or upload
	Epoch   int     `json:"epoch"` // 1-based
	Step    int64   `json:"step"`
	Steps   int64   `json:"steps"`            // of the whole training
	Loss    float64 `json:"loss"`             // mean of the epoch so far, a label token
	Rate    float64 `json:"rate"`             // pictures a second
	Waited  float64 `json:"waited,omitempty"` // share of the epoch's time in which no batch was there, 0 to 1
	Done    int64   `json:"done"`             // parts of the phase done ...
	Total   int64   `json:"total"`            // ... of so many; 0: not known
	Message string  `json:"message,omitempty"`
}
