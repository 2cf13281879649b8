package dataset

import "math"

const thumbnailSide = 16

// Thumbnail is a picture at 16 × 16 pixels, RGB, to find the picture that looks most like another.
type Thumbnail [thumbnailSide * thumbnailSide * 3]uint8

// NewThumbnail is the means of the parts of a square picture of H*H*3 RGB values.
func NewThumbnail(pixels []byte) (t Thumbnail) {
	side := int(math.Sqrt(float64(len(pixels) / 3)))
	for y := range thumbnailSide {
		top, bottom := part(y, side)
		for x := range thumbnailSide {
			left, right := part(x, side)
			var sum [3]int
			for row := top; row < bottom; row++ {
				for i := (row*side + left) * 3; i < (row*side+right)*3; i += 3 {
					sum[0] += int(pixels[i])
					sum[1] += int(pixels[i+1])
					sum[2] += int(pixels[i+2])
				}
			}
			for c, v := range sum {
				t[(y*thumbnailSide+x)*3+c] = uint8(v / ((bottom - top) * (right - left)))
			}
		}
	}
	return t
}

// part is the pixels that one of a side's 16 parts covers, at least one.
func part(i, side int) (from, to int) {
	from = i * side / thumbnailSide
	return from, max((i+1)*side/thumbnailSide, from+1)
}

// Nearest is the index of the thumbnail with the smallest sum of absolute differences, the first of equal ones;
// -1 of none.
func (t *Thumbnail) Nearest(all []Thumbnail) int {
	best, least := -1, math.MaxInt
	for i := range all {
		if d := t.distance(&all[i], least); d < least {
			best, least = i, d
		}
	}
	return best
}

// distance stops at a row's end once it is enough.
func (t *Thumbnail) distance(other *Thumbnail, enough int) int {
	const row = thumbnailSide * 3
	sum := 0
	for at := 0; at < len(t) && sum < enough; at += row {
		a, b := t[at:at+row], other[at:at+row]
		for i, v := range a {
			d := int(v) - int(b[i])
			sum += max(d, -d)
		}
	}
	return sum
}
