//go:build !goexperiment.simd || !amd64

package pixels

const haveVectors = false

func widthVectors(out, im *rgbImage, ws []window)      {}
func heightVectors(out, im *rgbImage, ws []window) int { return 0 }
