//go:build goexperiment.simd && amd64

package dataset

import "simd/archsimd"

// upperPairs and lowerPairs put each channel of two pixels side by side, one row's in
// front of the other's.
var (
	upperPairs = [16]int8{0, 3, 1, 4, 2, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1}
	lowerPairs = [16]int8{-1, -1, -1, -1, -1, -1, -1, -1, 0, 3, 1, 4, 2, 5, -1, -1}
)

// lowBytes takes the low byte of each of four int32.
var lowBytes = [16]int8{0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1}

// sixteen are the bytes of a picture from i on, and of the slack behind it.
func sixteen(pix []uint8, i int) *[16]uint8 { return (*[16]uint8)(pix[i : i+16]) }

// warpVectors is warpPixel for pixels one after the other, the source of each ux, vx
// from the last one's, for as long as all samples are the picture's. It answers how
// many that were. There is slack behind from.
func warpVectors(to, from []uint8, w, h int, u, v, ux, vx int64) (pixels int) {
	defer archsimd.ClearAVXUpperBits()
	upper, lower, low := archsimd.LoadInt8x16(&upperPairs), archsimd.LoadInt8x16(&lowerPairs),
		archsimd.LoadInt8x16(&lowBytes)
	half := archsimd.BroadcastInt32x4(1 << 15)
	for ; 3*pixels < len(to) && inside(u, v, w, h); pixels++ {
		fx, fy := int32(u>>8)&255, int32(v>>8)&255
		at := 3 * (int(v>>16)*w + int(u>>16))
		samples := archsimd.LoadUint8x16(sixteen(from, at)).PermuteOrZero(upper).Or(
			archsimd.LoadUint8x16(sixteen(from, at+3*w)).PermuteOrZero(lower),
		)
		across := samples.ExtendToUint16().AsInt16x16().DotProductPairs(
			archsimd.BroadcastInt32x8(256 - fx | fx<<16).AsInt16x16(),
		)
		sum := across.GetLo().Mul(archsimd.BroadcastInt32x4(256 - fy)).Add(
			across.GetHi().Mul(archsimd.BroadcastInt32x4(fy)),
		)
		rgb := sum.Add(half).ShiftAllRight(16).AsUint8x16().PermuteOrZero(low).AsUint32x4().GetElem(0)
		p := to[3*pixels : 3*pixels+3 : 3*pixels+3]
		p[0], p[1], p[2] = uint8(rgb), uint8(rgb>>8), uint8(rgb>>16)
		u, v = u+ux, v+vx
	}
	return pixels
}
