package dataset

import (
	"math"
	"slices"
)

// augmenter changes pictures at random: a function of seed, epoch and row.
type augmenter struct {
	config  LoaderConfig
	scratch []uint8
}

// slack is how much further than a picture its memory reaches, so that vectors may be
// read across its end.
const slack = 16

func newAugmenter(c LoaderConfig) *augmenter { return &augmenter{config: c} }

// apply changes the H*W*3 picture in place.
func (a *augmenter) apply(picture []uint8, epoch int, row uint64) {
	c := a.config.Augment
	if c == (Augment{}) {
		return
	}
	rng := stream(a.config.Seed, "augment", epoch, row)
	between := func(limit float64) float64 { return float64((2*rng.Float64() - 1) * limit) }
	// Every number is drawn whatever the bounds are, so that one bound's change
	// leaves the others' draws as they were.
	dx, dy := between(c.Shift)*float64(a.config.Width), between(c.Shift)*float64(a.config.Height)
	scale, angle := 1+between(c.Scale), between(c.Rotation)*math.Pi/180
	brightness, contrast := 1+between(c.Color), 1+between(c.Color)
	gains := [3]float64{1 + between(c.Color), 1 + between(c.Color), 1 + between(c.Color)}
	if c.Shift != 0 || c.Scale != 0 || c.Rotation != 0 {
		a.scratch = slices.Grow(a.scratch[:0], len(picture)+slack)[:len(picture)]
		copy(a.scratch, picture)
		warp(picture, a.scratch, a.config.Width, a.config.Height, dx, dy, scale, angle)
	}
	if c.Color != 0 {
		recolour(picture, brightness, contrast, gains)
	}
}

// warp fills to with from moved by dx, dy pixels, scaled and turned about its
// centre: bilinear, in 16-bit fixed point, the border repeated outwards.
func warp(to, from []uint8, w, h int, dx, dy, scale, angle float64) {
	const one = 1 << 16
	scale = max(scale, 0.05)
	sin, cos := math.Sincos(angle)
	fixed := func(v float64) int64 { return int64(math.Round(v * one)) }
	ux, uy := fixed(cos/scale), fixed(sin/scale) // of the source x, per target pixel
	vx, vy := fixed(-sin/scale), fixed(cos/scale)
	cx, cy := float64(w-1)/2, float64(h-1)/2
	x0, y0 := -cx-dx, -cy-dy // of the first pixel, from the centre
	u0 := fixed(cx + float64(float64(x0*cos)+float64(y0*sin))/scale)
	v0 := fixed(cy + float64(float64(y0*cos)-float64(x0*sin))/scale)
	for y := range h {
		u, v := u0+int64(y)*uy, v0+int64(y)*vy
		row := to[3*y*w : 3*(y+1)*w]
		for x := 0; x < w; {
			n := 0
			if haveVectors {
				n = warpVectors(row[3*x:], from, w, h, u, v, ux, vx)
			}
			if n == 0 {
				warpPixel(row[3*x:], from, w, h, u, v)
				n = 1
			}
			x, u, v = x+n, u+int64(n)*ux, v+int64(n)*vx
		}
	}
}

// inside says that all four samples around a fixed-point position are the picture's.
func inside(u, v int64, w, h int) bool {
	return uint64(u>>16) < uint64(w-1) && uint64(v>>16) < uint64(h-1)
}

// warpPixel sets a pixel from those around u, v.
func warpPixel(to, from []uint8, w, h int, u, v int64) {
	left, right, fx := neighbours(u, w)
	top, bottom, fy := neighbours(v, h)
	a, b := from[3*(top*w+left):], from[3*(top*w+right):]
	c, d := from[3*(bottom*w+left):], from[3*(bottom*w+right):]
	for j := range 3 {
		upper := int32(a[j])*(256-fx) + int32(b[j])*fx
		lower := int32(c[j])*(256-fx) + int32(d[j])*fx
		to[j] = uint8((upper*(256-fy) + lower*fy + 1<<15) >> 16)
	}
}

// neighbours answers the samples around a 16-bit fixed-point position and the share
// of the second, of 256.
func neighbours(at int64, n int) (first, second int, share int32) {
	i := int(at >> 16)
	switch {
	case i < 0:
		return 0, 0, 0
	case i >= n-1:
		return n - 1, n - 1, 0
	}
	return i, i + 1, int32(at>>8) & 255
}

// recolour changes contrast about the middle, then brightness and each channel's gain.
func recolour(picture []uint8, brightness, contrast float64, gains [3]float64) {
	var table [3][256]uint8
	for j, gain := range gains {
		for v := range 256 {
			x := float64((float64(float64(v)-127.5)*contrast)+127.5) * brightness * gain
			table[j][v] = uint8(max(0, min(255, math.Round(x))))
		}
	}
	for i := 0; i+3 <= len(picture); i += 3 {
		picture[i], picture[i+1], picture[i+2] = table[0][picture[i]], table[1][picture[i+1]],
			table[2][picture[i+2]]
	}
}
