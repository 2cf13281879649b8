package model

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"distilvit/internal/device"
)

// Divergences measures how far other weights take a network's next-token distributions from those it has, on
// captions of pictures that it was given. It is for one goroutine.
type Divergences struct {
	config            *Config
	norm              Normalization
	weights           []*tensors.Tensor
	be                compute.Backend
	remember, compare *device.Program
	batches           []remembered
}

// remembered is a batch on the device, and what the network makes of it.
type remembered struct {
	in   []*tensors.Tensor // pixels, ids, log-probabilities [B, T, vocabulary]
	real []float32
}

// NewDivergences uploads weights to the backend's device.
func NewDivergences(be compute.Backend, c *Config, w Weights, n Normalization) (*Divergences, error) {
	list, err := Upload(be, c, w)
	if err != nil {
		return nil, err
	}
	d := &Divergences{config: c, norm: n.Or(HalfNormalization), weights: list, be: be}
	if d.remember, err = device.NewProgram(be, "log-probabilities", d.buildRemember); err == nil {
		d.compare, err = device.NewProgram(be, "divergences", d.buildCompare)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close frees what is held on the device.
func (d *Divergences) Close() {
	d.remember.Close()
	d.compare.Close()
	device.Free(d.weights...)
	for _, b := range d.batches {
		device.Free(b.in...)
	}
}

// Add gives it a batch of n pictures with a caption each, whose log-probabilities stay on the device: 4 bytes for each
// token of the vocabulary at each place. Batches of one size are compiled once.
func (d *Divergences) Add(b Observed, n int) error {
	side := d.config.Encoder.ImageSize
	if len(b.Pixels) != n*side*side*3 || len(b.IDs)%n != 0 || len(b.Real) != len(b.IDs) {
		return fmt.Errorf("compare %d pictures: %d bytes of pixels, %d ids, %d marks", n, len(b.Pixels), len(b.IDs), len(b.Real))
	}
	pixels, err := device.Upload(d.be, b.Pixels, n, side, side, 3)
	if err != nil {
		return err
	}
	ids, err := device.Upload(d.be, b.IDs, n, len(b.IDs)/n)
	if err != nil {
		device.Free(pixels)
		return err
	}
	in := []*tensors.Tensor{pixels, ids}
	out, err := d.remember.Run(d.weights, in)
	if err != nil {
		device.Free(in...)
		return err
	}
	d.batches = append(d.batches, remembered{in: append(in, out...), real: slices.Clone(b.Real)})
	return nil
}

// With measures the network with some of its tensors replaced, by name, which stand there again afterwards: nats a
// token from what it has, Σ p·ln(p/q), their mean and the most.
func (d *Divergences) With(w Weights) (mean, most float64, err error) {
	changed := slices.Clone(d.weights)
	var others []*tensors.Tensor
	defer func() { device.Free(others...) }()
	names := d.config.Names()
	for i, name := range names {
		if w[name] == nil {
			continue
		}
		x, err := device.Upload(d.be, w[name].Data, w[name].Shape...)
		if err != nil {
			return 0, 0, fmt.Errorf("tensor %s: %w", name, err)
		}
		others, changed[i] = append(others, x), x
	}
	if len(others) != len(w) {
		return 0, 0, fmt.Errorf("%d tensors are replaced, the model has %d of them", len(w), len(others))
	}
	tokens := 0
	for _, b := range d.batches {
		out, err := d.compare.Run(changed, b.in)
		if err != nil {
			return 0, 0, err
		}
		flat, err := device.Download[float32](out[0])
		device.Free(out...)
		if err != nil {
			return 0, 0, err
		}
		for i, v := range flat {
			if b.real[i] > 0 {
				mean, most = mean+float64(max(v, 0)), max(most, float64(v)) // rounding may take it below 0
				tokens++
			}
		}
	}
	return mean / float64(max(tokens, 1)), most, nil
}

// buildRemember: weights, pixels [B, H, W, 3], ids [B, T] → log-probabilities [B, T, vocabulary]
func (d *Divergences) buildRemember(in []*Node) []*Node {
	w := len(d.config.Names())
	m := New(d.config, d.config.BindNodes(in[:w]))
	x := m.Decoder.Logits(m.Decoder.Forward(in[w+1], m.CrossKV(m.Encode(in[w], d.norm)), nil))
	x = Sub(x, ReduceAndKeep(x, ReduceMax, -1))
	return []*Node{Sub(x, Log(ReduceAndKeep(Exp(x), ReduceSum, -1)))}
}

// buildCompare: weights, pixels [B, H, W, 3], ids [B, T], log-probabilities [B, T, vocabulary] → divergences [B, T]
func (d *Divergences) buildCompare(in []*Node) []*Node {
	p, q := in[len(in)-1], d.buildRemember(in[:len(in)-1])[0]
	return []*Node{ReduceSum(Mul(Exp(p), Sub(p, q)), -1)}
}
