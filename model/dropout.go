package model

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Dropout drops by a counter-based hash: whether an element stays is a function
// of its row's key, the site in the network, its position and its channel alone.
// So the same example gets the same mask in any batch, micro-batch, bucket of T,
// and on any backend. A nil Dropout drops nothing.
type Dropout struct {
	Rate float64 // share that is dropped
	Keys *Node   // [B·K] uint32, one a caption and step

	sites uint32 // sites passed so far
}

// Hidden drops of vectors x [B·K, T, width], or of pictures' [B, S, width] by the keys of their first captions.
func (d *Dropout) Hidden(x *Node) *Node {
	if d == nil || d.Rate <= 0 {
		return x
	}
	rows, t, width := x.Shape().Dim(0), x.Shape().Dim(1), x.Shape().Dim(2)
	keys := d.Keys
	if n := keys.Shape().Dim(0); rows != n { // of a prefix
		keys = Reshape(Slice(Reshape(keys, rows, n/rows), AxisRange(), AxisRange(0, 1)), rows)
	}
	lines := Reshape(d.linesOf(keys, t), rows, t, 1)
	return d.apply(x, lines, count(x.Graph(), 2, 1, 1, width))
}

// SelfProbabilities drops of attention to the caption so far, p [B·K, heads, T, T].
func (d *Dropout) SelfProbabilities(p *Node) *Node {
	if d == nil || d.Rate <= 0 {
		return p
	}
	rows, heads, t := p.Shape().Dim(0), p.Shape().Dim(1), p.Shape().Dim(2)
	return d.apply(p, Reshape(d.lines(t), rows, 1, t, 1), headChannels(p.Graph(), heads, t))
}

// CrossProbabilities drops of attention to the picture, p [B, heads, K·T, S].
func (d *Dropout) CrossProbabilities(p *Node) *Node {
	if d == nil || d.Rate <= 0 {
		return p
	}
	b, heads, kt, s := p.Shape().Dim(0), p.Shape().Dim(1), p.Shape().Dim(2), p.Shape().Dim(3)
	k := d.Keys.Shape().Dim(0) / b
	return d.apply(p, Reshape(d.lines(kt/k), b, 1, kt, 1), headChannels(p.Graph(), heads, s))
}

// GroupedProbabilities drops of attention to the picture and the caption so far, p [B, KV, K, G, T, S] as Llama has it.
func (d *Dropout) GroupedProbabilities(p *Node) *Node {
	if d == nil || d.Rate <= 0 {
		return p
	}
	x := p.Shape().Dimensions
	head := Add(MulScalar(count(p.Graph(), 1, 1, x[1], 1, 1, 1, 1), uint32(x[3])), count(p.Graph(), 3, 1, 1, 1, x[3], 1, 1))
	channels := Add(MulScalar(head, uint32(1<<16)), count(p.Graph(), 5, 1, 1, 1, 1, 1, x[5]))
	return d.apply(p, Reshape(d.lines(x[4]), x[0], 1, x[2], 1, x[4], 1), channels)
}

// lines are the hashes of (key, site, position): [B·K, T] uint32.
func (d *Dropout) lines(t int) *Node { return d.linesOf(d.Keys, t) }

// linesOf are those of other keys [rows]: [rows, T].
func (d *Dropout) linesOf(keys *Node, t int) *Node {
	d.sites++
	g := keys.Graph()
	row := mix(Add(keys, Const(g, d.sites*0x9e3779b9))) // [rows]
	position := MulScalar(count(g, 1, 1, t), uint32(0x85ebca6b))
	return mix(Add(InsertAxes(row, -1), position))
}

// apply multiplies x by 0 or 1/(1-rate), by the hash of each element's line and channel.
func (d *Dropout) apply(x, lines, channels *Node) *Node {
	h := Add(lines, MulScalar(channels, uint32(0xc2b2ae35)))
	h = MulScalar(BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(16))), uint32(0x7feb352d))
	h = MulScalar(BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(15))), uint32(0x846ca68b))
	threshold := uint32(d.Rate * (1 << 32))
	keep := ConvertDType(GreaterOrEqual(h, Const(x.Graph(), threshold)), dtypes.Float32)
	return Mul(x, MulScalar(keep, 1/(1-d.Rate)))
}

// mix is a bijection of uint32 in which each bit depends on all (lowbias32).
func mix(h *Node) *Node {
	h = MulScalar(BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(16))), uint32(0x7feb352d))
	h = MulScalar(BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(15))), uint32(0x846ca68b))
	return BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(16)))
}

// headChannels numbers (head, key) [1, heads, 1, s], whatever s is.
func headChannels(g *Graph, heads, s int) *Node {
	head := MulScalar(count(g, 1, 1, heads, 1, 1), uint32(1<<16))
	return Add(head, count(g, 3, 1, 1, 1, s))
}

// count is 0, 1, 2, … along one axis, uint32.
func count(g *Graph, axis int, dims ...int) *Node {
	return Iota(g, shapes.Make(dtypes.Uint32, dims...), axis)
}
