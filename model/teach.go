package model

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/gomlx/gomlx/core/tensors"

	"distilvit/internal/device"
)

// TopTokens are the k likeliest tokens at each place of captions of n pictures, first the likeliest, of equal ones that
// of the lower id, [n·K, length, k], and the natural logarithms of their probabilities, [n·K, length, k+1]: the last is that
// of all other tokens together, as one that at the given temperature has the probability that they have, so that it is
//
//	temperature · log Σ exp(log-probability / temperature)
//
// and NoOthers where k is the vocabulary. labels are [n·K, length] ids of the tokens that stand there, which the caption goes
// on with; where one is negative there is no place, and zeros are answered.
func (g *Captioner) TopTokens(
	pixels []uint8, n int, labels []int32, length, k int, temperature float64,
) (ids []int32, logProbs []float32, err error) {
	vocab := g.config.VocabSize()
	switch {
	case n < 1 || len(pixels) != n*g.pictureBytes():
		return nil, nil, fmt.Errorf("%d bytes of pixels for %d pictures of %d", len(pixels), n, g.pictureBytes())
	case length < 1 || length > g.config.Positions() || len(labels)%(n*length) != 0 || len(labels) == 0:
		return nil, nil, fmt.Errorf("%d labels for %d pictures' captions of %d tokens; the decoder has %d positions",
			len(labels), n, length, g.config.Positions())
	case k < 1 || k > vocab:
		return nil, nil, fmt.Errorf("the %d likeliest tokens of %d", k, vocab)
	case !(temperature > 0):
		return nil, nil, fmt.Errorf("temperature %g; must be above 0", temperature)
	}
	inputs, err := g.inputs(labels, length)
	if err != nil {
		return nil, nil, err
	}
	logits, err := g.teacherForced(pixels, n, inputs, length)
	if err != nil {
		return nil, nil, err
	}
	ids, logProbs = make([]int32, len(labels)*k), make([]float32, len(labels)*(k+1))
	var workers sync.WaitGroup
	parts := runtime.GOMAXPROCS(0)
	for part := range parts {
		workers.Go(func() {
			for i := part; i < len(labels); i += parts {
				if labels[i] >= 0 {
					all, found := logits[i*vocab:(i+1)*vocab], ids[i*k:(i+1)*k]
					logs := logProbs[i*(k+1) : (i+1)*(k+1)]
					of := top(all, found, logs[:k])
					logs[k] = others(all, found[k-1], of, temperature)
				}
			}
		})
	}
	workers.Wait()
	return ids, logProbs, nil
}

// inputs are what the decoder is given: the start token, then each label but the last.
func (g *Captioner) inputs(labels []int32, length int) ([]int32, error) {
	inputs := make([]int32, len(labels))
	for i := range inputs {
		switch id := int32(g.config.DecoderStartTokenID); {
		case labels[i] >= int32(g.config.VocabSize()):
			return nil, fmt.Errorf("label %d; must be below vocab_size %d", labels[i], g.config.VocabSize())
		case i%length == 0:
			inputs[i] = id
		case labels[i-1] < 0:
			inputs[i] = int32(g.config.PadTokenID)
		default:
			inputs[i] = labels[i-1]
		}
	}
	return inputs, nil
}

// teacherForced are the logits [len(inputs), vocab].
func (g *Captioner) teacherForced(pixels []uint8, n int, inputs []int32, length int) ([]float32, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	side := g.config.Encoder.ImageSize
	pictures, err := device.Upload(g.be, pixels, n, side, side, 3)
	if err != nil {
		return nil, err
	}
	defer device.Free(pictures)
	tokens, err := device.Upload(g.be, inputs, len(inputs)/length, length)
	if err != nil {
		return nil, err
	}
	defer device.Free(tokens)
	weights, err := g.weights()
	if err != nil {
		return nil, err
	}
	out, err := g.teach.Run(weights, []*tensors.Tensor{pictures, tokens})
	if err != nil {
		return nil, err
	}
	defer device.Free(out...)
	return device.Download[float32](out[0])
}

// top fills ids with the likeliest tokens of logits and logs with the logarithms of their probabilities, which are their
// logits less what it answers.
func top(logits []float32, ids []int32, logs []float32) float64 {
	sum, highest := 0.0, float64(slices.Max(logits))
	found := 0
	for id, x := range logits {
		sum += math.Exp(float64(x) - highest)
		if found == len(ids) && !(x > logs[found-1]) {
			continue
		}
		at := found
		if found < len(ids) {
			found++
		} else {
			at--
		}
		for ; at > 0 && x > logs[at-1]; at-- {
			ids[at], logs[at] = ids[at-1], logs[at-1]
		}
		ids[at], logs[at] = int32(id), x
	}
	of := highest + math.Log(sum)
	for i, x := range logs {
		logs[i] = float32(float64(x) - of)
	}
	return of
}

// NoOthers is the logarithm of no probability at all, the lowest finite float16.
const NoOthers = -65504

// others is the last of a place's log-probabilities, see TopTokens: of all tokens after the last of the likeliest.
func others(logits []float32, last int32, of, temperature float64) float32 {
	behind := func(id int, x float32) bool { return x < logits[last] || x == logits[last] && id > int(last) }
	highest := math.Inf(-1)
	for id, x := range logits {
		if behind(id, x) {
			highest = max(highest, float64(x))
		}
	}
	sum := 0.0
	for id, x := range logits {
		if behind(id, x) {
			sum += math.Exp((float64(x) - highest) / temperature)
		}
	}
	if sum == 0 {
		return NoOthers
	}
	return float32(max(NoOthers, highest-of+temperature*math.Log(sum)))
}
