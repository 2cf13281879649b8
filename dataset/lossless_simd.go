//go:build goexperiment.simd && amd64

package dataset

import "simd/archsimd"

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
