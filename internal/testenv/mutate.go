package testenv

import (
	"bytes"
	"math/rand/v2"
)

// Mutate is a copy of b in which a few bytes are others, a stretch is cut off, doubled or left out, or a number is another.
func Mutate(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + r.IntN(4) {
		if len(b) < 2 {
			return b
		}
		i, j := r.IntN(len(b)), r.IntN(len(b))
		if i > j {
			i, j = j, i
		}
		switch r.IntN(7) {
		case 0:
			b[i] = byte(r.Uint32())
		case 1:
			b[i] ^= 1 << r.IntN(8)
		case 2:
			if r.IntN(4) == 0 { // a cut leaves little to try
				b = b[:j]
			}
		case 3:
			b = append(b[:min(j, i+64):min(j, i+64)], b[i:]...)
		case 4:
			b = append(b[:i:i], b[min(j, i+16):]...)
		case 5:
			for k := i; k < j && k < i+200; k++ {
				if b[k] >= '0' && b[k] <= '9' {
					b[k] = '0' + byte(r.IntN(10))
				}
			}
		case 6: // the largest numbers of four bytes
			for k := i; k < min(len(b), i+4); k++ {
				b[k] = []byte{0xff, 0x7f, 0}[r.IntN(3)]
			}
		}
	}
	return b
}
