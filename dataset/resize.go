package dataset

import "math"

// precisionBits is the fixed point of Pillow's ImagingResample for 8-bit pixels.
const precisionBits = 32 - 8 - 2

// filter is a resampling kernel and half its width at scale 1.
type filter struct {
	support float64
	at      func(x float64) float64
}

var filters = map[int]filter{
	Bilinear: {1, func(x float64) float64 { return max(0, 1-math.Abs(x)) }},
	Bicubic:  {2, bicubic},
	Lanczos:  {3, func(x float64) float64 { return sinc(x) * sinc(x/3) }},
	Box:      {0.5, box},
	Hamming:  {1, hamming},
}

// box is Pillow's: of two neighbours as far away, the left one does not count.
func box(x float64) float64 {
	if x > -0.5 && x <= 0.5 {
		return 1
	}
	return 0
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

func hamming(x float64) float64 {
	if x = math.Abs(x); x >= 1 {
		return 0
	}
	return sinc(x) * (0.54 + float64(0.46*math.Cos(x*math.Pi)))
}

// bicubic is Pillow's, with a = -0.5.
func bicubic(x float64) float64 {
	const a = -0.5
	x = math.Abs(x)
	switch {
	case x < 1:
		return float64(float64(float64(float64((a+2)*x)-(a+3))*x)*x) + 1
	case x < 2:
		return float64((float64((float64((x-5)*x)+8)*x) - 4) * a)
	}
	return 0
}

// window is the input positions that one output position is made of.
type window struct {
	first   int
	weights []int32 // sum near 1<<precisionBits
}

// windows are Pillow's precompute_coeffs and normalize_coeffs_8bpc for a whole axis.
func windows(in, out int, f filter) []window {
	scale := float64(in) / float64(out)
	stretch := max(1, scale)
	support := f.support * stretch
	inverse := 1 / stretch
	ws := make([]window, out)
	values := make([]float64, 0, int(math.Ceil(support))*2+1)
	for i := range ws {
		center := float64((float64(i) + 0.5) * scale)
		first := max(0, int(center-support+0.5))
		last := min(in, int(center+support+0.5))
		values = values[:0]
		sum := 0.0
		for x := range last - first {
			v := f.at(float64((float64(x+first) - center + 0.5) * inverse))
			values = append(values, v)
			sum += v
		}
		weights := make([]int32, len(values))
		for x, v := range values {
			if sum != 0 {
				v /= sum
			}
			v = float64(v * (1 << precisionBits))
			if v < 0 {
				weights[x] = int32(v - 0.5)
			} else {
				weights[x] = int32(v + 0.5)
			}
		}
		ws[i] = window{first, weights}
	}
	return ws
}

// resize is Image.resize of Pillow 13, bit for bit: one axis after the other, each
// rounded to 8 bits; an axis that keeps its length is left alone. Since version 13
// rows come first where the height shrinks by more than twice what the width does;
// before, columns always did. The two orders differ by a level here and there.
func (im *rgbImage) resize(w, h, resample int) *rgbImage {
	if resample == Nearest {
		return im.nearest(w, h)
	}
	f := filters[resample]
	rowsFirst := h < im.h && im.h-h > 2*(im.w-w)
	if rowsFirst {
		im = im.resizeHeight(windows(im.h, h, f))
	}
	if w != im.w {
		im = im.resizeWidth(windows(im.w, w, f))
	}
	if h != im.h {
		im = im.resizeHeight(windows(im.h, h, f))
	}
	return im
}

// nearest is ImagingScaleAffine: positions are added up, rounding and all, and what
// comes to lie outside stays black.
func (im *rgbImage) nearest(w, h int) *rgbImage {
	positions := func(in, out int) []int {
		list := make([]int, out)
		scale := float64(in) / float64(out)
		at := scale * 0.5
		for i := range list {
			list[i] = int(at)
			at += scale
		}
		return list
	}
	out := newRGB(w, h)
	columns := positions(im.w, w)
	for y, from := range positions(im.h, h) {
		for x, column := range columns {
			if from < im.h && column < im.w {
				copy(out.pix[3*(y*w+x):][:3], im.pix[3*(from*im.w+column):])
			}
		}
	}
	return out
}

func (im *rgbImage) resizeWidth(ws []window) *rgbImage {
	out := newRGB(len(ws), im.h)
	for y := range im.h {
		row, to := im.pix[3*y*im.w:3*(y+1)*im.w], out.pix[3*y*out.w:3*(y+1)*out.w]
		for x, win := range ws {
			r, g, b := int32(1)<<(precisionBits-1), int32(1)<<(precisionBits-1), int32(1)<<(precisionBits-1)
			p := row[3*win.first : 3*(win.first+len(win.weights))]
			for _, k := range win.weights {
				r += int32(p[0]) * k
				g += int32(p[1]) * k
				b += int32(p[2]) * k
				p = p[3:]
			}
			to[3*x], to[3*x+1], to[3*x+2] = clip8(r>>precisionBits), clip8(g>>precisionBits), clip8(b>>precisionBits)
		}
	}
	return out
}

func (im *rgbImage) resizeHeight(ws []window) *rgbImage {
	out := newRGB(im.w, len(ws))
	n := 3 * im.w
	sums := make([]int32, n)
	for y, win := range ws {
		for i := range sums {
			sums[i] = 1 << (precisionBits - 1)
		}
		for j, k := range win.weights {
			row := im.pix[(win.first+j)*n:][:len(sums)]
			for i, v := range row {
				sums[i] += int32(v) * k
			}
		}
		to := out.pix[y*n:][:len(sums)]
		for i, s := range sums {
			to[i] = clip8(s >> precisionBits)
		}
	}
	return out
}
