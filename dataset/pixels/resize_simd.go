//go:build goexperiment.simd && amd64

package pixels

import (
	"simd/archsimd"
	"unsafe"
)

// haveVectors says that this processor has the instructions that the functions below
// need. They make the same bytes as their plain counterparts, since sums of int32 are
// equal in any order.
var haveVectors = archsimd.X86.AVX2()

// twoPixels spreads RGB RGB to the bytes of two times four.
var twoPixels = [16]int8{0, 1, 2, -1, 3, 4, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1}

// lowBytes takes the low byte of each of four int32.
var lowBytes = [16]int8{0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1}

// widthVectors is widthPlain for four rows at a time, and two input pixels of each. It
// writes four times four bytes where three belong, so into rows of its own.
func widthVectors(out, im *rgbImage, ws []window) {
	defer archsimd.ClearAVXUpperBits()
	weights := pairedWeights(ws)
	spread, low := archsimd.LoadInt8x16(&twoPixels), archsimd.LoadInt8x16(&lowBytes)
	start := archsimd.LoadInt32x8(&[8]int32{rounding, rounding, rounding})
	least, most := archsimd.BroadcastInt32x4(0), archsimd.BroadcastInt32x4(255)
	add := func(sums archsimd.Int32x8, row []uint8, at int, k archsimd.Int32x8) archsimd.Int32x8 {
		two := archsimd.LoadUint8x16(sixteen(row, at)).PermuteOrZero(spread)
		return sums.Add(two.ExtendLo8ToUint32().AsInt32x8().Mul(k))
	}
	put := func(row []uint8, at int, sums archsimd.Int32x8) {
		sum := sums.GetLo().Add(sums.GetHi()).ShiftAllRight(precisionBits).Max(least).Min(most)
		sum.AsUint8x16().PermuteOrZero(low).Store(sixteen(row, at))
	}
	from, to := 3*im.w, 3*out.w
	stride := to + slack
	done := make([]uint8, 4*stride)
	for y := 0; y < im.h; y += 4 {
		last := im.h - 1 // stands in where fewer rows are left
		row0, row1 := im.pix[y*from:][:from], im.pix[min(y+1, last)*from:][:from]
		row2, row3 := im.pix[min(y+2, last)*from:][:from], im.pix[min(y+3, last)*from:][:from]
		k := 0
		for x := range ws {
			a, b, c, d := start, start, start, start
			at := 3 * ws[x].first
			for end := at + 3*len(ws[x].weights); at < end; at += 6 {
				weight := archsimd.LoadInt32x8((*[8]int32)(unsafe.Pointer(&weights[k])))
				a, b = add(a, row0, at, weight), add(b, row1, at, weight)
				c, d = add(c, row2, at, weight), add(d, row3, at, weight)
				k += 8
			}
			at = 3 * x
			put(done, at, a)
			put(done, stride+at, b)
			put(done, 2*stride+at, c)
			put(done, 3*stride+at, d)
		}
		for i := range min(4, im.h-y) {
			copy(out.pix[(y+i)*to:][:to], done[i*stride:])
		}
	}
}

// sixteen are the bytes of an image from i on. Beyond its end there is slack.
func sixteen(pix []uint8, i int) *[16]uint8 { return (*[16]uint8)(unsafe.Pointer(&pix[i])) }

// pairedWeights are all windows' weights two by two, each four times for red, green,
// blue and nothing; a window of odd length ends with a weight of 0.
func pairedWeights(ws []window) []int32 {
	n := 0
	for _, win := range ws {
		n += (len(win.weights) + 1) / 2
	}
	out := make([]int32, 8*n)
	at := 0
	for _, win := range ws {
		for i, k := range win.weights {
			to := out[at+4*i:]
			to[0], to[1], to[2] = k, k, k
		}
		at += (len(win.weights) + 1) / 2 * 8
	}
	return out
}

// fourth takes the low byte of each of eight int32 to the nth byte of four.
func fourth(n int) archsimd.Int8x32 {
	var at [32]int8
	for i := range at {
		at[i] = -1
	}
	for half := range 2 {
		for i := range 4 {
			at[16*half+4*n+i] = int8(4 * i)
		}
	}
	return archsimd.LoadInt8x32(&at)
}

// columns is how many bytes of a row heightVectors makes at a time.
const columns = 32

// heightVectors is heightPlain for as many of a row's bytes as are whole vectors, and
// answers how many that are.
func heightVectors(out, im *rgbImage, ws []window) int {
	n := 3 * im.w
	whole := n / columns * columns
	if whole == 0 {
		return 0
	}
	defer archsimd.ClearAVXUpperBits()
	low0, low1, low2, low3 := fourth(0), fourth(1), fourth(2), fourth(3)
	inOrder := archsimd.LoadUint32x8(&[8]uint32{0, 4, 1, 5, 2, 6, 3, 7})
	start, least, most := archsimd.BroadcastInt32x8(rounding), archsimd.BroadcastInt32x8(0),
		archsimd.BroadcastInt32x8(255)
	from := im.pix[:n*im.h+slack]
	for y, win := range ws {
		to := out.pix[y*n:][:n]
		for x := 0; x < whole; x += columns {
			a, b, c, d := start, start, start, start
			at := win.first*n + x
			for _, weight := range win.weights {
				k, p := archsimd.BroadcastInt32x8(weight), from[at:at+columns+slack/4]
				a = a.Add(eight(p).Mul(k))
				b = b.Add(eight(p[8:]).Mul(k))
				c = c.Add(eight(p[16:]).Mul(k))
				d = d.Add(eight(p[24:]).Mul(k))
				at += n
			}
			bytes := func(v archsimd.Int32x8, low archsimd.Int8x32) archsimd.Uint8x32 {
				clipped := v.ShiftAllRight(precisionBits).Max(least).Min(most)
				return clipped.AsUint8x32().PermuteOrZeroGrouped(low)
			}
			all := bytes(a, low0).Or(bytes(b, low1)).Or(bytes(c, low2)).Or(bytes(d, low3))
			all.AsUint32x8().Permute(inOrder).AsUint8x32().Store((*[columns]uint8)(to[x:]))
		}
	}
	return whole
}

// eight are the first 8 bytes of p, of which there are 16 or more.
func eight(p []uint8) archsimd.Int32x8 {
	return archsimd.LoadUint8x16((*[16]uint8)(p)).ExtendLo8ToUint32().AsInt32x8()
}
