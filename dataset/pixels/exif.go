package pixels

import (
	"bytes"
	"encoding/binary"
)

const orientationTag = 0x0112

// orientationOf reads the orientation, 1 to 8, from a TIFF-structured EXIF block;
// 1 (upright) where there is none or it makes no sense.
func orientationOf(exif []byte) int {
	if len(exif) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(exif[:2]) {
	case "II":
		order = binary.LittleEndian
	case "MM":
		order = binary.BigEndian
	default:
		return 1
	}
	at := uint64(order.Uint32(exif[4:]))
	if at+2 > uint64(len(exif)) {
		return 1
	}
	entries := exif[at+2:]
	for range order.Uint16(exif[at:]) {
		if len(entries) < 12 {
			break
		}
		const short, long = 3, 4
		if order.Uint16(entries) == orientationTag {
			v := 0
			switch order.Uint16(entries[2:]) {
			case short:
				v = int(order.Uint16(entries[8:]))
			case long:
				v = int(order.Uint32(entries[8:]))
			}
			if v >= 1 && v <= 8 {
				return v
			}
			return 1
		}
		entries = entries[12:]
	}
	return 1
}

// exifJPEG finds the first APP1 segment that holds EXIF.
func exifJPEG(b []byte) []byte {
	for b = b[2:]; len(b) >= 4 && b[0] == 0xff; {
		marker := b[1]
		if marker == 0xff { // fill byte
			b = b[1:]
			continue
		}
		if marker == 0xda || marker == 0xd9 { // pixels begin, or nothing follows
			return nil
		}
		if marker == 0x01 || marker >= 0xd0 && marker <= 0xd7 { // without a length
			b = b[2:]
			continue
		}
		n := 2 + int(binary.BigEndian.Uint16(b[2:]))
		if n < 4 || n > len(b) {
			return nil
		}
		if body, ok := bytes.CutPrefix(b[4:n], []byte("Exif\x00\x00")); ok && marker == 0xe1 {
			return body
		}
		b = b[n:]
	}
	return nil
}

// exifPNG finds the eXIf chunk.
func exifPNG(b []byte) []byte {
	for b = b[8:]; len(b) >= 12; {
		n := uint64(binary.BigEndian.Uint32(b))
		if n+12 > uint64(len(b)) {
			return nil
		}
		if string(b[4:8]) == "eXIf" {
			return b[8 : 8+n]
		}
		b = b[n+12:]
	}
	return nil
}

// exifWebP finds the EXIF chunk of the RIFF container.
func exifWebP(b []byte) []byte {
	for b = b[12:]; len(b) >= 8; {
		n := uint64(binary.LittleEndian.Uint32(b[4:]))
		if n+8 > uint64(len(b)) {
			return nil
		}
		if string(b[:4]) == "EXIF" {
			return bytes.TrimPrefix(b[8:8+n], []byte("Exif\x00\x00"))
		}
		b = b[min(uint64(len(b)), 8+n+n%2):]
	}
	return nil
}

// orient turns the picture upright, given what its EXIF orientation is.
func (im *rgbImage) orient(orientation int) *rgbImage {
	if orientation == 1 {
		return im
	}
	out := newRGB(im.w, im.h)
	if orientation >= 5 { // sides change places
		out = newRGB(im.h, im.w)
	}
	right, bottom := im.w-1, im.h-1
	for y := range out.h {
		for x := range out.w {
			sx, sy := x, y
			switch orientation {
			case 2:
				sx = right - x
			case 3:
				sx, sy = right-x, bottom-y
			case 4:
				sy = bottom - y
			case 5:
				sx, sy = y, x
			case 6:
				sx, sy = y, bottom-x
			case 7:
				sx, sy = right-y, bottom-x
			case 8:
				sx, sy = right-y, x
			}
			copy(out.pix[3*(y*out.w+x):], im.pix[3*(sy*im.w+sx):3*(sy*im.w+sx)+3])
		}
	}
	return out
}
