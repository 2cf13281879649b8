// Package trainer keeps the work that can abort its process, training and
// captioning with XLA, in a child process. Serve is the child's side, Pool and
// Process the parent's: start, watch, ask for a checkpoint, kill, and tell what
// a death was. Commands go to the child's descriptor 3 and events come from its
// descriptor 4, one JSON object a line; stdout and stderr stay logs. It knows
// local files only. Start reading here, then serve.go, then process.go.
package trainer

import (
	"encoding/json"
	"time"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/internal/backend"
	"distilvit/internal/transformersjs"
	"distilvit/model"
	"distilvit/model/train"
	"distilvit/storage/layout"
)

// Descriptors the child finds its pipes on.
const (
	CommandFD = 3 // commands come in
	EventFD   = 4 // events go out
)

// Commands a child understands. Shard, Checkpoint and Stop may come while Train
// runs; every other one waits for the done or error event of the one before.
const (
	DoOpen       = "open"       // load model and backend
	DoTrain      = "train"      // train an epoch
	DoEvaluate   = "evaluate"   // caption and score a split
	DoEncode     = "encode"     // write a frozen encoder's features of a shard
	DoTeach      = "teach"      // write what a teacher says of a shard's captions
	DoExport     = "export"     // write ONNX files and compare them
	DoCheckpoint = "checkpoint" // save one after this step, go on
	DoStop       = "stop"       // save one after this step, end the epoch early
	DoShard      = "shard"      // a shard's files are there
)

// Command is one line to the child: Do names it, the field of the same name
// holds its arguments.
type Command struct {
	Do       string        `json:"do"`
	Open     *OpenArgs     `json:"open,omitempty"`
	Train    *TrainArgs    `json:"train,omitempty"`
	Evaluate *EvaluateArgs `json:"evaluate,omitempty"`
	Export   *ExportArgs   `json:"export,omitempty"`
	Encode   *EncodeArgs   `json:"encode,omitempty"`
	Teach    *TeachArgs    `json:"teach,omitempty"`
	Shard    *ShardArgs    `json:"shard,omitempty"`

	arrivals *arrivals // of Train, in the child
}

// OpenArgs is everything a child keeps over its life. Two equal OpenArgs can
// share a warm process.
type OpenArgs struct {
	// config.json, preprocessor_config.json, tokenizer files, perhaps model.safetensors
	ModelDir string          `json:"model_dir"`
	Backend  backend.Choice  `json:"backend"`
	Seed     uint64          `json:"seed"` // of the initial weights where model_dir has none
	Train    train.Config    `json:"train"`
	Augment  dataset.Augment `json:"augment"`
}

// microBatch is the number of pictures of a forward and backward pass.
func (a OpenArgs) microBatch() int {
	if a.Train.MicroBatchSize == 0 {
		return a.Train.BatchSize
	}
	return a.Train.MicroBatchSize
}

// State names a complete state of weights and optimizer: Step updates done in
// Branch. A child that already holds the state loads nothing.
type State struct {
	Branch int    `json:"branch"`
	Step   int64  `json:"step"`
	Dir    string `json:"dir"` // local checkpoint directory; empty: the initial weights (step 0)
}

// TrainArgs is one epoch, or what is left of it after From. Shards whose files are
// not there yet have their names left out; each comes with a Shard command.
type TrainArgs struct {
	Epoch  int                 `json:"epoch"`           // 0-based
	Steps  int64               `json:"steps,omitempty"` // in the epoch, at most; 0: all that its pictures give
	Until  int64               `json:"until,omitempty"` // ends after so many steps of the epoch; 0: after all
	Branch int                 `json:"branch"`
	From   State               `json:"from"`
	Shards []dataset.ShardPair `json:"shards"`

	// what Shards have in place of pixels, see dataset.LoaderConfig; zero: nothing
	Features dataset.FeaturesFormat `json:"features,omitzero"`
	Teacher  dataset.TeacherFormat  `json:"teacher,omitzero"` // what they have of a teacher; zero: nothing

	// checkpoints become OutDir/<step>; belongs to one attempt
	OutDir            string `json:"out_dir"`
	CheckpointSteps   int    `json:"checkpoint_steps"`
	CheckpointSeconds int    `json:"checkpoint_seconds"`
}

// ShardArgs says where a shard of TrainArgs.Shards is.
type ShardArgs struct {
	Index int               `json:"index"`
	Pair  dataset.ShardPair `json:"pair"`
}

// EvaluateArgs captions and scores stored pictures with the weights of From.
type EvaluateArgs struct {
	From      State                 `json:"from"`
	Shards    []dataset.ShardPair   `json:"shards"`
	BatchSize int                   `json:"batch_size"`
	Generate  model.GenerateOptions `json:"generate"`
	Limit     int                   `json:"limit"` // pictures; 0: all
	Out       string                `json:"out"`   // JSON lines of metrics.Prediction
}

// ExportArgs writes and checks the published files. It needs no open: the
// network comes from ModelDir and the weights from Checkpoint.
type ExportArgs struct {
	ModelDir      string              `json:"model_dir"`
	Backend       backend.Choice      `json:"backend"`
	Checkpoint    string              `json:"checkpoint"`       // local checkpoint directory
	Frozen        string              `json:"frozen,omitempty"` // record.State's; ModelDir then has the weights, too
	LoRA          *Adapter            `json:"lora,omitempty"`   // of Checkpoint; nil: it has none
	OutDir        string              `json:"out_dir"`
	Dtypes        []string            `json:"dtypes"`
	Shards        []dataset.ShardPair `json:"shards"`   // pictures to check on
	Pictures      int                 `json:"pictures"` // 0: all
	MaxLength     int                 `json:"max_length"`
	MaxLogitsDiff float64             `json:"max_logits_diff"`
	MaxRougeDrop  float64             `json:"max_rouge_drop"`
	MinEqual      float64             `json:"min_equal"`
	ONNXRuntime   string              `json:"onnx_runtime"` // path of libonnxruntime.so
	Prune         *PruneArgs          `json:"prune,omitempty"`

	Calibrate       int                 `json:"calibrate,omitempty"`        // pictures that rounding goes by; 0: none
	CalibrateShards []dataset.ShardPair `json:"calibrate_shards,omitempty"` // that they and Damage's are of; nil: Shards

	Damage   int   `json:"damage,omitempty"`    // pictures that what rounding does to each layer is measured on; 0: it is not
	Mixed    bool  `json:"mixed,omitempty"`     // keep layers of q4 and q4f16 in 8 bits; needs Damage
	MaxBytes int64 `json:"max_bytes,omitempty"` // of a dtype's two files; 0: no bound

	// where pictures are written, as PNG, that each export captions without a doubt; empty: none are
	SureDir string `json:"sure_dir,omitempty"`
}

// Adapter is how a checkpoint's adapters are merged, and published in PEFT's form below AdapterDir of the export.
type Adapter struct {
	model.LoRA
	Base string `json:"base,omitempty"` // name of the weights they are for, such as ORG/NAME of the hub; "" if it has none
}

// AdapterDir is the folder of a published model that has its adapter.
const AdapterDir = "adapter"

// PruneArgs say what of the vocabulary an export keeps.
type PruneArgs struct {
	Counts map[int32]int64 `json:"counts"` // how often training captions have each token, by id
	Most   int             `json:"most"`   // tokens kept at most; 0: no bound
}

// Kinds of events.
const (
	EventReady      = "ready"      // open is done
	EventPhase      = "phase"      // what the child is about to do, for people and for the watchdog
	EventStep       = "step"       // training went on; at most a few a second
	EventProgress   = "progress"   // evaluation or export went on
	EventCheckpoint = "checkpoint" // a complete checkpoint directory stands in Checkpoint.Dir
	EventDone       = "done"       // the command's end
	EventError      = "error"      // the command's failure; the child exits after it
)

// Phases. Those that may take minutes without a sign of life have the long
// limit of the watchdog.
const (
	PhaseOpen       = "open"       // starts the backend
	PhaseLoad       = "load"       // reads weights or a checkpoint
	PhaseFetch      = "fetch"      // waits for shards
	PhaseCompile    = "compile"    // compiles a program for the device
	PhaseTrain      = "train"      // steps
	PhaseCheckpoint = "checkpoint" // writes a checkpoint
	PhaseEncode     = "encode"     // makes features of pictures
	PhaseTeach      = "teach"      // asks a teacher
	PhaseEvaluate   = "evaluate"   // captions pictures
	PhaseExport     = "export"     // writes and compares ONNX files
)

// Event is one line from the child.
type Event struct {
	Event string `json:"event"`

	Phase       string            `json:"phase,omitempty"`
	Fingerprint map[string]string `json:"fingerprint,omitempty"` // ready

	Step      *StepEvent  `json:"step,omitempty"`
	Done      int64       `json:"done,omitempty"` // progress: pictures of Total
	Total     int64       `json:"total,omitempty"`
	Message   string      `json:"message,omitempty"`
	Saved     *Checkpoint `json:"checkpoint,omitempty"`
	Trained   *Trained    `json:"trained,omitempty"`   // done of train
	Evaluated *Evaluated  `json:"evaluated,omitempty"` // done of evaluate
	Exported  *Exported   `json:"exported,omitempty"`  // done of export
	Encoded   *Encoded    `json:"encoded,omitempty"`   // done of encode
	Taught    *Taught     `json:"taught,omitempty"`    // done of teach
	Error     *Failure    `json:"error,omitempty"`
}

// StepEvent is the newest finished step.
type StepEvent struct {
	Epoch      int     `json:"epoch"`
	Step       int64   `json:"step"`        // of the whole training
	EpochStep  int64   `json:"epoch_step"`  // of the epoch, 1-based
	EpochSteps int64   `json:"epoch_steps"` // in the epoch
	Loss       float64 `json:"loss"`        // of this step, mean over its label tokens
	MeanLoss   float64 `json:"mean_loss"`   // of the epoch so far
	Seconds    float64 `json:"seconds"`     // this step took
	Rate       float64 `json:"rate"`        // pictures a second, a running mean
	// share of the time since the command that no batch was there, 0 to 1
	Waited float64 `json:"waited"`

	// steps of the epoch that no event has told of yet, those before the command first
	Records []StepRecord `json:"records"`
}

// Checkpoint is a directory as train.Trainer.Save leaves it, with metrics.jsonl
// (StepRecord lines of the epoch) beside. Files says what the trainer wrote, so
// that whoever reads it can tell whether it still stands there.
type Checkpoint struct {
	Dir   string                   `json:"dir"`
	State record.State             `json:"state"`
	Files map[string]layout.Object `json:"files"`
}

// StepRecord is a line of metrics.jsonl.
type StepRecord struct {
	Step         int64   `json:"step"`
	Loss         float64 `json:"loss"`
	Tokens       int64   `json:"tokens"`
	GradNorm     float64 `json:"grad_norm"`
	LearningRate float64 `json:"learning_rate"`
}

// Trained is the end of an epoch, or of a stop within it.
type Trained struct {
	Stopped bool         `json:"stopped"` // by DoStop, before the epoch's end
	Epoch   int          `json:"epoch"`   // epochs finished
	Step    int64        `json:"step"`
	Loss    float64      `json:"loss"` // mean over the epoch's label tokens so far
	Seconds float64      `json:"seconds"`
	Times   record.Times `json:"times"`
}

// Evaluated sums an evaluation up; the captions stand in EvaluateArgs.Out.
type Evaluated struct {
	Pictures int     `json:"pictures"`
	LossSum  float64 `json:"loss_sum"`
	Tokens   int64   `json:"tokens"`
	Seconds  float64 `json:"seconds"`
}

// Exported lists what stands in ExportArgs.OutDir, slash-separated.
type Exported struct {
	Files  []string             `json:"files"`
	Checks []record.ExportCheck `json:"checks"`

	Pruning     *record.Pruning     `json:"pruning,omitempty"`
	Calibration *record.Calibration `json:"calibration,omitempty"`
	Damage      []record.Damage     `json:"damage,omitempty"`

	Sure []transformersjs.Line `json:"sure,omitempty"` // by dtype, the pictures of SureDir
}

// Failure is an error on the wire. Type is one of the Err… kinds' names.
type Failure struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// eventInterval bounds how often steps are reported.
const eventInterval = 300 * time.Millisecond

func (e Event) String() string {
	b, _ := json.Marshal(e)
	return string(b)
}

// MicroBatchKey is the fingerprint's entry for the micro-batch, the one a new
// branch may change freely.
const MicroBatchKey = "micro_batch_size"
