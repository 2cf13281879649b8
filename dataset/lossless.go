package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/huff0"
)

// A shard keeps a picture as
//
//	width, height            uint16, little endian
//	three planes             green, red - green, blue - green, modulo 256
//
// and a plane as strips of whole rows, at most stripBytes long if a row is not
// longer. A byte stands in a strip as its difference, modulo 256, from the
// median of its left neighbour a, upper neighbour b, and a + b - c, c being
// upper left (LOCO-I, Weinberger et al. 2000; neighbours beyond the border are
// 0). A strip is
//
//	0, the bytes             as they are
//	1, a byte                all of them are this byte
//	2, n uint32, n bytes     a Huffman table and four streams of zstd (RFC 8878, 4.2)
//
// On photographs of 224 × 224 pixels that is smaller than zstd's highest level
// makes of the same differences, and 15 times as fast: matches gain nothing there.
const (
	stripRaw = iota
	stripRun
	stripHuffman

	stripBytes = 8192
	sizeBytes  = 4
)

// errPicture says that stored bytes are no picture.
var errPicture = errors.New("not a stored picture, or a damaged one")

// lossless is the memory to store or restore one picture at a time.
type lossless struct {
	planes []uint8 // green, red, blue: [3, height, width]
	strip  []uint8
	zeros  []uint8
	above  []uint32 // green, red and blue of the row above, for addUpVectors
	huff   huff0.Scratch
	table  *huff0.Scratch
}

var losslessPool = sync.Pool{New: func() any { return &lossless{} }}

// appendPicture appends pixels, uint8 RGB [height, width, 3], as a shard keeps them.
func appendPicture(out, rgb []uint8, width, height int) ([]uint8, error) {
	if width < 1 || height < 1 || width > 1<<16-1 || height > 1<<16-1 || len(rgb) != 3*width*height {
		return out, fmt.Errorf("%d bytes of pixels are not %d × %d", len(rgb), width, height)
	}
	l := losslessPool.Get().(*lossless)
	defer losslessPool.Put(l)
	l.size(width, height)
	n := width * height
	green, red, blue := l.planes[:n], l.planes[n:2*n], l.planes[2*n:]
	for i := range green {
		p := rgb[3*i : 3*i+3 : 3*i+3]
		green[i], red[i], blue[i] = p[1], p[0]-p[1], p[2]-p[1]
	}
	out = binary.LittleEndian.AppendUint16(out, uint16(width))
	out = binary.LittleEndian.AppendUint16(out, uint16(height))
	for _, plane := range [][]uint8{green, red, blue} {
		above := l.zeros
		for y, rows := 0, stripRows(width); y < height; y += rows {
			strip := l.strip[:(min(y+rows, height)-y)*width]
			for at := 0; at < len(strip); at += width {
				row := plane[y*width+at:][:width]
				differences(strip[at:at+width], row, above)
				above = row
			}
			out = l.appendStrip(out, strip)
		}
	}
	return out, nil
}

// size readies the memory for pictures of a size.
func (l *lossless) size(width, height int) {
	n := width * height
	if len(l.planes) != 3*n || len(l.zeros) != width {
		l.planes, l.zeros, l.above = make([]uint8, 3*n), make([]uint8, width), make([]uint32, width)
		l.strip = make([]uint8, 0, stripRows(width)*width)
	}
}

// stripRows is the number of rows of a strip.
func stripRows(width int) int { return max(1, stripBytes/width) }

// differences fills out with what a row differs by from its prediction.
func differences(out, row, above []uint8) {
	out[0] = row[0] - above[0]
	done := 1
	if haveVectors {
		done = differencesVectors(out, row, above)
	}
	differencesPlain(out, row, above, done)
}

// differencesPlain makes the differences from the pixel first on, which is 1 or more.
func differencesPlain(out, row, above []uint8, first int) {
	out, above = out[:len(row)], above[:len(row)]
	for x := first; x < len(row); x++ {
		out[x] = row[x] - uint8(predict(int(row[x-1]), int(above[x]), int(above[x-1])))
	}
}

// predict is the median of a, b and a + b - c.
func predict(a, b, c int) int { return max(min(a, b), min(max(a, b), a+b-c)) }

func (l *lossless) appendStrip(out, strip []uint8) []uint8 {
	l.huff.Reuse = huff0.ReusePolicyNone
	packed, _, err := huff0.Compress4X(strip, &l.huff)
	switch {
	case errors.Is(err, huff0.ErrUseRLE):
		return append(out, stripRun, strip[0])
	case err != nil || len(packed) >= len(strip): // too small, or of no pattern
		return append(append(out, stripRaw), strip...)
	}
	out = append(out, stripHuffman)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(packed)))
	return append(out, packed...)
}

// pixelsOf restores a stored picture into memory of its own.
func pixelsOf(stored []uint8) ([]uint8, error) {
	if len(stored) < sizeBytes {
		return nil, errPicture
	}
	// A byte stands for a row of a strip at the most, and a strip takes two.
	n := 3 * int(binary.LittleEndian.Uint16(stored)) * int(binary.LittleEndian.Uint16(stored[2:]))
	if n > len(stored)*stripBytes {
		return nil, errPicture
	}
	dst := make([]uint8, n)
	return dst, restorePicture(dst, stored)
}

// restorePicture puts a stored picture into dst, uint8 RGB [height, width, 3], whose
// length must be the picture's.
func restorePicture(dst, stored []uint8) error {
	if len(stored) < sizeBytes {
		return errPicture
	}
	width, height := int(binary.LittleEndian.Uint16(stored)), int(binary.LittleEndian.Uint16(stored[2:]))
	if width == 0 || 3*width*height != len(dst) {
		return fmt.Errorf("is %d × %d pixels, not the %d bytes expected", width, height, len(dst))
	}
	l := losslessPool.Get().(*lossless)
	defer losslessPool.Put(l)
	l.size(width, height)
	rest, rows := stored[sizeBytes:], stripRows(width)
	for i := range 3 {
		plane := l.planes[i*width*height : (i+1)*width*height]
		for y := 0; y < height; y += rows {
			var err error
			if rest, err = l.restoreStrip(plane[y*width:min(y+rows, height)*width], rest); err != nil {
				return err
			}
		}
	}
	if len(rest) > 0 {
		return errPicture
	}
	if haveVectors {
		l.addUpVectors(dst, width, height)
	} else {
		l.addUp(dst, width, height)
	}
	return nil
}

// restoreStrip fills strip from the front of in and gives what follows.
func (l *lossless) restoreStrip(strip, in []uint8) (rest []uint8, err error) {
	if len(in) < 2 {
		return nil, errPicture
	}
	how, in := in[0], in[1:]
	switch how {
	case stripRaw:
		if len(in) < len(strip) {
			return nil, errPicture
		}
		return in[copy(strip, in):], nil
	case stripRun:
		for i := range strip {
			strip[i] = in[0]
		}
		return in[1:], nil
	case stripHuffman:
		if len(in) < 4 {
			return nil, errPicture
		}
		n := int64(binary.LittleEndian.Uint32(in))
		if in = in[4:]; n > int64(len(in)) {
			return nil, errPicture
		}
		return in[n:], l.unpack(strip, in[:n])
	}
	return nil, errPicture
}

func (l *lossless) unpack(strip, packed []uint8) (err error) {
	if l.table, packed, err = huff0.ReadTable(packed, l.table); err != nil {
		l.table = nil
		return fmt.Errorf("%w: %w", errPicture, err)
	}
	got, err := l.table.Decoder().Decompress4X(strip[:0:len(strip)], packed)
	if err != nil || len(got) != len(strip) || &got[0] != &strip[0] {
		return errPicture
	}
	return nil
}

// addUp turns the planes' differences into pixels. The three planes depend on
// their own left neighbours only, so that a step of one waits for none of the
// others.
func (l *lossless) addUp(dst []uint8, width, height int) {
	n := width * height
	aboveG, aboveR, aboveB := l.zeros, l.zeros, l.zeros
	for y := range height {
		g, r, b := l.planes[y*width:][:width], l.planes[n+y*width:][:width], l.planes[2*n+y*width:][:width]
		out := dst[3*y*width:][: 3*width : 3*width]
		aboveG, aboveR, aboveB = aboveG[:width], aboveR[:width], aboveB[:width]
		var leftG, leftR, leftB, cornerG, cornerR, cornerB int
		for x := range width {
			upG, upR, upB := int(aboveG[x]), int(aboveR[x]), int(aboveB[x])
			leftG = (int(g[x]) + predict(leftG, upG, cornerG)) & 0xff
			leftR = (int(r[x]) + predict(leftR, upR, cornerR)) & 0xff
			leftB = (int(b[x]) + predict(leftB, upB, cornerB)) & 0xff
			cornerG, cornerR, cornerB = upG, upR, upB
			g[x], r[x], b[x] = uint8(leftG), uint8(leftR), uint8(leftB)
			p := out[3*x : 3*x+3 : 3*x+3]
			p[0], p[1], p[2] = uint8(leftR+leftG), uint8(leftG), uint8(leftB+leftG)
		}
		aboveG, aboveR, aboveB = g, r, b
	}
}
