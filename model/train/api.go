package train

import (
	"errors"

	"github.com/gomlx/compute"

	"distilvit/dataset"
	"distilvit/model"
)

var errSoon = errors.New("not yet")

type Config struct {
	BatchSize          int     `json:"batch_size"`
	MicroBatchSize     int     `json:"micro_batch_size"`
	CaptionsPerPicture int     `json:"captions_per_picture"`
	MaxLength          int     `json:"max_length"`
	LearningRate       float64 `json:"learning_rate"`
	WeightDecay        float64 `json:"weight_decay"`
	Beta1              float64 `json:"beta1"`
	Beta2              float64 `json:"beta2"`
	Epsilon            float64 `json:"epsilon"`
	MaxGradNorm        float64 `json:"max_grad_norm"`
	Dropout            float64 `json:"dropout"`
	WarmupSteps        int64   `json:"warmup_steps"`
	TotalSteps         int64   `json:"total_steps"`
	Seed               uint64  `json:"seed"`

	Normalization model.Normalization `json:"normalization"`
}

type Trainer struct{}
type StepResult struct {
	Step         int64   `json:"step"`
	LossSum      float64 `json:"loss_sum"`
	Tokens       int64   `json:"tokens"`
	GradNorm     float64 `json:"grad_norm"`
	LearningRate float64 `json:"learning_rate"`
}
type DivergedError struct {
	Step int64
	IDs  []string
}

func (e *DivergedError) Error() string { return "diverged" }

type State struct {
	Step        int64             `json:"step"`
	Epoch       int               `json:"epoch"`
	EpochStep   int64             `json:"epoch_step"`
	LossSum     float64           `json:"loss_sum"`
	Tokens      int64             `json:"tokens"`
	Fingerprint map[string]string `json:"fingerprint"`
}

func New(be compute.Backend, mc *model.Config, w model.Weights, c Config) (*Trainer, error) {
	return nil, errSoon
}
func (t *Trainer) Step(b *dataset.Batch) (StepResult, error)     { return StepResult{}, errSoon }
func (t *Trainer) StepCount() int64                              { return 0 }
func (t *Trainer) Loss(b *dataset.Batch) (float64, int64, error) { return 0, 0, errSoon }
func (t *Trainer) Captioner() (*model.Captioner, error)          { return nil, errSoon }
func (t *Trainer) Weights() (model.Weights, error)               { return nil, errSoon }
func (t *Trainer) Save(dir string, st State) error               { return errSoon }
func (t *Trainer) Load(dir string) (State, error)                { return State{}, errSoon }
func (t *Trainer) Close()                                        {}
func ReadState(dir string) (State, error)                        { return State{}, errSoon }
