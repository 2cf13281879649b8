package pixels

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// bmpFile is a BMP up to its pixels.
type bmpFile struct {
	w, h    int
	topDown bool
	bits    int // a pixel
	table   [256][3]uint8
	masks   [3]uint32 // of red, green and blue, where a pixel has 16 or 32 bits
	data    []byte    // rows, each a multiple of 4 bytes, or runs
	start   int       // of data in the file, bytes
	rle     bool      // data are runs of 4 or 8 bits a pixel
}

// Compressions of BMP.
const (
	bmpRGB       = 0
	bmpRLE8      = 1
	bmpRLE4      = 2
	bmpBitfields = 3
)

// isRLE says whether a file is a BMP of runs.
func isRLE(b []byte) bool {
	return len(b) >= 34 && prefix("BM")(b) && b[14] >= 40 && (b[30] == bmpRLE8 || b[30] == bmpRLE4)
}

var errBMPShort = errors.New("ends too early")

// parseBMP reads the headers of Windows and of OS/2.
func parseBMP(b []byte) (*bmpFile, error) {
	if len(b) < 26 {
		return nil, errBMPShort
	}
	at := func(i int) int { return int(binary.LittleEndian.Uint32(b[i:])) }
	short := func(i int) int { return int(binary.LittleEndian.Uint16(b[i:])) }
	f := &bmpFile{}
	info, colours, compression, entry := at(14), 0, bmpRGB, 4
	switch {
	case info == 12:
		f.w, f.h, f.bits, entry = short(18), short(20), short(24), 3
	case info < 40 || info > 124:
		return nil, fmt.Errorf("header of %d bytes is unknown", info)
	case len(b) < 14+info:
		return nil, errBMPShort
	default:
		f.w, f.h, f.bits = int(int32(at(18))), int(int32(at(22))), short(28)
		compression, colours = at(30), at(46)
		if f.h < 0 {
			f.topDown, f.h = true, -f.h
		}
	}
	if err := f.layout(b, info, compression); err != nil {
		return nil, err
	}
	if f.bits <= 8 {
		if colours < 1 || colours > 1<<f.bits {
			colours = 1 << f.bits
		}
		table := b[14+info:]
		for i := range min(colours, len(table)/entry) {
			f.table[i] = [3]uint8{table[entry*i+2], table[entry*i+1], table[entry*i]}
		}
	}
	if at(10) > len(b) {
		return nil, errBMPShort
	}
	f.data, f.start = b[at(10):], at(10)
	return f, nil
}

// layout finds out where a pixel has its colours.
func (f *bmpFile) layout(b []byte, info, compression int) error {
	switch compression {
	case bmpRGB:
	case bmpRLE8, bmpRLE4:
		f.rle = true
		if want := map[int]int{bmpRLE8: 8, bmpRLE4: 4}[compression]; f.bits != want {
			return fmt.Errorf("has runs of %d bits a pixel and %d bits a pixel", want, f.bits)
		}
	case bmpBitfields:
		if f.bits != 16 && f.bits != 32 {
			return fmt.Errorf("has masks for %d bits a pixel", f.bits)
		}
	default:
		return fmt.Errorf("compression %d is unknown", compression)
	}
	switch f.bits {
	case 1, 4, 8, 24:
		return nil
	case 16:
		f.masks = [3]uint32{0x7c00, 0x3e0, 0x1f}
	case 32:
		f.masks = [3]uint32{0xff0000, 0xff00, 0xff}
	default:
		return fmt.Errorf("has %d bits a pixel; BMP has 1, 4, 8, 16, 24 or 32", f.bits)
	}
	if compression != bmpBitfields {
		return nil
	}
	if len(b) < 14+40+12 {
		return errBMPShort
	}
	for i := range f.masks {
		f.masks[i] = binary.LittleEndian.Uint32(b[14+40+4*i:])
		if f.masks[i] == 0 {
			return errors.New("has a mask without bits")
		}
	}
	return nil
}

func headerBMP(b []byte) (header, error) {
	f, err := parseBMP(b)
	if err != nil {
		return header{}, err
	}
	perPixel := int64(3)
	if f.rle {
		perPixel = 4 // and an index
	}
	return header{f.w, f.h, perPixel * int64(f.w) * int64(f.h)}, nil
}

func decodeBMP(b []byte) (*rgbImage, error) {
	f, err := parseBMP(b)
	if err != nil {
		return nil, err
	}
	if f.rle {
		if f.data, err = f.unpack(); err != nil {
			return nil, err
		}
		f.bits = 8
	}
	stride := (f.w*f.bits + 31) / 32 * 4
	if f.rle {
		stride = f.w
	}
	if need := f.w*f.bits + 7; len(f.data) < (f.h-1)*stride+need/8 {
		return nil, errBMPShort
	}
	out := newRGB(f.w, f.h)
	for y := range f.h {
		to := y
		if !f.topDown {
			to = f.h - 1 - y
		}
		f.row(f.data[y*stride:], out.pix[3*f.w*to:3*f.w*(to+1)])
	}
	return out, nil
}

// unpack answers the indexes [h, w] that the runs stand for, rows in the file's order. As in Pillow a run ends
// with its row, what is skipped is 0, and too few pixels are an error.
func (f *bmpFile) unpack() ([]byte, error) {
	total := f.w * f.h
	out := make([]byte, 0, total)
	perByte := 8 / f.bits
	put := func(from []byte, n, every int) { // n pixels of from, which begins again after so many
		for i := range min(n, total-len(out)) {
			i %= every
			v := from[i/perByte]
			if perByte == 2 {
				v = v >> (4 - 4*(i%2)) & 15
			}
			out = append(out, v)
		}
	}
	x := 0 // beyond the row's end after pixels that stand by themselves
	for at := 0; len(out) < total && at+2 <= len(f.data); {
		n, code := int(f.data[at]), int(f.data[at+1])
		at += 2
		switch {
		case n > 0: // a run
			n = max(0, min(n, f.w-x))
			put(f.data[at-1:], n, perByte)
			x += n
		case code == 0: // the row ends
			if over := len(out) % f.w; over > 0 {
				out = append(out, make([]byte, f.w-over)...)
			}
			x = 0
		case code == 1: // the picture ends
			at = len(f.data)
		case code == 2: // so many to the right and rows on
			if at+2 > len(f.data) {
				return nil, errBMPShort
			}
			skip := int(f.data[at]) + int(f.data[at+1])*f.w
			out = append(out, make([]byte, min(skip, total-len(out)))...)
			at, x = at+2, len(out)%f.w
		default: // pixels that stand by themselves
			n = min(code, total-len(out))
			size := (n + perByte - 1) / perByte
			if at+size > len(f.data) {
				return nil, errBMPShort
			}
			put(f.data[at:], n, n)
			x, at = x+code, at+size
			at += (f.start + at) % 2 // the file's bytes come in pairs
		}
	}
	if len(out) < total {
		return nil, errBMPShort
	}
	return out, nil
}

// row converts one row to RGB.
func (f *bmpFile) row(row, out []uint8) {
	for x := range f.w {
		p := out[3*x : 3*x+3]
		switch f.bits {
		case 24:
			p[0], p[1], p[2] = row[3*x+2], row[3*x+1], row[3*x]
		case 16:
			f.masked(uint32(binary.LittleEndian.Uint16(row[2*x:])), p)
		case 32:
			f.masked(binary.LittleEndian.Uint32(row[4*x:]), p)
		default:
			at := x * f.bits
			index := row[at/8] >> (8 - f.bits - at%8) & (1<<f.bits - 1)
			copy(p, f.table[index][:])
		}
	}
}

// masked spreads each colour's bits over 0 to 255, rounded down as Pillow does.
func (f *bmpFile) masked(v uint32, p []uint8) {
	for i, mask := range f.masks {
		low := bits.TrailingZeros32(mask)
		p[i] = uint8(uint64((v&mask)>>low) * 255 / uint64(mask>>low))
	}
}
