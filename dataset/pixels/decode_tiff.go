package pixels

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"slices"

	"golang.org/x/image/tiff"
)

// Tags of TIFF 6.0.
const (
	tagWidth         = 256
	tagHeight        = 257
	tagBitsPerSample = 258
	tagCompression   = 259
	tagPhotometric   = 262
	tagStripOffsets  = 273
	tagSamples       = 277
	tagRowsPerStrip  = 278
	tagStripCounts   = 279
	tagTileWidth     = 322
	tagTileHeight    = 323
	tagTileOffsets   = 324
	tagTileCounts    = 325
	tagExtraSamples  = 338
	tagT4Options     = 292
	tagJPEGTables    = 347
)

// Values of tagCompression and tagPhotometric.
const (
	tiffFax3 = 3
	tiffFax4 = 4
	tiffJPEG = 7

	tiffBlackIsZero = 1
	tiffRGB         = 2
	tiffCMYK        = 5
	tiffYCbCr       = 6
)

// tiffFile is the first picture of a TIFF: its entries, the values of which are read
// when they are asked for.
type tiffFile struct {
	raw     []byte
	order   binary.ByteOrder
	entries []byte // 12 bytes each
}

var errTIFFShort = errors.New("ends too early")

func parseTIFF(b []byte) (*tiffFile, error) {
	if len(b) < 8 {
		return nil, errTIFFShort
	}
	t := &tiffFile{raw: b, order: binary.LittleEndian}
	if b[0] == 'M' {
		t.order = binary.BigEndian
	}
	at := uint64(t.order.Uint32(b[4:]))
	if at+2 > uint64(len(b)) {
		return nil, errTIFFShort
	}
	n := 12 * uint64(t.order.Uint16(b[at:]))
	if at+2+n > uint64(len(b)) {
		return nil, errTIFFShort
	}
	t.entries = b[at+2 : at+2+n]
	return t, nil
}

// field answers a tag's type and values as they are stored; nil where it is absent.
func (t *tiffFile) field(tag uint16) (kind uint16, values []byte) {
	sizes := [...]uint64{1: 1, 2: 1, 3: 2, 4: 4, 7: 1}
	for e := t.entries; len(e) > 0; e = e[12:] {
		if t.order.Uint16(e) != tag {
			continue
		}
		kind = t.order.Uint16(e[2:])
		if int(kind) >= len(sizes) || sizes[kind] == 0 {
			return 0, nil
		}
		n := sizes[kind] * uint64(t.order.Uint32(e[4:]))
		if n <= 4 {
			return kind, e[8 : 8+n]
		}
		at := uint64(t.order.Uint32(e[8:]))
		if at+n > uint64(len(t.raw)) {
			return 0, nil
		}
		return kind, t.raw[at : at+n]
	}
	return 0, nil
}

// numbers are a tag's values.
func (t *tiffFile) numbers(tag uint16) []int {
	kind, b := t.field(tag)
	var list []int
	for len(b) > 0 {
		switch kind {
		case 3:
			list, b = append(list, int(t.order.Uint16(b))), b[2:]
		case 4:
			list, b = append(list, int(t.order.Uint32(b))), b[4:]
		default:
			list, b = append(list, int(b[0])), b[1:]
		}
	}
	return list
}

// number is a tag's first value.
func (t *tiffFile) number(tag uint16, absent int) int {
	kind, b := t.field(tag)
	switch {
	case kind == 3 && len(b) >= 2:
		return int(t.order.Uint16(b))
	case kind == 4 && len(b) >= 4:
		return int(t.order.Uint32(b))
	case len(b) > 0:
		return int(b[0])
	}
	return absent
}

// block is the size of a strip or tile.
func (t *tiffFile) block() (w, h int) {
	width, height := t.number(tagWidth, 0), t.number(tagHeight, 0)
	if w = t.number(tagTileWidth, 0); w > 0 {
		return w, t.number(tagTileHeight, 0)
	}
	if h = t.number(tagRowsPerStrip, 0); h == 0 {
		h = height
	}
	return width, min(h, height)
}

// headerTIFF reckons with the decoder's pixels, ours, and a strip or tile, which the
// decoder unpacks into memory that it doubles as it goes: 8 bytes a pixel at most, and
// 1032 or, of LZW, 4096 a byte of the file.
func headerTIFF(b []byte) (header, error) {
	t, err := parseTIFF(b)
	if err != nil {
		return header{}, err
	}
	c := image.Config{Width: t.number(tagWidth, 0), Height: t.number(tagHeight, 0)}
	bw, bh := t.block()
	most := max(c.Width, c.Height, bw, bh)
	if c.Width < 1 || c.Height < 1 || most > 1<<28 {
		return sized(c, 0, nil)
	}
	depth := int64(t.number(tagBitsPerSample, 1)+7) / 8
	samples := int64(len(t.numbers(tagBitsPerSample)))
	if samples > 1 {
		samples = 4 // of the decoder's RGBA
	}
	h, err := sized(c, depth*max(1, samples)+3, nil)
	blockBytes := int64(8)
	if t.number(tagCompression, 1) == tiffJPEG {
		blockBytes = 20 // see headerJPEG
	}
	unpacked := int64(bw) * int64(bh)
	if unpacked < 1<<40 {
		unpacked *= blockBytes
	}
	if t.number(tagCompression, 1) <= 1 {
		h.bytes += int64(len(b)) // read as it is
	} else {
		h.bytes += 3 * min(unpacked, 4096*int64(len(b)))
	}
	return h, err
}

func decodeTIFF(b []byte) (*rgbImage, error)      { return decodeTIFFWith(b, headerJPEG, decodeJPEG) }
func decodeTIFFTurbo(b []byte) (*rgbImage, error) { return decodeTIFFWith(b, headerTurbo, decodeTurbo) }

// decodeTIFFWith reads JPEGs in a TIFF with the given functions. What golang.org/x/image
// does not know is made into what it knows.
func decodeTIFFWith(
	b []byte, head func([]byte) (header, error), jpeg func([]byte) (*rgbImage, error),
) (*rgbImage, error) {
	t, err := parseTIFF(b)
	if err != nil {
		return nil, err
	}
	compression, photometric := t.number(tagCompression, 1), t.number(tagPhotometric, 0)
	switch {
	case compression == tiffJPEG:
		return t.jpegs(head, jpeg)
	case photometric == tiffCMYK:
		return t.cmyk()
	case compression == tiffFax3 && t.number(tagT4Options, 0)&1 != 0:
		return nil, errors.New("fax group 3 in two dimensions is not read; convert it to PNG")
	case compression == tiffFax3 && t.number(tagT4Options, 0)&4 != 0:
		return nil, errors.New("fax group 3 with rows that end with bytes is not read; convert it to PNG")
	}
	im, err := tiff.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	switch im := im.(type) {
	case *image.RGBA:
		unmultiply(im)
	case *image.Gray:
		// In a fax's code white is 0, which is black where black is 0. Go's decoder
		// has it white.
		if photometric == tiffBlackIsZero && (compression == tiffFax3 || compression == tiffFax4) {
			for i, v := range im.Pix {
				im.Pix[i] = 255 - v
			}
		}
	}
	return rgbFrom(im)
}

// cmyk reads four samples a pixel, which the decoder is told were RGB and alpha.
func (t *tiffFile) cmyk() (*rgbImage, error) {
	if !slices.Equal(t.numbers(tagBitsPerSample), []int{8, 8, 8, 8}) {
		return nil, errors.New("CMYK is read with 4 samples of 8 bits; convert it to RGB")
	}
	entry := func(tag, value uint16) []byte {
		e := make([]byte, 12)
		t.order.PutUint16(e, tag)
		t.order.PutUint16(e[2:], 3)
		t.order.PutUint32(e[4:], 1)
		t.order.PutUint16(e[8:], value)
		return e
	}
	var entries [][]byte
	for e := range slices.Chunk(t.entries, 12) {
		if tag := t.order.Uint16(e); tag != tagPhotometric && tag != tagExtraSamples {
			entries = append(entries, e)
		}
	}
	entries = append(entries, entry(tagPhotometric, tiffRGB), entry(tagExtraSamples, 2))
	slices.SortStableFunc(entries, func(a, b []byte) int {
		return int(t.order.Uint16(a)) - int(t.order.Uint16(b))
	})
	b := slices.Clone(t.raw)
	t.order.PutUint32(b[4:], uint32(len(b)))
	count := make([]byte, 2)
	t.order.PutUint16(count, uint16(len(entries)))
	b = append(append(b, count...), bytes.Join(entries, nil)...)
	im, err := tiff.Decode(bytes.NewReader(append(b, 0, 0, 0, 0)))
	if err != nil {
		return nil, err
	}
	nrgba, ok := im.(*image.NRGBA)
	if !ok {
		return nil, fmt.Errorf("pixels of type %T are not CMYK", im)
	}
	return eachPixel(nrgba.Rect, nrgba.Stride, 4, nrgba.Pix, fromCMYK), nil
}

// jpegs reads strips or tiles that are JPEGs, whose tables may stand apart (TIFF
// Technical Note 2).
func (t *tiffFile) jpegs(
	head func([]byte) (header, error), jpeg func([]byte) (*rgbImage, error),
) (*rgbImage, error) {
	photometric := t.number(tagPhotometric, 0)
	if photometric != tiffBlackIsZero && photometric != tiffRGB && photometric != tiffYCbCr {
		name := fmt.Sprintf("colour space %d", photometric)
		if photometric == tiffCMYK {
			name = "CMYK"
		}
		return nil, fmt.Errorf("JPEG of %s is not read; convert it to RGB", name)
	}
	offsets, counts := t.numbers(tagStripOffsets), t.numbers(tagStripCounts)
	if t.number(tagTileWidth, 0) > 0 {
		offsets, counts = t.numbers(tagTileOffsets), t.numbers(tagTileCounts)
	}
	out := newRGB(t.number(tagWidth, 0), t.number(tagHeight, 0))
	bw, bh := t.block()
	if bw < 1 || bh < 1 {
		return nil, errors.New("strips have no size")
	}
	across := (out.w + bw - 1) / bw
	blocks := across * ((out.h + bh - 1) / bh)
	if len(offsets) < blocks || len(counts) < blocks {
		return nil, fmt.Errorf("has %d of %d strips", min(len(offsets), len(counts)), blocks)
	}
	for i := range blocks {
		file, err := t.jpeg(offsets[i], counts[i], photometric)
		if err != nil {
			return nil, err
		}
		h, err := head(file)
		if err != nil {
			return nil, fmt.Errorf("strip %d: %w", i, err)
		}
		x, y := i%across*bw, i/across*bh
		if h.w < min(bw, out.w-x) || h.w > bw || h.h < min(bh, out.h-y) || h.h > bh {
			return nil, fmt.Errorf("strip %d has %dx%d pixels; must be %dx%d", i, h.w, h.h, bw, bh)
		}
		im, err := jpeg(file)
		if err != nil {
			return nil, fmt.Errorf("strip %d: %w", i, err)
		}
		for row := range min(im.h, out.h-y) {
			to := out.pix[3*((y+row)*out.w+x):]
			copy(to[:3*min(im.w, out.w-x)], im.pix[3*row*im.w:])
		}
		im.giveBack()
	}
	return out, nil
}

// jpeg makes a strip or tile a file of its own: tables first, and Adobe's segment,
// which says whether the colours are transformed.
func (t *tiffFile) jpeg(offset, count, photometric int) ([]byte, error) {
	if offset > len(t.raw) || count > len(t.raw)-offset || count < 4 {
		return nil, errTIFFShort
	}
	strip := t.raw[offset : offset+count]
	if !isJPEG(strip) {
		return nil, errors.New("a strip is not JPEG")
	}
	file := []byte("\xff\xd8")
	if photometric != tiffBlackIsZero {
		transform := byte(0)
		if photometric == tiffYCbCr {
			transform = 1
		}
		file = append(append(file, "\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"...), transform)
	}
	if _, tables := t.field(tagJPEGTables); len(tables) > 4 && bytes.HasPrefix(tables, []byte("\xff\xd8")) {
		file = append(file, bytes.TrimSuffix(tables[2:], []byte("\xff\xd9"))...)
	}
	return append(file, strip[2:]...), nil
}

// unmultiply undoes premultiplied alpha as Pillow does when it reads such a TIFF.
func unmultiply(im *image.RGBA) {
	for i := 0; i+4 <= len(im.Pix); i += 4 {
		a := int(im.Pix[i+3])
		for j := i; j < i+3 && a != 255; j++ {
			if a == 0 {
				im.Pix[j] = 0
			} else {
				im.Pix[j] = uint8(min(255, 255*int(im.Pix[j])/a))
			}
		}
	}
}
