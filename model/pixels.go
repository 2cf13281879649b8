package model

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Normalization is what is done to a channel's byte: (u8 · Rescale - Mean) / Std.
type Normalization struct {
	Mean    [3]float32 `json:"mean"`
	Std     [3]float32 `json:"std"`
	Rescale float64    `json:"rescale,omitempty"` // 0: 1/255
}

// HalfNormalization maps bytes to -1…1, as the processor of ViT models does.
var HalfNormalization = Normalization{Mean: [3]float32{0.5, 0.5, 0.5}, Std: [3]float32{0.5, 0.5, 0.5}}

// Or returns n, or the default where n is not set.
func (n Normalization) Or(def Normalization) Normalization {
	if n == (Normalization{}) {
		return def
	}
	return n
}

// Table is the value of every byte in every channel, bit for bit as Hugging
// Face's ViTImageProcessor computes it: float32(u8 · rescale_factor), then - mean
// and / std in float32.
func (n Normalization) Table() [3 * 256]float32 {
	var table [3 * 256]float32
	rescale := n.Rescale
	if rescale == 0 {
		rescale = 1 / 255.0
	}
	for channel := range 3 {
		for u := range 256 {
			x := float32(float64(u) * rescale)
			x = float32(x - n.Mean[channel])
			table[channel*256+u] = x / n.Std[channel]
		}
	}
	return table
}

// Normalize takes pixels [B, H, W, 3] uint8 to float32. It looks values up, because a
// compiler may turn a division into a multiplication.
func Normalize(pixels *Node, n Normalization) *Node {
	g := pixels.Graph()
	values := n.Table()
	table := Const(g, values[:])
	index := ConvertDType(pixels, dtypes.Int32)
	index = Add(index, MulScalar(Iota(g, shapes.Make(dtypes.Int32, 1, 1, 1, 3), 3), 256))
	return Gather(table, InsertAxes(index, -1))
}
