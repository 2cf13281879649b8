package pipeline

// Names that people and other programs type.
const (
	WorkflowType = "Pipeline"      // workflow type; its only argument is a Config
	JanitorType  = "Janitor"       // workflow type; its only argument is a JanitorInput
	TaskQueue    = "distilvit"     // workflows and every activity that needs no device
	DeviceQueue  = "distilvit-gpu" // sessions: epochs and evaluations

	StatusQuery = "status" // query and argument-less: answers a Status
)

// What people ask of an open run. Each is a signal, and an update of the same
// name that answers the Status or says why it is refused.
const (
	StopRequest   = "stop"   // argument Stop, or none: end training, then evaluate, export and publish the best
	PauseRequest  = "pause"  // leave a checkpoint, give the device back and wait
	ResumeRequest = "resume" // go on after a pause
	ExtendRequest = "extend" // argument Extend: train more epochs
)

// Stop says when training ends: with its epoch, or at once.
type Stop struct {
	Now bool `json:"now"` // leave a checkpoint and break the epoch off; refused before the first epoch is finished
}

// Extend asks for epochs beyond those the config, patience or a stop leaves. They
// are trained in a branch of their own from where training ended.
type Extend struct {
	Epochs       int     `json:"epochs"`
	LearningRate float64 `json:"learning_rate,omitempty"` // constant; 0: the last value so far
}

// Stage names, in order, as the status, the search attribute and the UI show them.
const (
	StagePreflight = "preflight"
	StageDownload  = "download"
	StagePrepare   = "prepare"
	StageTrain     = "train"
	StageEvaluate  = "evaluate"
	StageExport    = "export"
	StagePublish   = "publish"
	StageDone      = "done"
)

// Search attributes (keywords) every run sets.
const (
	SearchModel = "DistilvitModel"
	SearchStage = "DistilvitStage"
)

// Object names stored bytes in the bucket.
type Object struct {
	Key    string `json:"key"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // lower-case hex of the bytes
}

// Status is what the status query answers and the current details show.
type Status struct {
	Run       string        `json:"run"`
	Model     string        `json:"model"`
	Stage     string        `json:"stage"`
	Detail    string        `json:"detail"`          // one line: what is going on now
	Done      int64         `json:"done,omitempty"`  // units of the stage done ...
	Total     int64         `json:"total,omitempty"` // ... of so many; 0: not known
	Epoch     int           `json:"epoch"`           // epochs finished
	Epochs    int           `json:"epochs"`
	Step      int64         `json:"step"` // steps in the newest checkpoint
	TrainLoss float64       `json:"train_loss"`
	Best      *Best         `json:"best,omitempty"`
	History   []EpochRecord `json:"history,omitempty"`
	Warnings  []string      `json:"warnings,omitempty"`
	Result    *Result       `json:"result,omitempty"`
	Branch    int           `json:"branch"`
	Stopping  bool          `json:"stopping,omitempty"`
	Paused    bool          `json:"paused,omitempty"`
}

// EpochRecord is one finished epoch and its evaluation.
type EpochRecord struct {
	Epoch     int     `json:"epoch"` // 1-based
	Step      int64   `json:"step"`
	TrainLoss float64 `json:"train_loss"` // mean over the epoch's label tokens
	Seconds   float64 `json:"seconds"`
	Times     Times   `json:"times,omitzero"`
	Eval      Metrics `json:"eval"`
}

// Times says where the seconds of an epoch's step loop went: from the first batch
// to the last checkpoint on the trainer's disk, in the attempt that ended the epoch.
// All zero: not known.
type Times struct {
	Loop       float64 `json:"loop"`       // seconds, all of them
	CPU        float64 `json:"cpu"`        // seconds of user and system time of the trainer meanwhile
	Input      float64 `json:"input"`      // of Loop: the device waited for a batch
	Compile    float64 `json:"compile"`    // of Loop: first steps of their shape
	Checkpoint float64 `json:"checkpoint"` // of Loop: the steps stood still for checkpoints

	CompileCPU    float64 `json:"compile_cpu"`    // of CPU, as Compile
	CheckpointCPU float64 `json:"checkpoint_cpu"` // of CPU, as Checkpoint
}

// Waited is the share of the loop in which the device waited for a batch, 0 to 1.
func (t Times) Waited() float64 {
	if t.Loop <= 0 {
		return 0
	}
	return t.Input / t.Loop
}

// Best is the checkpoint with the highest eval_rougeL so far; ties to the earliest.
type Best struct {
	Epoch      int           `json:"epoch"`
	Checkpoint CheckpointRef `json:"checkpoint"`
	Eval       Metrics       `json:"eval"`
}

// Metrics of an evaluation. Rouge, Bleu and Cider values are × 100. Rouge: with
// several references the best per example, then the mean over examples; Bleu and
// Cider: see package metrics.
type Metrics struct {
	Loss             float64            `json:"eval_loss"` // mean over label tokens of all captions, end token included; with compat: seed over 128 a caption
	Rouge1           float64            `json:"eval_rouge1"`
	Rouge2           float64            `json:"eval_rouge2"`
	RougeL           float64            `json:"eval_rougeL"`
	RougeLsum        float64            `json:"eval_rougeLsum"`
	Bleu1            float64            `json:"eval_bleu1"`
	Bleu2            float64            `json:"eval_bleu2"`
	Bleu3            float64            `json:"eval_bleu3"`
	Bleu4            float64            `json:"eval_bleu4"`
	Cider            float64            `json:"eval_cider"`
	GenLen           float64            `json:"eval_gen_len"`     // mean tokens of generated captions, start and padding not counted, end token counted
	ExactMatch       float64            `json:"eval_exact_match"` // share × 100 of captions equal to one of their references
	Runtime          float64            `json:"eval_runtime"`     // seconds
	SamplesPerSecond float64            `json:"eval_samples_per_second"`
	Samples          int                `json:"eval_samples"`
	Groups           map[string]Metrics `json:"groups,omitempty"` // by Example.Group, where a dataset has groups
}

// Sample is one captioned picture of a report.
type Sample struct {
	ImageID    string   `json:"image_id"`
	Caption    string   `json:"caption"`
	References []string `json:"references"`
}

// CheckpointRef names a complete checkpoint.
type CheckpointRef struct {
	Manifest string `json:"manifest"` // key of its manifest.json
	Branch   int    `json:"branch"`
	Epoch    int    `json:"epoch"` // epochs finished
	Step     int64  `json:"step"`
}

// Every stage's input names the run and the parts of the config it needs.
// Results hold names of stored objects and small numbers only.

// PreflightInput is asked twice: of a worker of TaskQueue for everything but
// the backend, and of one of DeviceQueue (Device) for the backend alone, since
// the two may be different machines.
type PreflightInput struct {
	Run    string `json:"run"`
	Config Config `json:"config"`
	Device bool   `json:"device,omitempty"`
}
type PreflightResult struct {
	Config   Config   `json:"config"` // resolved and frozen: every default filled in
	Object   string   `json:"object"` // runs/<run>/config.json
	Backend  string   `json:"backend"`
	Warnings []string `json:"warnings,omitempty"`
}

type DownloadInput struct {
	Run    string       `json:"run"`
	Index  int          `json:"index"`
	Source SourceConfig `json:"source"`
}
type DownloadResult struct {
	Source SourceConfig `json:"source"`
	Digest string       `json:"digest"` // of the files' digests, or of the generator's parameters
	Files  []SourceFile `json:"files,omitempty"`
}
type SourceFile struct {
	Role   string `json:"role"` // captions, images or files
	Name   string `json:"name"`
	Object Object `json:"object"`
}

// PretrainedInput stores a directory in Hugging Face form, local or of the hub, or
// what an encoder's and a decoder's make together, under weights/<digest>/.
type PretrainedInput struct {
	Run       string `json:"run"`
	Weights   string `json:"weights"`
	Encoder   string `json:"encoder,omitempty"`
	Decoder   string `json:"decoder,omitempty"`
	Seed      uint64 `json:"seed,omitempty"` // of the weights between encoder and decoder
	Tokenizer string `json:"tokenizer"`
}

// ModelRef names a directory in Hugging Face form under weights/<digest>/:
// config.json, tokenizer files, preprocessor_config.json, generation_config.json
// and, unless the weights are drawn by seed, model.safetensors.
type ModelRef struct {
	Digest string            `json:"digest"`
	Files  map[string]Object `json:"files"`
}

type PlanInput struct {
	Run     string           `json:"run"`
	Sources []DownloadResult `json:"sources"`
	Model   ModelRef         `json:"model"` // preprocessor_config.json decides the pixels
	Image   int              `json:"image"` // side of the pictures, for models built from scratch
	Prepare PrepareConfig    `json:"prepare"`
	Seed    uint64           `json:"seed"`
	Dataset string           `json:"dataset,omitempty"` // datasets/<key> that the run has and lacks parts of now
}
type Plan struct {
	Dataset  string      `json:"dataset"` // datasets/<key>
	Reused   bool        `json:"reused"`  // manifest.json exists already: nothing to do
	Shards   []ShardTask `json:"shards,omitempty"`
	Examples int         `json:"examples"`
}
type ShardTask struct {
	Index  int    `json:"index"`
	Split  string `json:"split"`
	Source int    `json:"source,omitempty"` // as the shard's
	Work   Object `json:"work"`             // the shard's list of examples
	Rows   int    `json:"rows"`
	JPEG   string `json:"jpeg,omitempty"` // decoder of the whole dataset's JPEG files; empty: image/jpeg
}
type PrepareShardInput struct {
	Run     string           `json:"run"`
	Dataset string           `json:"dataset"`
	Task    ShardTask        `json:"task"`
	Sources []DownloadResult `json:"sources"`
	Model   ModelRef         `json:"model"`
	Image   int              `json:"image"`
	Prepare PrepareConfig    `json:"prepare"`
}
type Shard struct {
	Index  int    `json:"index"`
	Split  string `json:"split"`
	Source int    `json:"source,omitempty"` // index of the only source, where sources have weights
	Rows   int    `json:"rows"`
	Object Object `json:"object"`
}
type PrepareShardResult struct {
	Shard   Shard  `json:"shard"`
	Bad     int    `json:"bad"`             // examples left out
	BadList Object `json:"badList"`         // their ids and reasons; zero where Bad is 0
	Turned  int    `json:"turned"`          // pictures that carry an EXIF orientation
	JPEGs   int    `json:"jpegs,omitempty"` // pictures that were JPEG files
}
type FinishPrepareInput struct {
	Run     string               `json:"run"`
	Dataset string               `json:"dataset"`
	Shards  []PrepareShardResult `json:"shards"`
	Prepare PrepareConfig        `json:"prepare"`
	Weights []float64            `json:"weights,omitempty"` // by source; none: all 1
}
type Dataset struct {
	Manifest string         `json:"manifest"`          // datasets/<key>/manifest.json
	Rows     map[string]int `json:"rows"`              // by split
	Weights  []float64      `json:"weights,omitempty"` // as FinishPrepareInput's
	Seen     int            `json:"seen,omitempty"`    // training pictures an epoch shows by the weights; 0: each once
	Shards   int            `json:"shards"`
	Bytes    int64          `json:"bytes"`
	Bad      int            `json:"bad"`
	Warnings []string       `json:"warnings,omitempty"`
}

// BuildModelInput makes the run's model directory: sizes resolved, tokenizer
// trained on the training captions where none is given.
type BuildModelInput struct {
	Run        string      `json:"run"`
	Model      ModelConfig `json:"model"`
	Pretrained *ModelRef   `json:"pretrained,omitempty"`
	Dataset    Dataset     `json:"dataset"`
	Train      TrainConfig `json:"train"`
	MaxLength  int         `json:"maxLength"` // of generation
}

type TokenizeInput struct {
	Run       string   `json:"run"`
	Dataset   Dataset  `json:"dataset"`
	Model     ModelRef `json:"model"`
	MaxLength int      `json:"maxLength"`
	Compat    string   `json:"compat,omitempty"`
	First     int      `json:"first"` // shards first to last-1 of the dataset's manifest
	Last      int      `json:"last"`
}
type TokenizePlan struct {
	Tokens string `json:"tokens"` // tokens/<key>
	Reused bool   `json:"reused"`
}
type TokenizeResult struct {
	Shards []Shard `json:"shards"`
	Cut    int     `json:"cut"` // captions cut at max_length
}
type FinishTokensInput struct {
	Run    string  `json:"run"`
	Tokens string  `json:"tokens"`
	Shards []Shard `json:"shards"`
}
type Tokens struct {
	Manifest string `json:"manifest"` // tokens/<key>/manifest.json
}

// Work is what every device activity of a run needs to open its trainer.
type Work struct {
	Run     string      `json:"run"`
	Branch  int         `json:"branch"`
	Seed    uint64      `json:"seed"`
	Backend string      `json:"backend"`
	Model   ModelRef    `json:"model"`
	Dataset Dataset     `json:"dataset"`
	Tokens  Tokens      `json:"tokens"`
	Train   TrainConfig `json:"train"` // micro_batch_size is the run's present one

	Extension *Extension `json:"extension,omitempty"` // the one under way
}

// Extension is the epochs that follow the end of training. The schedule of the
// learning rate stays that of the config's epochs up to Step and is constant then.
type Extension struct {
	After        int     `json:"after"`                   // epochs finished when it began
	Epochs       int     `json:"epochs"`                  // how many more
	Step         int64   `json:"step"`                    // updates done when the rate became constant
	LearningRate float64 `json:"learning_rate,omitempty"` // 0: that of the update before Step
}

// EpochInput asks for one epoch. The activity goes on from the newest complete
// checkpoint of the branch, or from From where the branch has none yet.
type EpochInput struct {
	Work  Work           `json:"work"`
	Epoch int            `json:"epoch"`          // 0-based
	From  *CheckpointRef `json:"from,omitempty"` // start of the branch; nil: the initial weights
	Best  *CheckpointRef `json:"best,omitempty"` // never pruned, and neither is From
}
type EpochResult struct {
	Checkpoint CheckpointRef `json:"checkpoint"`
	Loss       float64       `json:"loss"`
	Seconds    float64       `json:"seconds"`
	Times      Times         `json:"times,omitzero"`
	Warnings   []string      `json:"warnings,omitempty"` // what of older checkpoints could not be read
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
	Run      string   `json:"run"`
	Progress Progress `json:"progress"`
}

// Progress is what a new execution of a run needs to go on with training: it is
// recorded after each evaluated epoch and whenever the branch is raised.
type Progress struct {
	Branch         int            `json:"branch"`           // 0: nothing is recorded
	Reseeds        int            `json:"reseeds"`          // rollbacks so far; each changes the order of examples and the dropout
	MicroBatchSize int            `json:"micro_batch_size"` // as lowered after OutOfMemory
	Epochs         []EpochRecord  `json:"epochs"`           // finished and evaluated
	Best           *Best          `json:"best,omitempty"`
	Last           *CheckpointRef `json:"last,omitempty"` // end of the last epoch in Epochs
	From           *CheckpointRef `json:"from,omitempty"` // start of the branch; nil: the initial weights
	Extension      *Extension     `json:"extension,omitempty"`
	Extends        []Extend       `json:"extends,omitempty"` // asked for, not begun

	Newest *CheckpointRef `json:"newest,omitempty"` // FindProgress only: newest complete checkpoint of the branch
}

type EvaluateInput struct {
	Work       Work           `json:"work"`
	Split      string         `json:"split"`
	Checkpoint CheckpointRef  `json:"checkpoint"`
	Evaluate   EvaluateConfig `json:"evaluate"`
}
type EvaluateResult struct {
	Metrics     Metrics  `json:"metrics"`
	Predictions Object   `json:"predictions"` // JSON lines: image_id, caption, token_ids, references, group
	Samples     []Sample `json:"samples,omitempty"`
}

type ExportInput struct {
	Work       Work          `json:"work"`
	Checkpoint CheckpointRef `json:"checkpoint"`
	Export     ExportConfig  `json:"export"`
	MaxLength  int           `json:"maxLength"`
}
type ExportResult struct {
	Files  map[string]Object `json:"files"` // by path in the model directory: onnx/…, model.safetensors, config.json …
	Checks []ExportCheck     `json:"checks"`
}

// ExportCheck is one export run in ONNX Runtime beside the Go model.
type ExportCheck struct {
	Dtype         string  `json:"dtype"`
	Pictures      int     `json:"pictures"`
	MaxLogitsDiff float64 `json:"max_logits_diff"` // fp32 only: teacher-forced on the model's own greedy ids
	EqualIDs      int     `json:"equal_ids"`       // pictures whose greedy ids all equal the model's
	RougeL        float64 `json:"rougeL"`
	ModelRougeL   float64 `json:"model_rougeL"`
	Bytes         int64   `json:"bytes"`
}

type PublishInput struct {
	Run      string           `json:"run"`
	Name     string           `json:"name"`
	Branch   int              `json:"branch"`
	Config   Config           `json:"config"`
	Best     Best             `json:"best"`
	Test     EvaluateResult   `json:"test"`
	TestedOn string           `json:"testedOn"` // test, or validation where there is no test set
	History  []EpochRecord    `json:"history"`
	Export   ExportResult     `json:"export"`
	Dataset  Dataset          `json:"dataset"`
	Sources  []DownloadResult `json:"sources"`
	Warnings []string         `json:"warnings,omitempty"`
}

// Result is what a finished run leaves; the workflow's result.
type Result struct {
	Run     string        `json:"run"`
	Model   string        `json:"model"`   // models/<name>/<version>
	Version string        `json:"version"` // <run>-b<branch>
	Epoch   int           `json:"epoch"`   // of the best checkpoint, 1-based
	Step    int64         `json:"step"`
	Eval    Metrics       `json:"eval"` // validation, best checkpoint
	Test    Metrics       `json:"test"`
	Checks  []ExportCheck `json:"checks"`
	Bytes   int64         `json:"bytes"`
}

// Heartbeat is the detail device activities report every 2 s.
type Heartbeat struct {
	Phase   string  `json:"phase"` // fetch, compile, train, evaluate, upload
	Epoch   int     `json:"epoch"`
	Step    int64   `json:"step"`
	Steps   int64   `json:"steps"` // of the whole training
	Loss    float64 `json:"loss"`
	Rate    float64 `json:"rate"`             // pictures a second
	Waited  float64 `json:"waited,omitempty"` // share of the epoch's time in which no batch was there, 0 to 1
	Done    int64   `json:"done"`
	Total   int64   `json:"total"`
	Message string  `json:"message,omitempty"`
}
