package pixels

import "image"

// Colour of JPEG and lossy WebP is stored at half size. Go's decoders leave it so,
// and Go's color package repeats samples; libjpeg-turbo and libwebp interpolate,
// each in its own way. What follows is their arithmetic.

// chroma is one plane of colour samples: w*h of them are real.
type chroma struct {
	pix    []uint8
	stride int
	w, h   int
}

func (c chroma) row(y int) []uint8 {
	y = max(0, min(c.h-1, y))
	return c.pix[y*c.stride : y*c.stride+c.w]
}

// planes answers the two colour planes and how many pixels share a sample.
func planes(im *image.YCbCr) (cb, cr chroma, hor, ver int) {
	hor, ver = 1, 1
	switch im.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		hor = 2
	case image.YCbCrSubsampleRatio420:
		hor, ver = 2, 2
	case image.YCbCrSubsampleRatio440:
		ver = 2
	case image.YCbCrSubsampleRatio411:
		hor = 4
	case image.YCbCrSubsampleRatio410:
		hor, ver = 4, 2
	}
	w, h := (im.Rect.Dx()+hor-1)/hor, (im.Rect.Dy()+ver-1)/ver
	return chroma{im.Cb, im.CStride, w, h}, chroma{im.Cr, im.CStride, w, h}, hor, ver
}

// rgbFromJPEG upsamples colour as libjpeg-turbo's "fancy" upsampling and converts
// with its tables.
func rgbFromJPEG(im *image.YCbCr) *rgbImage {
	out := takeRGB(im.Rect.Dx(), im.Rect.Dy())
	cbPlane, crPlane, hor, ver := planes(im)
	cb, cr := make([]int32, out.w+4), make([]int32, out.w+4)
	sums := make([]int32, cbPlane.w)
	for y := range out.h {
		upsampleJPEG(cb, sums, cbPlane, y, hor, ver)
		upsampleJPEG(cr, sums, crPlane, y, hor, ver)
		luma, to := im.Y[y*im.YStride:], out.pix[3*y*out.w:]
		for x := range out.w {
			l, b, r := int32(luma[x]), cb[x]-128, cr[x]-128
			to[3*x] = clip8(l + (91881*r+1<<15)>>16)
			to[3*x+1] = clip8(l + (-22554*b-46802*r+1<<15)>>16)
			to[3*x+2] = clip8(l + (116130*b+1<<15)>>16)
		}
	}
	return out
}

// upsampleJPEG fills out with the colour samples of picture row y. sums is scratch
// of the plane's width. libjpeg interpolates planes wider than 2 samples where two
// pixels share one, and repeats samples everywhere else.
func upsampleJPEG(out, sums []int32, c chroma, y, hor, ver int) {
	near := c.row(y / ver)
	shift, down, up := 2, int32(1), int32(2) // of left and right pixels
	interpolate := hor == 2 && c.w > 2 && ver <= 2
	switch {
	case ver == 2 && (interpolate || hor == 1):
		other := c.row(y/2 - 1 + 2*(y%2)) // the row above for even y, below for odd
		for x := range sums {
			sums[x] = 3*int32(near[x]) + int32(other[x])
		}
		shift, down, up = 4, 8, 7
	default:
		for x := range sums {
			sums[x] = int32(near[x])
		}
	}
	switch {
	case hor == 1 && ver == 2:
		bias := int32(1 + y%2)
		for x, s := range sums {
			out[x] = (s + bias) >> 2
		}
	case !interpolate:
		for x := range min(len(out), c.w*hor) {
			out[x] = int32(near[x/hor])
		}
	default:
		// Two pixels a sample: three parts of the nearer, one of the next.
		last := len(sums) - 1
		for x, s := range sums {
			left, right := (3*s+sums[max(0, x-1)]+down)>>shift, (3*s+sums[min(last, x+1)]+up)>>shift
			out[2*x], out[2*x+1] = left, right
		}
		// At both ends there is no next sample.
		if shift == 4 {
			out[0], out[2*last+1] = (4*sums[0]+down)>>shift, (4*sums[last]+up)>>shift
		} else {
			out[0], out[2*last+1] = sums[0], sums[last]
		}
	}
}

// rgbFromWebP upsamples and converts as libwebp does.
func rgbFromWebP(im *image.YCbCr) *rgbImage {
	out := takeRGB(im.Rect.Dx(), im.Rect.Dy())
	uPlane, vPlane, _, _ := planes(im)
	u, v := make([]int32, out.w+2), make([]int32, out.w+2)
	for y := range out.h {
		upsampleWebP(u[:out.w], uPlane, y)
		upsampleWebP(v[:out.w], vPlane, y)
		luma, to := im.Y[y*im.YStride:], out.pix[3*y*out.w:]
		for x := range out.w {
			l := int32(luma[x]) * 19077 >> 8
			to[3*x] = clip8((l + v[x]*26149>>8 - 14234) >> 6)
			to[3*x+1] = clip8((l - u[x]*6419>>8 - v[x]*13320>>8 + 8708) >> 6)
			to[3*x+2] = clip8((l + u[x]*33050>>8 - 17685) >> 6)
		}
	}
	return out
}

// upsampleWebP weighs the four nearest samples 9:3:3:1, rounding as libwebp does.
func upsampleWebP(out []int32, c chroma, y int) {
	near, other := c.row(y/2), c.row(y/2-1+2*(y%2))
	for x := range out {
		i := x / 2
		n, v := int32(near[i]), int32(other[i])
		j := i - 1 + 2*(x%2)
		if j < 0 || j >= c.w { // no neighbour at the picture's sides
			out[x] = (3*n + v + 2) >> 2
			continue
		}
		h, d := int32(near[j]), int32(other[j])
		out[x] = ((n+h+v+d+8+2*(h+v))>>3 + n) >> 1
	}
}

func clip8(v int32) uint8 { return uint8(max(0, min(255, v))) }
