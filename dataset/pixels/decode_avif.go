package pixels

import (
	"encoding/binary"
	"errors"
	"image"

	"distilvit/internal/avif"
)

func isAVIF(b []byte) bool { return hasBrand(b, "avif", "avis") }

// avifBytes is what the decoder takes beside its pixels, and avifPerPixel of each, as
// measured: planes, RGBA twice, and our pixels. More than avif.MemoryBytes it cannot take.
const (
	avifBytes    = 20 << 20
	avifPerPixel = 22
)

func headerAVIF(b []byte) (header, error) {
	h, err := avif.ReadHeader(b)
	if err != nil {
		return header{}, err
	}
	perPixel := int64(avifPerPixel)
	if h.Depth > 8 {
		perPixel *= 2
	}
	out := header{w: h.Width, h: h.Height, bytes: avifBytes + perPixel*int64(h.Width)*int64(h.Height)}
	return out, nil
}

// decodeAVIF rounds samples of 10 and 12 bits to 8.
func decodeAVIF(b []byte) (out *rgbImage, err error) {
	err = avif.Decode(b, func(h avif.Header, pix []uint8) {
		r := image.Rect(0, 0, h.Width, h.Height)
		if h.Depth == 8 {
			out = eachPixel(r, 4*h.Width, 4, pix, func(p, to []uint8) { copy(to, p[:3]) })
			return
		}
		out = eachPixel(r, 8*h.Width, 8, pix, func(p, to []uint8) {
			for i := range to {
				to[i] = uint8((uint32(binary.LittleEndian.Uint16(p[2*i:]))*255 + 32767) / 65535)
			}
		})
	})
	return out, err
}

// bmffBox finds a box of ISO base media (ISO/IEC 14496-12) among its brothers.
func bmffBox(b []byte, kind string) ([]byte, error) {
	for len(b) >= 8 {
		n := uint64(binary.BigEndian.Uint32(b))
		if n == 0 { // up to the end
			n = uint64(len(b))
		}
		if n < 8 || n > uint64(len(b)) {
			break
		}
		if string(b[4:8]) == kind {
			return b[8:n], nil
		}
		b = b[n:]
	}
	return nil, errors.New("has no box " + kind)
}

// orientationAVIF is the EXIF orientation that a picture's properties of rotation and
// mirroring stand for, as Pillow has it.
func orientationAVIF(b []byte) int {
	meta, err := bmffBox(b, "meta")
	if err != nil || len(meta) < 4 {
		return 1
	}
	properties, err := bmffBox(meta[4:], "iprp")
	if err != nil {
		return 1
	}
	if properties, err = bmffBox(properties, "ipco"); err != nil {
		return 1
	}
	angle, mirror := 0, 0 // quarters against the clock; 1: top and bottom, 2: left and right
	if b, err := bmffBox(properties, "irot"); err == nil && len(b) > 0 {
		angle = int(b[0] & 3)
	}
	if b, err := bmffBox(properties, "imir"); err == nil && len(b) > 0 {
		mirror = 1 + int(b[0]&1)
	}
	return [4][3]int{{1, 4, 2}, {8, 5, 7}, {3, 2, 4}, {6, 7, 5}}[angle][mirror]
}
