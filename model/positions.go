package model

import (
	"fmt"
	"math"
)

// FitPictures makes c, and w unless it is nil, a network for square pictures of that side in pixels. DINOv2's
// position embeddings are interpolated once, as transformers interpolates them for every picture; other
// encoders take pictures of one size.
func (c *Config) FitPictures(w Weights, side int) error {
	e := &c.Encoder
	switch {
	case side == e.ImageSize:
		return nil
	case !e.kind().interpolates:
		return fmt.Errorf("pictures are %d pixels high, the encoder takes %d", side, e.ImageSize)
	case side < e.PatchSize || side > maxSide || side%e.PatchSize != 0:
		return fmt.Errorf("pictures are %d pixels high; must be a multiple of encoder.patch_size %d "+
			"and at most %d", side, e.PatchSize, maxSide)
	}
	from, to := e.ImageSize/e.PatchSize, side/e.PatchSize
	special := e.Tokens() - from*from
	e.ImageSize = side
	if w == nil {
		return nil
	}
	name, h := e.Names().Positions, e.HiddenSize
	old := w[name].Data
	fitted := append(make([]float32, 0, e.Tokens()*h), old[:special*h]...)
	w[name] = &Tensor{Shape: e.row(e.Tokens()), Data: append(fitted, bicubic(old[special*h:], from, to, h)...)}
	return nil
}

// bicubic resizes a square of vectors, [from, from, width] to [to, to, width], as torch's interpolate does
// with mode bicubic: Keys' cubic with a = -0.75, pixels' centres aligned, the border repeated, no smoothing.
func bicubic(x []float32, from, to, width int) []float32 {
	at, weights := cubicTaps(from, to)
	out := make([]float32, to*to*width)
	for row := range to {
		for column := range to {
			sum := out[(row*to+column)*width:][:width]
			for i, y := range at[row] {
				for j, z := range at[column] {
					k := float32(weights[row][i] * weights[column][j])
					for n, v := range x[(y*from+z)*width:][:width] {
						sum[n] += float32(k * v)
					}
				}
			}
		}
	}
	return out
}

// cubicTaps are, for each of the positions that are made, four that it is made of and their weights.
func cubicTaps(from, to int) (at [][4]int, weights [][4]float64) {
	const a = -0.75
	near := func(x float64) float64 { return ((a+2)*x-(a+3))*x*x + 1 }
	far := func(x float64) float64 { return ((a*x-5*a)*x+8*a)*x - 4*a }
	for i := range to {
		center := (float64(i)+0.5)*float64(from)/float64(to) - 0.5
		first := int(math.Floor(center))
		t := center - float64(first)
		var taps [4]int
		for j := range taps {
			taps[j] = min(max(first-1+j, 0), from-1)
		}
		at = append(at, taps)
		weights = append(weights, [4]float64{far(t + 1), near(t), near(1 - t), far(2 - t)})
	}
	return at, weights
}
