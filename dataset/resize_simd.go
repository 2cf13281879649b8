//go:build goexperiment.simd && amd64

package dataset

import "simd/archsimd"

// haveVectors: the processor has what the functions below need. They make the same
// bytes as their plain counterparts: sums of int32 in any order are equal.
var haveVectors = archsimd.X86.AVX2()

// twoPixels spreads RGB RGB to the bytes of two times four.
var twoPixels = [16]int8{0, 1, 2, -1, 3, 4, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1}

// lowBytes takes the low byte of each of four int32.
var lowBytes = [16]int8{0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1}

// widthVectors is widthPlain, two input pixels at a time. It writes four times four
// bytes where three belong: the next pixel, row or the slack takes the others.
func widthVectors(out, im *rgbImage, ws []window) {
	defer archsimd.ClearAVXUpperBits()
	weights := pairedWeights(ws)
	spread, low := archsimd.LoadInt8x16(&twoPixels), archsimd.LoadInt8x16(&lowBytes)
	start := archsimd.LoadInt32x8(&[8]int32{rounding, rounding, rounding})
	least, most := archsimd.BroadcastInt32x4(0), archsimd.BroadcastInt32x4(255)
	from, to := im.pix[:3*im.w*im.h+slack], out.pix[:3*out.w*out.h+slack]
	for y := range im.h {
		row, k := from[3*y*im.w:], weights
		for x := range ws {
			p, sums := row[3*ws[x].first:], start
			for range (len(ws[x].weights) + 1) / 2 {
				pixels := archsimd.LoadUint8x16((*[16]uint8)(p)).PermuteOrZero(spread).ExtendLo8ToUint32().AsInt32x8()
				sums = sums.Add(pixels.Mul(archsimd.LoadInt32x8((*[8]int32)(k))))
				p, k = p[6:], k[8:]
			}
			sum := sums.GetLo().Add(sums.GetHi()).ShiftAllRight(precisionBits).Max(least).Min(most)
			sum.AsUint8x16().PermuteOrZero(low).Store((*[16]uint8)(to[3*(y*out.w+x):]))
		}
	}
}

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
	start, least, most := archsimd.BroadcastInt32x8(rounding), archsimd.BroadcastInt32x8(0), archsimd.BroadcastInt32x8(255)
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
				return v.ShiftAllRight(precisionBits).Max(least).Min(most).AsUint8x32().PermuteOrZeroGrouped(low)
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
