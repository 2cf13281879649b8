//go:build goexperiment.simd && amd64

package dataset

import "simd/archsimd"

// haveVectors says that this processor has the instructions that the functions here and
// in augment_simd.go need. They make the same bytes as their plain counterparts.
var haveVectors = archsimd.X86.AVX2()

// differencesVectors is differencesPlain from the second pixel on for as many as are
// whole vectors, and answers where it ended. The median of a, b and a + b - c is
// a + b less c where c lies between a and b, and less the nearer of them elsewhere:
// so bytes will do, whose sums wrap.
func differencesVectors(out, row, above []uint8) int {
	defer archsimd.ClearAVXUpperBits()
	n := len(row)
	out, above = out[:n], above[:n]
	load := func(s []uint8) archsimd.Uint8x32 { return archsimd.LoadUint8x32((*[32]uint8)(s)) }
	x := 1
	for ; x+32 <= n; x += 32 {
		a, b, c := load(row[x-1:]), load(above[x:]), load(above[x-1:])
		median := a.Add(b).Sub(c.Max(a.Min(b)).Min(a.Max(b)))
		load(row[x:]).Sub(median).Store((*[32]uint8)(out[x:]))
	}
	return x
}

// addUpVectors is addUp with the three planes' bytes of a pixel in one vector: each
// depends on its left neighbour, so there is nothing else to do at once.
func (l *lossless) addUpVectors(dst []uint8, width, height int) {
	defer archsimd.ClearAVXUpperBits()
	n := width * height
	spread := func(v uint32) archsimd.Uint8x16 { return archsimd.BroadcastUint32x4(v).AsUint8x16() }
	above := l.above[:width]
	clear(above)
	for y := range height {
		g, r, b := l.planes[y*width:][:width], l.planes[n+y*width:][:width], l.planes[2*n+y*width:][:width]
		out := dst[3*y*width:][: 3*width : 3*width]
		left, corner := spread(0), spread(0)
		for x := range above {
			up, difference := spread(above[x]), spread(uint32(g[x])|uint32(r[x])<<8|uint32(b[x])<<16)
			median := left.Add(up).Sub(corner.Max(left.Min(up)).Min(left.Max(up)))
			left, corner = median.Add(difference), up
			v := left.AsUint32x4().GetElem(0)
			above[x] = v
			green := uint8(v)
			p := out[3*x : 3*x+3 : 3*x+3]
			p[0], p[1], p[2] = uint8(v>>8)+green, green, uint8(v>>16)+green
		}
	}
}
