package pixels

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
func windows(in, out int, f filter) []window { return middleWindows(in, out, out, f) }

// middleWindows are the n in the middle of an axis's windows.
func middleWindows(in, out, n int, f filter) []window {
	begin := (out - n) / 2
	if in == out { // each position is itself, and rounding leaves it as it is
		ws := make([]window, n)
		for i := range ws {
			ws[i] = window{begin + i, []int32{1 << precisionBits}}
		}
		return ws
	}
	scale := float64(in) / float64(out)
	stretch := max(1, scale)
	support := f.support * stretch
	inverse := 1 / stretch
	ws := make([]window, n)
	most := int(math.Ceil(support))*2 + 1
	values, memory := make([]float64, 0, most), make([]int32, n*most)
	for i := range ws {
		center := float64((float64(begin+i) + 0.5) * scale)
		first := max(0, int(center-support+0.5))
		last := min(in, int(center+support+0.5))
		values = values[:0]
		sum := 0.0
		for x := range last - first {
			v := f.at(float64((float64(x+first) - center + 0.5) * inverse))
			values = append(values, v)
			sum += v
		}
		var weights []int32
		weights, memory = memory[:len(values):len(values)], memory[len(values):]
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
	return im.resizeMiddle(w, h, w, h, resample)
}

// resizeMiddle is the middle of resize(w, h): cw × ch pixels, and no others are computed, however long the
// picture is.
func (im *rgbImage) resizeMiddle(w, h, cw, ch, resample int) *rgbImage {
	if resample == Nearest {
		return im.nearest(w, h, cw, ch)
	}
	if w == im.w && h == im.h && cw == w && ch == h {
		return im
	}
	f := filters[resample]
	rows, columns := middleWindows(im.h, h, ch, f), middleWindows(im.w, w, cw, f)
	switch {
	case w == im.w && cw == w:
		return im.resizeHeight(newRGB(cw, ch), rows)
	case h == im.h && ch == h:
		return im.resizeWidth(newRGB(cw, ch), columns)
	case heightFirst(im.w, im.h, w, h):
		half := im.resizeHeight(takeRGB(im.w, ch), rows)
		defer half.giveBack()
		return half.resizeWidth(newRGB(cw, ch), columns)
	}
	part := im.within(rows)
	half := part.resizeWidth(takeRGB(cw, part.h), columns)
	defer half.giveBack()
	return half.resizeHeight(newRGB(cw, ch), rows)
}

// heightFirst says whether resize begins with the rows, where both axes change.
func heightFirst(w, h, toW, toH int) bool { return h-toH > 2*(w-toW) && toH < h }

// within is a view of the rows that windows reach, which are counted from its first one afterwards.
func (im *rgbImage) within(ws []window) *rgbImage {
	last := ws[len(ws)-1]
	first, end := ws[0].first, last.first+len(last.weights)
	for i := range ws {
		ws[i].first -= first
	}
	return &rgbImage{w: im.w, h: end - first, pix: im.pix[3*first*im.w : 3*end*im.w]}
}

// nearest is ImagingScaleAffine: positions are added up, rounding and all, and what comes to lie outside
// stays black. Of w × h pixels the cw × ch in the middle are made.
func (im *rgbImage) nearest(w, h, cw, ch int) *rgbImage {
	positions := func(in, out, n int) []int {
		list := make([]int, n)
		scale := float64(in) / float64(out)
		at := scale * 0.5
		begin := (out - n) / 2
		for i := range begin + n {
			if i >= begin {
				list[i-begin] = int(at)
			}
			at += scale
		}
		return list
	}
	out := newRGB(cw, ch)
	columns := positions(im.w, w, cw)
	for y, from := range positions(im.h, h, ch) {
		for x, column := range columns {
			if from < im.h && column < im.w {
				copy(out.pix[3*(y*cw+x):][:3], im.pix[3*(from*im.w+column):])
			}
		}
	}
	return out
}

// resizeWidth fills and gives out, as high as im and len(ws) wide.
func (im *rgbImage) resizeWidth(out *rgbImage, ws []window) *rgbImage {
	if haveVectors {
		widthVectors(out, im, ws)
	} else {
		widthPlain(out, im, ws)
	}
	return out
}

// resizeHeight fills and gives out, as wide as im and len(ws) high.
func (im *rgbImage) resizeHeight(out *rgbImage, ws []window) *rgbImage {
	first := 0
	if haveVectors {
		first = heightVectors(out, im, ws)
	}
	heightPlain(out, im, ws, first)
	return out
}

const rounding = 1 << (precisionBits - 1)

func widthPlain(out, im *rgbImage, ws []window) {
	for y := range im.h {
		row, to := im.pix[3*y*im.w:3*(y+1)*im.w], out.pix[3*y*out.w:3*(y+1)*out.w]
		for x, win := range ws {
			r, g, b := int32(rounding), int32(rounding), int32(rounding)
			p := row[3*win.first : 3*(win.first+len(win.weights))]
			for _, k := range win.weights {
				r += int32(p[0]) * k
				g += int32(p[1]) * k
				b += int32(p[2]) * k
				p = p[3:]
			}
			to[3*x], to[3*x+1], to[3*x+2] = clip8(r>>precisionBits), clip8(g>>precisionBits),
				clip8(b>>precisionBits)
		}
	}
}

// heightPlain makes each row's bytes from first on.
func heightPlain(out, im *rgbImage, ws []window, first int) {
	n := 3 * im.w
	if first == n {
		return
	}
	sums := make([]int32, n-first)
	for y, win := range ws {
		for i := range sums {
			sums[i] = rounding
		}
		for j, k := range win.weights {
			row := im.pix[(win.first+j)*n+first:][:len(sums)]
			for i, v := range row {
				sums[i] += int32(v) * k
			}
		}
		to := out.pix[y*n+first:][:len(sums)]
		for i, s := range sums {
			to[i] = clip8(s >> precisionBits)
		}
	}
}
