package pixels

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
)

// rgbFromPalette looks colours up; a transparent entry keeps its colour.
func rgbFromPalette(im *image.Paletted) (*rgbImage, error) {
	var table [256][3]uint8
	for i, c := range im.Palette {
		switch c := c.(type) {
		case color.NRGBA:
			table[i] = [3]uint8{c.R, c.G, c.B}
		case color.RGBA:
			table[i] = [3]uint8{c.R, c.G, c.B}
		default:
			r, g, b, _ := c.RGBA()
			table[i] = [3]uint8{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8)}
		}
	}
	return eachPixel(im.Rect, im.Stride, 1, im.Pix, func(p, out []uint8) { copy(out, table[p[0]][:]) }), nil
}

// gifFrame is the first frame of a GIF, up to its compressed pixels. Go's own
// decoder forgets the colour of the transparent index, which Pillow keeps.
type gifFrame struct {
	width, height int             // of the whole picture
	rect          image.Rectangle // of the frame
	table         [256][3]uint8
	fill          uint8 // index around the frame
	interlaced    bool
	data          []byte // minimum code size and sub-blocks
}

var errGIFShort = errors.New("ends too early")

// parseGIF reads up to the first frame's pixels.
func parseGIF(b []byte) (f gifFrame, err error) {
	if len(b) < 13 {
		return f, errGIFShort
	}
	f.width, f.height = int(binary.LittleEndian.Uint16(b[6:])), int(binary.LittleEndian.Uint16(b[8:]))
	for i := range f.table { // where a palette is too short, Pillow has grey
		f.table[i] = [3]uint8{uint8(i), uint8(i), uint8(i)}
	}
	flags := b[10]
	rest, err := f.readTable(b[13:], flags)
	if err != nil {
		return f, err
	}
	for {
		if len(rest) == 0 {
			return f, errGIFShort
		}
		switch rest[0] {
		case '!':
			if len(rest) < 2 {
				return f, errGIFShort
			}
			block, after, err := subBlocks(rest[2:])
			if err != nil {
				return f, err
			}
			if rest[1] == 0xf9 && len(block) >= 4 && block[0]&1 != 0 {
				f.fill = block[3]
			}
			rest = after
		case ',':
			if len(rest) < 10 {
				return f, errGIFShort
			}
			at := func(i int) int { return int(binary.LittleEndian.Uint16(rest[i:])) }
			f.rect = image.Rect(at(1), at(3), at(1)+at(5), at(3)+at(7))
			f.width, f.height = max(f.width, f.rect.Max.X), max(f.height, f.rect.Max.Y)
			f.interlaced = rest[9]&0x40 != 0
			f.data, err = f.readTable(rest[10:], rest[9])
			return f, err
		case ';':
			return f, errors.New("has no frame")
		default:
			rest = rest[1:] // Pillow passes over bytes it does not know
		}
	}
}

// readTable takes the colour table that flags announce.
func (f *gifFrame) readTable(b []byte, flags byte) (rest []byte, err error) {
	if flags&0x80 == 0 {
		return b, nil
	}
	n := 2 << (flags & 7)
	if len(b) < 3*n {
		return nil, errGIFShort
	}
	for i := range n {
		f.table[i] = [3]uint8(b[3*i:])
	}
	return b[3*n:], nil
}

// subBlocks joins the blocks up to their terminator.
func subBlocks(b []byte) (data, rest []byte, err error) {
	for {
		if len(b) == 0 {
			return nil, nil, errGIFShort
		}
		n := int(b[0])
		if n == 0 {
			return data, b[1:], nil
		}
		if len(b) < 1+n {
			return nil, nil, errGIFShort
		}
		data = append(data, b[1:1+n]...)
		b = b[1+n:]
	}
}

func headerGIF(b []byte) (header, error) {
	f, err := parseGIF(b)
	return sized(image.Config{Width: f.width, Height: f.height}, 3, err)
}

// decodeGIF answers the first frame on the whole picture's canvas.
func decodeGIF(b []byte) (*rgbImage, error) {
	f, err := parseGIF(b)
	if err != nil {
		return nil, err
	}
	if len(f.data) < 1 {
		return nil, errGIFShort
	}
	bits := int(f.data[0])
	if bits < 2 || bits > 8 {
		return nil, fmt.Errorf("code size is %d; must be 2 to 8", bits)
	}
	codes, _, err := subBlocks(f.data[1:])
	if err != nil && len(codes) == 0 {
		return nil, err
	}
	r := lzw.NewReader(bytes.NewReader(codes), lzw.LSB, bits)
	defer r.Close()
	out := newRGB(f.width, f.height)
	for i := 0; i < len(out.pix); i += 3 {
		copy(out.pix[i:], f.table[f.fill][:])
	}
	row := make([]byte, f.rect.Dx())
	for _, y := range rowOrder(f.rect.Dy(), f.interlaced) {
		if _, err := io.ReadFull(r, row); err != nil {
			return nil, fmt.Errorf("pixels of the first frame: %w", err)
		}
		to := out.pix[3*((f.rect.Min.Y+y)*out.w+f.rect.Min.X):]
		for x, index := range row {
			copy(to[3*x:3*x+3], f.table[index][:])
		}
	}
	return out, nil
}

// rowOrder is the order in which rows are stored.
func rowOrder(height int, interlaced bool) []int {
	passes := [][2]int{{0, 1}}
	if interlaced {
		passes = [][2]int{{0, 8}, {4, 8}, {2, 4}, {1, 2}}
	}
	rows := make([]int, 0, height)
	for _, p := range passes {
		for y := p[0]; y < height; y += p[1] {
			rows = append(rows, y)
		}
	}
	return rows
}
