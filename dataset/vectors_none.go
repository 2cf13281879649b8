//go:build !goexperiment.simd || !amd64

package dataset

const haveVectors = false

func warpVectors(to, from []uint8, w, h int, u, v, ux, vx int64) int { return 0 }
func (l *lossless) addUpVectors(dst []uint8, width, height int)      {}
func differencesVectors(out, row, above []uint8) int                 { return 1 }
