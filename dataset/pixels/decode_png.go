package pixels

import (
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// PNG is read here and not with image/png, row by row, so that a large picture is never
// whole in memory, and as leniently as by Pillow: rows beyond the height, a missing end
// and wrong check sums of the pixels' chunks do not matter to it.

const pngMagic = "\x89PNG\r\n\x1a\n"

// Colour types of PNG.
const (
	pngGrey      = 0
	pngRGB       = 2
	pngPalette   = 3
	pngGreyAlpha = 4
	pngRGBA      = 6
)

// pngChannels are the samples of a pixel, by colour type.
var pngChannels = map[byte]int{pngGrey: 1, pngRGB: 3, pngPalette: 1, pngGreyAlpha: 2, pngRGBA: 4}

// pngFile is a PNG up to its pixels.
type pngFile struct {
	w, h       int
	depth      int // bits a sample
	colour     byte
	interlaced bool
	table      [256][3]uint8 // the palette; black where there is none
	data       []byte        // from the first IDAT chunk on
}

var errPNGShort = errors.New("ends too early")

// parsePNG reads the chunks before the pixels, which have to be sound.
func parsePNG(b []byte) (*pngFile, error) {
	f := &pngFile{}
	b = b[len(pngMagic):]
	for first := true; ; first = false {
		if len(b) < 8 {
			return nil, errPNGShort
		}
		n, kind := uint64(binary.BigEndian.Uint32(b)), string(b[4:8])
		if first != (kind == "IHDR") {
			return nil, fmt.Errorf("has the chunk %q where IHDR belongs, or IHDR twice", kind)
		}
		if kind == "IDAT" {
			f.data = b
			return f, nil
		}
		if kind == "IEND" {
			return nil, errors.New("has no pixels")
		}
		if n+12 > uint64(len(b)) {
			return nil, errPNGShort
		}
		body := b[8 : 8+n]
		if crc32.ChecksumIEEE(b[4:8+n]) != binary.BigEndian.Uint32(b[8+n:]) {
			return nil, fmt.Errorf("chunk %q is damaged (CRC)", kind)
		}
		switch kind {
		case "IHDR":
			if err := f.head(body); err != nil {
				return nil, err
			}
		case "PLTE":
			if n%3 != 0 || n > 3*256 {
				return nil, fmt.Errorf("palette has %d bytes", n)
			}
			for i := range len(body) / 3 {
				f.table[i] = [3]uint8(body[3*i:])
			}
		}
		b = b[n+12:]
	}
}

// head reads the IHDR chunk.
func (f *pngFile) head(b []byte) error {
	if len(b) != 13 {
		return fmt.Errorf("header has %d bytes; must be 13", len(b))
	}
	w, h := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if w > 1<<31-1 || h > 1<<31-1 {
		return fmt.Errorf("says that it is %dx%d pixels", w, h)
	}
	f.w, f.h, f.depth, f.colour, f.interlaced = int(w), int(h), int(b[8]), b[9], b[12] == 1
	known := false
	switch f.depth {
	case 1, 2, 4:
		known = f.colour == pngGrey || f.colour == pngPalette
	case 8:
		known = pngChannels[f.colour] > 0
	case 16:
		known = pngChannels[f.colour] > 0 && f.colour != pngPalette
	}
	if !known || b[10] != 0 || b[11] != 0 || b[12] > 1 {
		return fmt.Errorf("has %d bits a sample, colour type %d, methods %d, %d and %d; PNG has no such",
			b[8], b[9], b[10], b[11], b[12])
	}
	return nil
}

// rowBytes is a packed row of w pixels.
func (f *pngFile) rowBytes(w int) int { return (w*f.depth*pngChannels[f.colour] + 7) / 8 }

// bytes are the most that decoding takes: both rows and the inflater's window, the whole
// picture if it is asked for.
func (f *pngFile) bytes(whole bool) int64 {
	n := 2*int64(f.rowBytes(f.w)) + 3*int64(f.w) + 1<<17
	if whole {
		n += 3 * int64(f.w) * int64(f.h)
	}
	return n
}

func headerPNG(b []byte) (header, error) {
	f, err := parsePNG(b)
	if err != nil {
		return header{}, err
	}
	return header{f.w, f.h, f.bytes(true)}, nil
}

// idat joins the bodies of successive IDAT chunks. What is cut short ends it.
type idat struct{ now, rest []byte }

func (d *idat) Read(p []byte) (int, error) {
	for len(d.now) == 0 {
		if len(d.rest) < 8 || string(d.rest[4:8]) != "IDAT" {
			return 0, io.EOF
		}
		n := min(uint64(binary.BigEndian.Uint32(d.rest)), uint64(len(d.rest)-8))
		d.now, d.rest = d.rest[8:8+n], d.rest[min(8+n+4, uint64(len(d.rest))):]
	}
	n := copy(p, d.now)
	d.now = d.now[n:]
	return n, nil
}

// pngRows reads the rows of a picture, or of a pass of an interlaced one.
type pngRows struct {
	*pngFile
	r         io.Reader
	now, last []byte // packed rows, each behind its filter's number
}

func (f *pngFile) rows() (*pngRows, error) {
	r, err := zlib.NewReader(&idat{rest: f.data})
	if err != nil {
		return nil, pngError(err)
	}
	n := 1 + f.rowBytes(f.w)
	return &pngRows{f, r, make([]byte, n), make([]byte, n)}, nil
}

func pngError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errPNGShort
	}
	return err
}

// next reads a row of w pixels into rgb, 3 bytes each.
func (r *pngRows) next(w int, rgb []uint8) error {
	n := 1 + r.rowBytes(w)
	row := r.now[:n]
	if _, err := io.ReadFull(r.r, row); err != nil {
		return pngError(err)
	}
	if err := unfilter(row[0], row[1:], r.last[1:n], max(1, r.depth*pngChannels[r.colour]/8)); err != nil {
		return err
	}
	r.toRGB(row[1:], rgb[:3*w])
	r.now, r.last = r.last, r.now
	return nil
}

// end finds out whether the check sum behind the last row is wrong. Further rows, or no
// check sum, do no harm.
func (r *pngRows) end() error {
	var more [1]byte
	if _, err := io.ReadFull(r.r, more[:]); errors.Is(err, zlib.ErrChecksum) {
		return err
	}
	return nil
}

// begin makes the next row a pass's first.
func (r *pngRows) begin() { clear(r.last) }

// unfilter undoes a row's filter, given the row above and the bytes of a pixel (PNG
// specification, 9.2).
func unfilter(filter byte, row, above []byte, pixel int) error {
	switch filter {
	case 0:
	case 1:
		for i := pixel; i < len(row); i++ {
			row[i] += row[i-pixel]
		}
	case 2:
		above = above[:len(row)]
		for i, a := range above {
			row[i] += a
		}
	case 3:
		for i := range min(pixel, len(row)) {
			row[i] += above[i] / 2
		}
		for i := pixel; i < len(row); i++ {
			row[i] += uint8((int(row[i-pixel]) + int(above[i])) / 2)
		}
	case 4:
		for i := range min(pixel, len(row)) {
			row[i] += above[i]
		}
		for i := pixel; i < len(row); i++ {
			row[i] += paeth(row[i-pixel], above[i], above[i-pixel])
		}
	default:
		return fmt.Errorf("a row has filter %d; PNG has no such", filter)
	}
	return nil
}

// paeth is that of left, above and the corner between them that is nearest to
// left + above - corner.
func paeth(left, above, corner uint8) uint8 {
	l, a := int(above)-int(corner), int(left)-int(corner) // distances with sign
	c := l + a
	l, a, c = max(l, -l), max(a, -a), max(c, -c)
	switch {
	case l <= a && l <= c:
		return left
	case a <= c:
		return above
	}
	return corner
}

// toRGB converts as Pillow's convert("RGB"): alpha is dropped, of 16 bits the high byte
// counts, but grey of 16 bits is clipped.
func (f *pngFile) toRGB(row []byte, out []uint8) {
	grey := func(i int, v uint8) { out[3*i], out[3*i+1], out[3*i+2] = v, v, v }
	n := len(out) / 3
	switch {
	case f.colour == pngPalette:
		for i := range n {
			copy(out[3*i:3*i+3], f.table[f.sample(row, i)][:])
		}
	case f.colour == pngGrey && f.depth == 16:
		for i := range n {
			grey(i, uint8(min(binary.BigEndian.Uint16(row[2*i:]), 255)))
		}
	case f.colour == pngGrey && f.depth < 8:
		scale := uint8(255 / (1<<f.depth - 1))
		for i := range n {
			grey(i, scale*f.sample(row, i))
		}
	case f.colour == pngRGB && f.depth == 8:
		copy(out, row)
	case f.colour == pngGrey || f.colour == pngGreyAlpha:
		step := pngChannels[f.colour] * f.depth / 8
		for i := range n {
			grey(i, row[step*i])
		}
	default:
		sample := f.depth / 8
		step := pngChannels[f.colour] * sample
		for i := range n {
			p := row[step*i : step*(i+1)]
			out[3*i], out[3*i+1], out[3*i+2] = p[0], p[sample], p[2*sample]
		}
	}
}

// sample is the i-th of a row, of 1 to 8 bits.
func (f *pngFile) sample(row []byte, i int) uint8 {
	at := i * f.depth
	return row[at/8] >> (8 - f.depth - at%8) & (1<<f.depth - 1)
}

// adam7 are the passes of an interlaced picture: first pixel and distance, x and y.
var adam7 = [7][4]int{
	{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2},
}

func decodePNG(b []byte) (*rgbImage, error) {
	f, err := parsePNG(b)
	if err != nil {
		return nil, err
	}
	rows, err := f.rows()
	if err != nil {
		return nil, err
	}
	if f.interlaced {
		return rows.deinterlaced()
	}
	out := takeRGB(f.w, f.h)
	for y := range f.h {
		if err := rows.next(f.w, out.pix[3*f.w*y:]); err != nil {
			out.giveBack()
			return nil, err
		}
	}
	return out, rows.end()
}

func (r *pngRows) deinterlaced() (*rgbImage, error) {
	out := newRGB(r.w, r.h)
	row := make([]uint8, 3*r.w)
	for _, pass := range adam7 {
		w := (r.w - pass[0] + pass[2] - 1) / pass[2]
		if w < 1 {
			continue
		}
		r.begin()
		for y := pass[1]; y < r.h; y += pass[3] {
			if err := r.next(w, row); err != nil {
				return nil, err
			}
			for i := range w {
				copy(out.pix[3*(y*r.w+pass[0]+i*pass[2]):], row[3*i:3*i+3])
			}
		}
	}
	return out, r.end()
}

// streams says whether a picture is resized while its rows are read: a PNG whose rows
// come in order, whose width is resized first, and of which nothing is cut off.
func (p Processor) streams(o opened) bool {
	return o.name == "PNG" && !o.turn && o.raw[len(pngMagic)+8+12] == 0 && p.Resample != Nearest &&
		p.Resized.none() && o.w != p.Width && o.h != p.Height && !heightFirst(o.w, o.h, p.Width, p.Height)
}

// strip is how many rows of w pixels are resized at once: enough that laying out the
// weights does not count.
func strip(w, h int) int { return min(h, max(4, min(64, 16<<20/(3*w)))) }

// streamBytes is the most that resizedRows takes.
func streamBytes(raw []byte, p Processor) int64 {
	f, err := parsePNG(raw)
	if err != nil {
		return 0
	}
	return f.bytes(false) + 3*int64(f.w)*int64(strip(f.w, f.h)) + p.resizeBytes(0, f.h) +
		p.weightBytes(f.w, p.Width)
}

// resizedRows is resized without the whole picture.
func (p Processor) resizedRows(o opened) (*rgbImage, error) {
	fail := func(err error) (*rgbImage, error) { return nil, fmt.Errorf("%s picture: %w", o.name, err) }
	f, err := parsePNG(o.raw)
	if err != nil {
		return fail(err)
	}
	rows, err := f.rows()
	if err != nil {
		return fail(err)
	}
	filter := filters[p.Resample]
	ws := windows(f.w, p.Width, filter)
	half := takeRGB(p.Width, f.h)
	defer half.giveBack()
	some := takeRGB(f.w, strip(f.w, f.h))
	defer some.giveBack()
	for y := 0; y < f.h; y += some.h {
		some.h = min(some.h, f.h-y)
		for i := range some.h {
			if err := rows.next(f.w, some.pix[3*f.w*i:]); err != nil {
				return fail(err)
			}
		}
		some.resizeWidth(&rgbImage{p.Width, some.h, half.pix[3*p.Width*y:]}, ws)
	}
	if err := rows.end(); err != nil {
		return fail(err)
	}
	return half.resizeHeight(newRGB(p.Width, p.Height), windows(f.h, p.Height, filter)), nil
}
