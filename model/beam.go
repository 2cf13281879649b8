package model

import (
	"cmp"
	"math"
	"slices"
)

// beams is the beam search of one picture, as GenerationMixin._beam_search of
// transformers 4.57 does it, in its float32 arithmetic.
type beams struct {
	o    *GenerateOptions
	ends []int32

	open  []beam // num_beams, best first
	ended []beam // num_beams, best first; unfilled ones have score unlikely
	hope  bool   // an open beam may still win
	over  bool
}

type beam struct {
	ids   []int32 // start token first
	score float32 // sum of log-probabilities; of an ended one, divided by the length's power
	from  int     // the open beam of the step before that it continues
	done  bool    // ended
}

// unlikely stands for minus infinity and, added to a score, rules it out.
const unlikely float32 = -1e9

func newBeams(o *GenerateOptions, start int32, ends []int32) *beams {
	b := &beams{o: o, ends: ends, hope: true}
	for i := range o.NumBeams {
		first := beam{ids: []int32{start}}
		b.ended = append(b.ended, beam{ids: first.ids, score: unlikely})
		if i > 0 { // all begin alike: only the first may go on, or all would be the same
			first.score = unlikely
		}
		b.open = append(b.open, first)
	}
	return b
}

// step takes the open beams' next log-probabilities [vocab] each.
func (b *beams) step(logProbs [][]float32) {
	n := b.o.NumBeams
	candidates := b.candidates(logProbs, (1+len(b.ends))*n)
	b.finish(candidates)
	allDone := true
	for i := range candidates {
		if candidates[i].done {
			candidates[i].score += unlikely
		} else {
			allDone = false
		}
	}
	b.open = best(candidates, n)
	b.hope = b.hope && b.mayImprove()
	b.over = !b.hope || b.o.EarlyStopping == StopFull && b.full() || allDone
}

// candidates are the n likeliest continuations of all open beams, best first.
func (b *beams) candidates(logProbs [][]float32, n int) []beam {
	type choice struct {
		from  int
		id    int32
		score float32
	}
	var top []choice
	for from, row := range logProbs {
		for id, p := range row {
			score := p + b.open[from].score
			if len(top) == n && !(score > top[n-1].score) {
				continue
			}
			at, _ := slices.BinarySearchFunc(top, score, func(c choice, s float32) int {
				if c.score >= s {
					return -1
				}
				return 1
			})
			if len(top) == n {
				top = top[:n-1]
			}
			top = slices.Insert(top, at, choice{from, int32(id), score})
		}
	}
	list := make([]beam, len(top))
	for i, c := range top {
		before := b.open[c.from].ids
		ids := append(slices.Clone(before), c.id)
		list[i] = beam{ids: ids, score: c.score, from: c.from, done: slices.Contains(b.ends, c.id) ||
			len(ids) >= b.o.MaxLength}
	}
	return list
}

// finish puts those of the first num_beams candidates that are done among the ended.
func (b *beams) finish(candidates []beam) {
	n := b.o.NumBeams
	closed := !b.hope || b.o.EarlyStopping == StopFull && b.full()
	merged := slices.Clone(b.ended)
	for i, c := range candidates {
		if c.done && i < n && !closed {
			c.score /= b.lengthPower(len(c.ids) - 1)
			merged = append(merged, c)
		}
	}
	b.ended = best(merged, n)
}

// mayImprove is _check_early_stop_heuristic: can the best open beam still beat
// the worst ended one?
func (b *beams) mayImprove() bool {
	length := len(b.open[0].ids) - 1
	if b.o.EarlyStopping == StopNever && b.o.LengthPenalty > 0 {
		length = b.o.MaxLength - 1
	}
	return !b.full() || b.open[0].score/b.lengthPower(length) > b.ended[len(b.ended)-1].score
}

// full reports whether num_beams captions have ended.
func (b *beams) full() bool {
	return !slices.ContainsFunc(b.ended, func(e beam) bool { return !e.done })
}

// lengthPower is what the score of a caption of so many tokens, start token not
// counted, is divided by.
func (b *beams) lengthPower(length int) float32 {
	return float32(math.Pow(float64(length), b.o.LengthPenalty))
}

// results are the n best ended captions without their start tokens.
func (b *beams) results(n int) [][]int32 {
	var all [][]int32
	for _, e := range b.ended[:n] {
		all = append(all, e.ids[1:])
	}
	return all
}

// best answers the n beams of the highest scores; equal ones stay in order.
func best(list []beam, n int) []beam {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(x, y beam) int { return cmp.Compare(y.score, x.score) })
	return sorted[:n]
}
