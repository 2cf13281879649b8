package inspect

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"distilvit/dataset/pixels"
)

// picture is what is kept of one, as a record of pictureBytes.
type picture struct {
	digest [16]byte // of its file: equal files are exact duplicates
	look   look
	number int32 // in the catalogue
	split  int8  // index into splits
}

const pictureBytes = 8 + 48 + 16 + 4 + 1

// record appends what is kept of a picture. Records are sorted by look, digest and number.
func (p picture) record(out []byte) []byte {
	out = binary.BigEndian.AppendUint64(out, p.look.hash)
	out = append(out, p.look.colour[:]...)
	out = append(out, p.digest[:]...)
	out = binary.BigEndian.AppendUint32(out, uint32(p.number))
	return append(out, byte(p.split))
}

// pictureOf reads a record.
func pictureOf(record []byte) (p picture) {
	p.look.hash = binary.BigEndian.Uint64(record)
	copy(p.look.colour[:], record[8:])
	copy(p.digest[:], record[56:])
	p.number = int32(binary.BigEndian.Uint32(record[72:]))
	p.split = int8(record[76])
	return p
}

// look is how a picture looks, whatever its size and compression.
type look struct {
	hash   uint64           // perceptualHash
	colour [4 * 4 * 3]uint8 // mean RGB of its sixteen parts, row by row
}

const (
	hashSide  = 32 // of the picture that is hashed, pixels
	frequency = 8  // lowest frequencies in each direction that the hash has

	// colourLimit is how far apart the colours of near duplicates are, levels of 255 in the mean
	// of all parts. JPEG at quality 20 moves them by 1; drawings that differ in the
	// colour of one thing by more than 2.
	colourLimit = 2.0

	// greyLevels is how far a grey picture's channels are apart, in each part's mean. greyLimit is for a
	// grey picture beside one in colours: their greys alone are compared. Grey copies of photographs are
	// apart by at most 0.8.
	greyLevels = 2
	greyLimit  = 1.0
)

// newPicture decodes a picture as a run does and takes what is kept of it.
func newPicture(raw []byte, p pixels.Processor) (picture, error) {
	p.Width, p.Height, p.Resample = hashSide, hashSide, pixels.Lanczos
	rgb, _, err := p.Pixels(raw)
	if err != nil {
		return picture{}, err
	}
	sum := sha256.Sum256(raw)
	out := picture{look: look{perceptualHash(rgb), colours(rgb)}}
	copy(out.digest[:], sum[:])
	return out, nil
}

// near says whether two pictures look alike: their hashes differ in at most so many bits, and their
// colours, which the hash does not have, by little.
func (l look) near(other look, most int) bool {
	if l.distance(other) > most {
		return false
	}
	if l.isGrey() != other.isGrey() {
		return l.greysApart(other) <= greyLimit
	}
	sum := 0
	for i, v := range l.colour {
		sum += max(int(v)-int(other.colour[i]), int(other.colour[i])-int(v))
	}
	return float64(sum) <= colourLimit*float64(len(l.colour))
}

// isGrey says whether the picture has no colours.
func (l look) isGrey() bool {
	for part := range slices.Chunk(l.colour[:], 3) {
		if slices.Max(part)-slices.Min(part) > greyLevels {
			return false
		}
	}
	return true
}

// greysApart is how far the greys of the parts are apart, levels in the mean.
func (l look) greysApart(other look) float64 {
	sum := 0
	for i := 0; i < len(l.colour); i += 3 {
		d := luma(l.colour[i:]) - luma(other.colour[i:])
		sum += max(d, -d)
	}
	return float64(sum) / float64(1<<16*len(l.colour)/3)
}

// luma is Pillow's convert("L") of RGB, in 16 bits more: ITU-R 601-2.
func luma(rgb []uint8) int { return 19595*int(rgb[0]) + 38470*int(rgb[1]) + 7471*int(rgb[2]) }

// distance is the number of bits, 0 to 64, in which the hashes differ.
func (l look) distance(other look) int { return bits.OnesCount64(l.hash ^ other.hash) }

// perceptualHash is ImageHash's phash of 32 × 32 RGB pixels: each of the 8 × 8 lowest frequencies of the
// greys' cosine transform (DCT-II) is above their median, a 1, or not. The first bit is the highest.
func perceptualHash(rgb []uint8) uint64 {
	var grey [hashSide][hashSide]float64
	for i := range hashSide * hashSide {
		l := (luma(rgb[3*i:]) + 1<<15) >> 16
		grey[i/hashSide][i%hashSide] = float64(l)
	}
	var columns [frequency][hashSide]float64 // transformed down each column
	for f := range columns {
		for x := range hashSide {
			for y := range hashSide {
				columns[f][x] += cosines[f][y] * grey[y][x]
			}
		}
	}
	var low [frequency * frequency]float64
	for i := range low {
		for x := range hashSide {
			low[i] += cosines[i%frequency][x] * columns[i/frequency][x]
		}
	}
	sorted := slices.Sorted(slices.Values(low[:]))
	median := (sorted[len(low)/2-1] + sorted[len(low)/2]) / 2
	hash := uint64(0)
	for _, v := range low {
		hash <<= 1
		if v > median {
			hash |= 1
		}
	}
	return hash
}

// cosines are the transform's: cosines[f][x] = cos(π f (2x+1) / (2·32)).
var cosines = func() (c [frequency][hashSide]float64) {
	for f := range c {
		for x := range c[f] {
			c[f][x] = math.Cos(math.Pi * float64(f) * float64(2*x+1) / (2 * hashSide))
		}
	}
	return c
}()

// colours are the mean RGB of the 4 × 4 parts of 32 × 32 pixels.
func colours(rgb []uint8) (out [4 * 4 * 3]uint8) {
	const side = hashSide / 4
	var sums [len(out)]int
	for i, v := range rgb {
		x, y := i/3%hashSide, i/3/hashSide
		sums[3*(y/side*4+x/side)+i%3] += int(v)
	}
	for i, sum := range sums {
		out[i] = uint8(sum / (side * side))
	}
	return out
}
