package model

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// What decoders have in common before whose captions a picture's vectors stand: the vectors see only each other, so their
// keys and values are made once a picture, whatever captions follow. B is the number of pictures, K of captions of each, P of
// a picture's vectors, KV of the heads of keys and values, G of the heads of queries that share one.

// prompt is the start token and the text behind it, or nil: all but the last are taken in with the picture, and the last
// stands where a caption has its start token.
type prompt []int32

func newPrompt(c *Config) prompt {
	if len(c.PromptIDs) == 0 {
		return nil
	}
	return append(prompt{int32(c.DecoderStartTokenID)}, c.PromptIDs...)
}

// behind puts start token and prompt, without its last token, behind pictures: [B, P, width] → [B, P + more, width]
func (p prompt) behind(x *Node, embed func(ids *Node) *Node) *Node {
	last := len(p) - 1
	if last < 1 {
		return x
	}
	tokens := embed(Const(x.Graph(), []int32(p[:last])))
	return Concatenate([]*Node{x, BroadcastToDims(InsertAxes(tokens, 0), x.Shape().Dim(0), last, x.Shape().Dim(2))}, 1)
}

// begin puts the prompt's last token where captions [rows, T] have their start token.
func (p prompt) begin(ids *Node) *Node {
	last := len(p) - 1
	if last < 1 {
		return ids
	}
	first := BroadcastToDims(Const(ids.Graph(), p[last]), ids.Shape().Dim(0), 1)
	if ids.Shape().Dim(1) == 1 {
		return first
	}
	return Concatenate([]*Node{first, Slice(ids, AxisRange(), AxisRange(1))}, 1)
}

// beginAt is begin of one token of each row, [rows], that all stand at a position.
func (p prompt) beginAt(tokens, position *Node) *Node {
	last := len(p) - 1
	if last < 1 {
		return tokens
	}
	g := tokens.Graph()
	return Where(Equal(position, ScalarZero(g, position.DType())), Const(g, p[last]), tokens)
}

// groupQueries: [B·K, heads, T, d] → [B, KV, K, G, T, d]
func groupQueries(q *Node, kv, k int) *Node {
	d := q.Shape().Dimensions
	return TransposeAllAxes(Reshape(q, d[0]/k, k, kv, d[1]/kv, d[2], d[3]), 0, 2, 1, 3, 4, 5)
}

// attendBehind is attention of captions to their picture and to themselves.
//
//	q [B, KV, K, G, T, d], picture of B, own of B·K, bias added to the scores of own → [B·K, T, heads·d]
func attendBehind(q *Node, picture, own KV, bias *Node, drop *Dropout) *Node {
	prefix := picture.K.Shape().Dim(2)
	p := softmax(Concatenate([]*Node{groupedScores(q, picture), Add(groupedScores(q, own), bias)}, -1))
	p = drop.GroupedProbabilities(p)
	before := Slice(p, AxisRange().Spacer(), AxisRange(0, prefix))
	after := Slice(p, AxisRange().Spacer(), AxisRange(prefix))
	return joinGroups(Add(weighGrouped(before, picture), weighGrouped(after, own)))
}

// groupedScores: q [B, KV, K, G, T, d], keys of B pictures [B, KV, S, d] or of B·K captions [B·K, KV, S, d] →
// [B, KV, K, G, T, S]
func groupedScores(q *Node, kv KV) *Node {
	d, s := q.Shape().Dimensions, kv.K.Shape().Dim(2)
	q, batch := groupedRows(q, kv)
	return Reshape(dot(q, []int{q.Rank() - 1}, batch, besideRows(kv.K, q), []int{q.Rank() - 1}, batch),
		d[0], d[1], d[2], d[3], d[4], s)
}

// weighGrouped: p [B, KV, K, G, T, S], values as groupedScores' keys → [B, KV, K, G, T, d]
func weighGrouped(p *Node, kv KV) *Node {
	d, width := p.Shape().Dimensions, kv.V.Shape().Dim(3)
	p, batch := groupedRows(p, kv)
	return Reshape(dot(p, []int{p.Rank() - 1}, batch, besideRows(kv.V, p), []int{p.Rank() - 2}, batch),
		d[0], d[1], d[2], d[3], d[4], width)
}

// groupedRows are x [B, KV, K, G, T, n] as rows of one product with a picture's keys or values, [B, KV, K·G·T, n], or with
// each caption's own, [B, KV, K, G·T, n]; and the axes that both have.
func groupedRows(x *Node, kv KV) (rows *Node, batch []int) {
	d := x.Shape().Dimensions
	if kv.K.Shape().Dim(0) == d[0] {
		return Reshape(x, d[0], d[1], d[2]*d[3]*d[4], d[5]), []int{0, 1}
	}
	return Reshape(x, d[0], d[1], d[2], d[3]*d[4], d[5]), []int{0, 1, 2}
}

// besideRows puts keys or values [B·K, KV, S, d] beside rows of q.
func besideRows(x, q *Node) *Node {
	if q.Rank() == 4 {
		return x
	}
	d := x.Shape().Dimensions
	k := q.Shape().Dim(2)
	return TransposeAllAxes(Reshape(x, d[0]/k, k, d[1], d[2], d[3]), 0, 2, 1, 3, 4)
}

// joinGroups: [B, KV, K, G, T, d] → [B·K, T, heads·d]
func joinGroups(x *Node) *Node {
	d := x.Shape().Dimensions
	return Reshape(TransposeAllAxes(x, 0, 2, 4, 1, 3, 5), d[0]*d[2], d[4], d[1]*d[3]*d[5])
}

// layerBehind is a layer of a decoder behind pictures, of tokens at certain positions.
type layerBehind interface {
	// attention: x [B·K, T, width] → scaled queries [B, KV, K, G, T, d], keys and values [B·K, KV, T, d]
	attention(x *Node, k int) (q *Node, own KV)
	// output of attention: [B·K, T, heads·d] → [B·K, T, width]
	output(a *Node) *Node
	// mlp, its norm before it: [B·K, T, width] → the same shape
	mlp(x *Node) *Node
}

// behindPicture is a decoder's layers.
type behindPicture struct {
	layers                []layerBehind
	gradientCheckpointing bool
}

// pictures takes pictures' vectors [B, P, width] through the layers, to each layer's KV [B, KV, P, d].
func (s behindPicture) pictures(x *Node) []KV {
	all := make([]KV, len(s.layers))
	bias := InsertAxes(causalBias(x.Graph(), x.Shape().Dim(1)), 0, 0) // [1, 1, 1, 1, P, P]
	for i, l := range s.layers {
		if s.gradientCheckpointing {
			x = x.Checkpoint()
		}
		q, own := l.attention(x, 1)
		all[i] = own
		if i == len(s.layers)-1 {
			break // nothing reads what would come of it
		}
		p := softmax(Add(groupedScores(q, own), bias))
		x = Add(x, l.output(joinGroups(weighGrouped(p, own))))
		x = Add(x, l.mlp(x))
	}
	if s.gradientCheckpointing {
		for i := range all {
			all[i] = KV{K: all[i].K.StopCheckpoint(), V: all[i].V.StopCheckpoint()}
		}
	}
	return all
}

// captions takes whole captions [B·K, T, width] through the layers, to the same shape. Of attention's probabilities drop
// drops, and residual of what is added.
func (s behindPicture) captions(x *Node, pictures []KV, drop, residual *Dropout) *Node {
	k := x.Shape().Dim(0) / pictures[0].K.Shape().Dim(0)
	bias := InsertAxes(causalBias(x.Graph(), x.Shape().Dim(1)), 0, 0) // [1, 1, 1, 1, T, T]
	for i, l := range s.layers {
		if s.gradientCheckpointing {
			x = x.Checkpoint()
		}
		q, own := l.attention(x, k)
		x = Add(x, residual.Hidden(l.output(attendBehind(q, pictures[i], own, bias, drop))))
		x = Add(x, residual.Hidden(l.mlp(x)))
	}
	if s.gradientCheckpointing {
		x = x.StopCheckpoint()
	}
	return x
}

// token takes one token of each row, [B·K, 1, width], through the layers, to the same shape, with the keys and values of the
// rows' earlier tokens, self, which have room for all positions. They come back with this position filled in.
func (s behindPicture) token(x, position *Node, self, pictures []KV) (*Node, []KV) {
	g, k, room := x.Graph(), x.Shape().Dim(0)/pictures[0].K.Shape().Dim(0), self[0].K.Shape().Dim(2)
	positions := Iota(g, shapes.Make(dtypes.Int32, 1, 1, 1, 1, 1, room), 5)
	bias := Where(LessOrEqual(positions, position), ScalarZero(g, dtypes.Float32), Const(g, float32(masked)))
	next := make([]KV, len(self))
	for i, l := range s.layers {
		q, own := l.attention(x, k)
		next[i] = KV{K: fill(self[i].K, own.K, position), V: fill(self[i].V, own.V, position)}
		x = Add(x, l.output(attendBehind(q, pictures[i], next[i], bias, nil)))
		x = Add(x, l.mlp(x))
	}
	return x, next
}
