package record

import "fmt"

// Progress is what a new execution of a run needs to go on with training: it is
// recorded after each evaluation and whenever a new branch begins.
type Progress struct {
	Branch         int            `json:"branch"`           // that is trained now; 0: nothing is recorded
	Reseeds        int            `json:"reseeds"`          // rollbacks so far; each makes another seed
	MicroBatchSize int            `json:"micro_batch_size"` // as lowered after OutOfMemory; 0: the config's
	Epochs         []EpochRecord  `json:"epochs"`           // evaluated: epochs, and with train.eval_steps parts of them
	Best           *Best          `json:"best,omitempty"`
	Last           *CheckpointRef `json:"last,omitempty"` // end of the last of Epochs
	From           *CheckpointRef `json:"from,omitempty"` // start of the branch; nil: the initial weights
	Extension      *Extension     `json:"extension,omitempty"`
	Extends        []Extend       `json:"extends,omitempty"` // asked for, not begun
	// what evaluate.words: auto took for the first evaluation, and for all since
	Words string `json:"words,omitempty"`

	// Newest is the branch's newest complete checkpoint: answered by
	// FindProgress, never recorded.
	Newest *CheckpointRef `json:"newest,omitempty"`
}

// EpochRecord is one finished epoch and its evaluation, or with train.eval_steps what of an epoch was trained up to
// an evaluation.
type EpochRecord struct {
	Epoch     int     `json:"epoch"`      // 1-based; finished, or under way
	Step      int64   `json:"step"`       // steps done at its end, of the whole training
	TrainLoss float64 `json:"train_loss"` // mean over the epoch's label tokens so far
	Seconds   float64 `json:"seconds"`    // from its activity's begin, without the evaluation
	Times     Times   `json:"times,omitzero"`
	Eval      Metrics `json:"eval"` // of the validation set, or of evaluate.limit pictures of it

	EpochStep int64 `json:"epoch_step,omitempty"` // steps done of Epoch; 0: it is finished
}

// Name says after what was evaluated: "epoch 2", or "step 400 in epoch 2".
func (e EpochRecord) Name() string { return evaluationName(e.Epoch, e.Step, e.EpochStep) }

func evaluationName(epoch int, step, epochStep int64) string {
	if epochStep == 0 {
		return fmt.Sprintf("epoch %d", epoch)
	}
	return fmt.Sprintf("step %d in epoch %d", step, epoch)
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

	Pictures  int64 `json:"pictures,omitempty"`   // that the loop's steps learned from; 0: not known
	PeakBytes int64 `json:"peak_bytes,omitempty"` // most resident memory of the trainer until then; 0: not known
}

// Rate is how many pictures a second the loop learned from, compiling and waiting included; 0: not known.
func (t Times) Rate() float64 {
	if t.Loop <= 0 {
		return 0
	}
	return float64(t.Pictures) / t.Loop
}

// Fault is a failure that a run has survived, and what was done about it.
type Fault struct {
	Type  string `json:"type"` // as docs/architecture.md lists them; empty: another error
	Done  string `json:"done"`
	Times int    `json:"times"`
}

// Waited is the share of the loop in which the device waited for a batch, 0 to 1.
func (t Times) Waited() float64 {
	if t.Loop <= 0 {
		return 0
	}
	return t.Input / t.Loop
}

// Best is the best checkpoint so far by train.metric_for_best_model; ties to the lowest eval_loss, then to the earliest.
type Best struct {
	Epoch      int           `json:"epoch"` // 1-based; finished, or under way as Checkpoint says
	Checkpoint CheckpointRef `json:"checkpoint"`
	Eval       Metrics       `json:"eval"` // of the checkpoint's validation

	// By is what it was chosen by: train.metric_for_best_model, or eval_loss while that says
	// nothing. Empty, of older programs: eval_rougeL.
	By string `json:"by,omitempty"`
}

// Name says after what the best checkpoint was evaluated, as EpochRecord's.
func (b Best) Name() string {
	return evaluationName(b.Epoch, b.Checkpoint.Step, b.Checkpoint.EpochStep)
}

// Is says that an evaluation is the best one's.
func (b Best) Is(e EpochRecord) bool {
	return b.Epoch == e.Epoch && b.Checkpoint.EpochStep == e.EpochStep
}

// Extension is the epochs that follow the end of training. The schedule of the
// learning rate stays that of the config's epochs up to Step and is constant then.
type Extension struct {
	After        int     `json:"after"`                   // epochs finished when it began; one under way counts
	Epochs       int     `json:"epochs"`                  // how many more
	Step         int64   `json:"step"`                    // updates done when the rate became constant
	LearningRate float64 `json:"learning_rate,omitempty"` // 0: that of the update before Step
}

// Extend asks for epochs after the end of training, whatever ended it: the
// config's number, patience or a stop. They are trained in a branch of their own.
type Extend struct {
	Epochs       int     `json:"epochs"`                  // how many; at least 1
	LearningRate float64 `json:"learning_rate,omitempty"` // constant; 0: the last value so far
}
