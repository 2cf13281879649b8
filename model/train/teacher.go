package train

import (
	"errors"
	"fmt"
	"math"

	. "github.com/gomlx/gomlx/core/graph"

	"distilvit/dataset"
	"distilvit/internal/device"
)

// Teacher is how a student learns from a teacher's distribution beside its captions, as Hinton, Vinyals and Dean do
// (2015, "Distilling the Knowledge in a Neural Network") and, with its alpha_ce and alpha_clm for Weight and 1 - Weight,
// the script that made DistilBERT and DistilGPT2. The loss of a label token is
//
//	Weight · T² · KL(p ‖ q) + (1 - Weight) · cross-entropy
//	p = softmax(teacher's log-probabilities / T) over the tokens that are stored of it, the likeliest
//	q = softmax(student's logits / T) over all tokens
//
// so that the student is to give the tokens that are not stored no probability.
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
// teacher's tokens [R, T, k] and their log-probabilities [R, T, k] → scalar
func (t *Teacher) sum(logits, labels, tokens, logProbs *Node) *Node {
	dims, k := logits.Shape().Dimensions, tokens.Shape().Dim(2)
	z := logSoftmax(MulScalar(logits, 1/t.Temperature))      // [R, T, V]
	logP := logSoftmax(MulScalar(logProbs, 1/t.Temperature)) // [R, T, k]
	places := dims[0] * dims[1]
	index := InsertAxes(Reshape(tokens, places, k), -1) // [R·T, k, 1]
	place := Iota(logits.Graph(), index.Shape(), 0)
	at := Concatenate([]*Node{place, index}, -1)    // [R·T, k, 2]
	logQ := Gather(Reshape(z, places, dims[2]), at) // [R·T, k]
	kl := ReduceSum(Mul(Exp(logP), Sub(logP, Reshape(logQ, dims[0], dims[1], k))), -1)
	return MulScalar(ReduceAllSum(Mul(kl, counted(labels))), t.Temperature*t.Temperature)
}

// logSoftmax over the last axis.
func logSoftmax(x *Node) *Node {
	x = Sub(x, StopGradient(ReduceAndKeep(x, ReduceMax, -1)))
	return Sub(x, Log(ReduceAndKeep(Exp(x), ReduceSum, -1)))
}

// checkTeacher compares what a teacher says of a batch with the batch and the model.
func (t *Trainer) checkTeacher(b *dataset.Batch) error {
	switch n := len(b.Labels) * b.TopK; {
	case t.config.Teacher == nil && b.TopK == 0:
		return nil
	case t.config.Teacher == nil:
		return errors.New("batch: has what a teacher says, but nothing learns from one")
	case b.TopK < 1 || len(b.Taught) != n || len(b.LogProbs) != n:
		return fmt.Errorf("batch: %d tokens and %d log-probabilities of a teacher for %d labels", len(b.Taught),
			len(b.LogProbs), len(b.Labels))
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
	from, end := first*b.TopK, (first+labels)*b.TopK
	list, err := device.UploadSplit(to, b.Taught[from:end], rows, b.T, b.TopK)
	if err != nil {
		return list, err
	}
	x, err := device.UploadSplit(to, b.LogProbs[from:end], rows, b.T, b.TopK)
	if err != nil {
		list.Free()
		return list, err
	}
	return list.With(x), nil
}
