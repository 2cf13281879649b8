package train

import (
	"errors"
	"fmt"
	"math"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"distilvit/dataset"
	"distilvit/internal/device"
)

// Teacher is how a student learns from a teacher's distribution beside its captions, as Hinton, Vinyals and Dean do
// (2015, "Distilling the Knowledge in a Neural Network") and, with its alpha_ce and alpha_clm for Weight and 1 - Weight,
// the script that made DistilBERT and DistilGPT2. The loss of a label token is
//
//	Weight · T² · KL(p ‖ q) + (1 - Weight) · cross-entropy
//	p = softmax(teacher's logits / T), q = softmax(student's logits / T)
//
// where both are of the tokens that are stored of the teacher, its likeliest, and of all others together as one. Without
// these others, with p made to sum to 1 over the stored tokens, no student would be near enough: each is told to
// give the others nothing, also where it is its teacher, and at T above 1 these have much (docs/training.md).
type Teacher struct {
	Weight      float64 `json:"weight"`      // above 0, at most 1
	Temperature float64 `json:"temperature"` // T, above 0
}

func (t *Teacher) validate(check func(ok bool, format string, args ...any)) {
	if t == nil {
		return
	}
	check(t.Weight > 0 && t.Weight <= 1, "teacher's weight is %g; must be above 0 and at most 1", t.Weight)
	check(t.Temperature > 0 && !math.IsInf(t.Temperature, 0), "teacher's temperature is %g; must be above 0", t.Temperature)
}

// sum is what the student loses by not being the teacher, over label tokens: logits [R, T, V], labels [R, T], the
// teacher's tokens [R, T, k] and their log-probabilities and, as the last, that of the others [R, T, k+1] → scalar
func (t *Teacher) sum(logits, labels, tokens, logProbs *Node) *Node {
	g, k, vocab := logits.Graph(), tokens.Shape().Dim(2), logits.Shape().Dim(2)
	places := tokens.Shape().Size() / k
	index := InsertAxes(Reshape(tokens, places, k), -1)              // [R·T, k, 1]
	at := Concatenate([]*Node{Iota(g, index.Shape(), 0), index}, -1) // [R·T, k, 2]
	z := MulScalar(Reshape(logits, places, vocab), 1/t.Temperature)  // [R·T, V]
	z = Sub(z, StopGradient(ReduceAndKeep(z, ReduceMax, -1)))
	e := Exp(z)
	stored := Scatter(at, Ones(g, shapes.Make(e.DType(), places, k)), e.Shape(), false, true)
	others := ReduceAndKeep(Mul(e, OneMinus(stored)), ReduceSum, -1) // [R·T, 1]
	others = Log(MaxScalar(others, leastNormal))
	logQ := Sub(Concatenate([]*Node{Gather(z, at), others}, -1), Log(ReduceAndKeep(e, ReduceSum, -1))) // [R·T, k+1]
	logP := logSoftmax(MulScalar(Reshape(logProbs, places, k+1), 1/t.Temperature))                     // [R·T, k+1]
	kl := ReduceSum(Mul(Exp(logP), Sub(logP, logQ)), -1)                                               // [R·T]
	return MulScalar(ReduceAllSum(Mul(kl, Reshape(counted(labels), places))), t.Temperature*t.Temperature)
}

// leastNormal is that of float32. It keeps a logarithm finite where a student's other tokens have underflown, or are none.
const leastNormal = 0x1p-126

// logSoftmax over the last axis.
func logSoftmax(x *Node) *Node {
	x = Sub(x, StopGradient(ReduceAndKeep(x, ReduceMax, -1)))
	return Sub(x, Log(ReduceAndKeep(Exp(x), ReduceSum, -1)))
}

// checkTeacher compares what a teacher says of a batch with the batch and the model.
func (t *Trainer) checkTeacher(b *dataset.Batch) error {
	switch n := len(b.Labels); {
	case t.config.Teacher == nil && b.TopK == 0:
		return nil
	case t.config.Teacher == nil:
		return errors.New("batch: has what a teacher says, but nothing learns from one")
	case b.TopK < 1 || len(b.Taught) != n*b.TopK || len(b.LogProbs) != n*(b.TopK+1):
		return fmt.Errorf("batch: %d tokens and %d log-probabilities of a teacher for %d labels", len(b.Taught),
			len(b.LogProbs), len(b.Labels))
	case b.Temperature != t.config.Teacher.Temperature:
		return fmt.Errorf("batch: what a teacher says at temperature %g, of a student that learns at %g", b.Temperature,
			t.config.Teacher.Temperature)
	}
	for _, id := range b.Taught {
		if id < 0 || int(id) >= t.model.VocabSize() {
			return fmt.Errorf("batch: a teacher's token %d; must be from 0 to below vocab_size %d", id, t.model.VocabSize())
		}
	}
	return nil
}

// uploadTeacher gives each device its part of what a teacher says of so many labels from first, of rows captions.
func uploadTeacher(to *device.Group, b *dataset.Batch, first, labels, rows int) (device.Tensors, error) {
	k, end := b.TopK, first+labels
	list, err := device.UploadSplit(to, b.Taught[first*k:end*k], rows, b.T, k)
	if err != nil {
		return list, err
	}
	x, err := device.UploadSplit(to, b.LogProbs[first*(k+1):end*(k+1)], rows, b.T, k+1)
	if err != nil {
		list.Free()
		return list, err
	}
	return list.With(x), nil
}
