package model

import (
	"slices"

	"github.com/gomlx/gomlx/core/tensors"

	"distilvit/internal/device"
)

// decoding is one batch on its way: the pictures' cross keys and values, and
// what a step takes and gives (see Captioner.firstState).
type decoding struct {
	g *Captioner
	o *GenerateOptions

	weights []*tensors.Tensor
	cross   []*tensors.Tensor

	state []*tensors.Tensor // tokens, position, self keys and values
	start int32
	ends  []int32

	process LogitsProcessor // nil: none
}

func (d *decoding) close() { device.Free(d.state...) }

// greedy takes the likeliest token each time; it is chosen on the device.
func (d *decoding) greedy(count int) ([][]int32, error) {
	rows := make([][]int32, count)
	ended := make([]bool, count)
	for left, length := count, 1; left > 0 && length < d.o.MaxLength; length++ {
		after, err := d.g.step.Run(d.state, d.weights, d.cross)
		if err != nil {
			return nil, err
		}
		device.Free(d.state...)
		d.state = after
		next, err := device.Download[int32](d.state[0])
		if err != nil {
			return nil, err
		}
		for i := range rows {
			if ended[i] {
				continue
			}
			rows[i] = append(rows[i], next[i])
			if slices.Contains(d.ends, next[i]) {
				ended[i] = true
				left--
			}
		}
		if err := d.o.ShowStep(rows, 0); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// constrained takes the likeliest token after the logits processors.
func (d *decoding) constrained(batch, count int) ([][]int32, error) {
	same, tokens := make([]int32, batch), make([]int32, batch)
	rows := make([][]int32, count)
	ended := make([]bool, count)
	for i := range batch {
		same[i], tokens[i] = int32(i), d.start
	}
	for i := range rows {
		rows[i] = []int32{tokens[i]}
	}
	for left, length := count, 1; left > 0 && length < d.o.MaxLength; length++ {
		scores, err := d.scores(same, tokens)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			if ended[i] {
				continue
			}
			d.process(rows[i], scores[i])
			tokens[i] = likeliest(scores[i])
			rows[i] = append(rows[i], tokens[i])
			if slices.Contains(d.ends, tokens[i]) {
				ended[i] = true
				left--
			}
		}
		if err := d.o.ShowStep(rows, 1); err != nil {
			return nil, err
		}
	}
	for i := range rows {
		rows[i] = rows[i][1:]
	}
	return rows, nil
}

// search is beam search; pictures that are over go on idly until all are.
func (d *decoding) search(batch, count int) ([][]int32, error) {
	n := d.o.NumBeams
	pictures := make([]*beams, count)
	for i := range pictures {
		pictures[i] = newBeams(d.o, d.start, d.ends)
	}
	from, tokens := make([]int32, batch*n), make([]int32, batch*n)
	for i := range tokens {
		from[i], tokens[i] = int32(i), d.start
	}
	for left := count; left > 0; {
		scores, err := d.scores(from, tokens)
		if err != nil {
			return nil, err
		}
		for i, b := range pictures {
			if b.over {
				continue
			}
			rows := scores[i*n : (i+1)*n]
			for j, row := range rows {
				logSoftmax(row)
				if d.process != nil {
					d.process(b.open[j].ids, row)
				}
			}
			b.step(rows)
			for j, open := range b.open {
				from[i*n+j], tokens[i*n+j] = int32(i*n+open.from), open.ids[len(open.ids)-1]
			}
			if b.over {
				left--
			}
		}
		if err := d.o.ShowStep(nil, 0); err != nil {
			return nil, err
		}
	}
	var ids [][]int32
	for _, b := range pictures {
		ids = append(ids, b.results(max(1, d.o.NumReturnSequences))...)
	}
	return ids, nil
}

// scores runs one token of each row, which goes on from another row of the step
// before, and answers the logits [rows][vocab].
func (d *decoding) scores(from, tokens []int32) ([][]float32, error) {
	order, err := device.Upload(d.g.be, from, len(from))
	if err != nil {
		return nil, err
	}
	defer device.Free(order)
	ids, err := device.Upload(d.g.be, tokens, len(tokens))
	if err != nil {
		return nil, err
	}
	device.Free(d.state[0])
	d.state[0] = ids
	after, err := d.g.score.Run([]*tensors.Tensor{order}, d.state, d.weights, d.cross)
	if err != nil {
		return nil, err
	}
	device.Free(d.state...)
	d.state = after
	flat, err := device.Download[float32](d.state[0])
	if err != nil {
		return nil, err
	}
	vocab := d.g.config.VocabSize()
	rows := make([][]float32, len(from))
	for i := range rows {
		rows[i] = flat[i*vocab : (i+1)*vocab]
	}
	return rows, nil
}
