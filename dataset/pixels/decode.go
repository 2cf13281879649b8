package pixels

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"slices"
	"sync"
)

// rgbImage is h rows of w RGB pixels. newRGB and takeRGB make it: there is slack behind pix.
type rgbImage struct {
	w, h int
	pix  []uint8
}

// slack is how much further than an image's pixels its memory reaches, so that
// vectors may be read and written across the end.
const slack = 32

func newRGB(w, h int) *rgbImage {
	return &rgbImage{w: w, h: h, pix: make([]uint8, 3*w*h, 3*w*h+slack)}
}

// spare are images for takeRGB.
var spare sync.Pool

// maxSpareBytes is what an image may have to be kept: 16 megapixels.
const maxSpareBytes = 48 << 20

// takeRGB is newRGB without the zeros: every pixel has to be set.
func takeRGB(w, h int) *rgbImage {
	if im, ok := spare.Get().(*rgbImage); ok && cap(im.pix) >= 3*w*h+slack {
		im.w, im.h, im.pix = w, h, im.pix[:3*w*h]
		return im
	}
	return newRGB(w, h)
}

// giveBack lets takeRGB have the image's memory.
func (im *rgbImage) giveBack() {
	if cap(im.pix) <= maxSpareBytes {
		spare.Put(im)
	}
}

// header is what is known of a picture before its pixels take memory.
type header struct {
	w, h  int   // pixels
	bytes int64 // the most memory that decoding takes, the RGB pixels among it
}

// sized is a header of a decoder that takes so many bytes a pixel.
func sized(c image.Config, perPixel int64, err error) (header, error) {
	return header{c.Width, c.Height, perPixel * int64(c.Width) * int64(c.Height)}, err
}

// format is a kind of picture files.
type format struct {
	name   string
	is     func(b []byte) bool
	header func(b []byte) (header, error)
	decode func(b []byte) (*rgbImage, error)
	orient func(b []byte) int // EXIF orientation, 1 to 8

	// dense is the most pixels that a byte of the file can stand for: a header that
	// claims more is not believed. 0: a file may stand for any number.
	dense int
}

// formats are told apart by their first bytes, never by names.
var formats = []format{
	// A block of 64 pixels takes a bit.
	{"JPEG", isJPEG, headerJPEG, decodeJPEG, orientation(exifJPEG), 8 * 64},
	// A bit stands for a pixel, and deflate makes 1032 bytes of one.
	{"PNG", prefix(pngMagic), headerPNG, decodePNG, orientation(exifPNG), 8 * 1032},
	// LZW has entries of up to 4096 pixels, and a code takes more than a byte.
	{"GIF", prefix("GIF8"), headerGIF, decodeGIF, upright, 4096},
	// A picture of one colour takes no bits.
	{"WebP", isWebP, headerWebP, decodeWebP, orientation(exifWebP), 0},
	// A few bytes may skip any number of rows.
	{"BMP", isRLE, headerBMP, decodeBMP, upright, 0},
	// A bit stands for a pixel, not compressed.
	{"BMP", prefix("BM"), headerBMP, decodeBMP, upright, 8},
	// LZW, where a bit stands for a pixel.
	{"TIFF", isTIFF, headerTIFF, decodeTIFF, orientationOf, 8 * 4096},
	// A picture of one colour takes no bits.
	{"AVIF", isAVIF, headerAVIF, decodeAVIF, orientationAVIF, 0},
}

func upright([]byte) int { return 1 }

// orientation reads it from the EXIF block that exif finds.
func orientation(exif func(b []byte) []byte) func(b []byte) int {
	return func(b []byte) int { return orientationOf(exif(b)) }
}

// formatOf finds the format of a file; turbo reads JPEGs, those in TIFFs too, with
// libjpeg-turbo.
func formatOf(raw []byte, turbo bool) (format, error) {
	for _, f := range formats {
		if !f.is(raw) {
			continue
		}
		if turbo && f.name == "JPEG" {
			f.header, f.decode = headerTurbo, decodeTurbo
		}
		if turbo && f.name == "TIFF" {
			f.decode = decodeTIFFTurbo
		}
		return f, nil
	}
	if len(raw) == 0 {
		return format{}, errors.New("picture: the file is empty")
	}
	for _, other := range unreadable {
		if other.is(raw) {
			return format{}, fmt.Errorf("%s picture: this format is not read; convert it to JPEG or PNG", other.name)
		}
	}
	return format{}, fmt.Errorf("picture: not JPEG, PNG, GIF, WebP, AVIF, BMP or TIFF (begins with %.16q)", raw)
}

// unreadable are formats that people have and that are named when they are refused.
var unreadable = []struct {
	name string
	is   func(b []byte) bool
}{
	{"HEIC", func(b []byte) bool {
		return hasBrand(b, "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1")
	}},
	{"JPEG 2000", prefix("\x00\x00\x00\x0cjP  \r\n\x87\n")},
	{"JPEG 2000", prefix("\xff\x4f\xff\x51")},
	{"JPEG XL", prefix("\x00\x00\x00\x0cJXL \r\n\x87\n")},
	{"JPEG XL", prefix("\xff\x0a")},
	{"Photoshop", prefix("8BPS")},
	{"PDF", prefix("%PDF-")},
	{"SVG", prefix("<svg")},
}

// hasBrand says whether an ISO base media file (ISO/IEC 14496-12) begins with one of
// the brands.
func hasBrand(b []byte, brands ...string) bool {
	return len(b) >= 12 && string(b[4:8]) == "ftyp" && slices.Contains(brands, string(b[8:12]))
}

// opened is a picture whose header has been found acceptable.
type opened struct {
	format
	header
	raw         []byte
	orientation int  // of EXIF, 1 to 8
	turn        bool // as the orientation says
}

// open reads a picture's header and refuses what is too large before it takes memory.
func (p Processor) open(raw []byte) (opened, error) {
	f, err := formatOf(raw, p.JPEG == JPEGTurbo)
	if err != nil {
		return opened{}, ofKind{err, ErrFormat}
	}
	fail := func(text string, args ...any) (opened, error) {
		return opened{}, fmt.Errorf(f.name+" picture: "+text, args...)
	}
	tooLarge := func(text string, args ...any) (opened, error) {
		return opened{}, ofKind{fmt.Errorf(f.name+" picture: "+text, args...), ErrTooLarge}
	}
	h, err := f.header(raw)
	switch {
	case err != nil:
		return fail("%w", err)
	case h.w < 1 || h.h < 1:
		return fail("is %dx%d pixels", h.w, h.h)
	case h.w > p.maxPixels()/h.h:
		return tooLarge("%dx%d pixels are more than %d (prepare.max_pixels); refused as a decompression bomb",
			h.w, h.h, p.maxPixels())
	case f.dense > 0 && h.w*h.h/f.dense > len(raw):
		return fail("%dx%d pixels cannot be in %d bytes", h.w, h.h, len(raw))
	}
	o := opened{f, h, raw, f.orient(raw), false}
	// Pillow turns TIFF files while loading them, whatever its caller wants.
	o.turn = o.orientation != 1 && (p.ExifOrientation || f.name == "TIFF")
	if o.turn {
		o.bytes += 3 * int64(h.w) * int64(h.h)
	}
	o.bytes += p.resizeBytes(h.w, h.h)
	if p.streams(o) {
		o.bytes = streamBytes(raw, p)
	}
	if o.bytes += int64(len(raw)); o.bytes > maxDecodeBytes {
		return tooLarge("%dx%d pixels take %d MiB of memory to decode, more than %d; make the picture smaller",
			h.w, h.h, o.bytes>>20, maxDecodeBytes>>20)
	}
	return o, nil
}

// pixels are the whole picture's, turned if need be.
func (o opened) pixels() (*rgbImage, error) {
	im, err := o.decode(o.raw)
	if err != nil {
		return nil, fmt.Errorf("%s picture: %w", o.name, err)
	}
	if o.turn {
		im = im.orient(o.orientation)
	}
	return im, nil
}

// decode reads any picture as Pillow's open and convert("RGB") do; turbo reads JPEGs
// with libjpeg-turbo.
func decode(raw []byte, turn, turbo bool) (im *rgbImage, turned bool, err error) {
	p := Processor{Width: 1, Height: 1, Resample: Bilinear, ExifOrientation: turn}
	if turbo {
		p.JPEG = JPEGTurbo
	}
	o, err := p.open(raw)
	if err != nil {
		return nil, false, err
	}
	im, err = o.pixels()
	return im, o.orientation != 1, err
}

var isJPEG = prefix("\xff\xd8\xff")

func prefix(magic string) func([]byte) bool {
	return func(b []byte) bool { return bytes.HasPrefix(b, []byte(magic)) }
}

func isWebP(b []byte) bool {
	return len(b) >= 12 && string(b[:4]) == "RIFF" && string(b[8:12]) == "WEBP"
}

func isTIFF(b []byte) bool {
	return bytes.HasPrefix(b, []byte("II*\x00")) || bytes.HasPrefix(b, []byte("MM\x00*"))
}

// rgbFrom converts as Pillow's convert("RGB"): alpha is dropped, not composited.
func rgbFrom(im image.Image) (*rgbImage, error) {
	switch im := im.(type) {
	case *image.Gray:
		return eachPixel(
			im.Rect, im.Stride, 1, im.Pix, func(p, out []uint8) { out[0], out[1], out[2] = p[0], p[0], p[0] },
		), nil
	case *image.Gray16:
		return clippedGrey(im.Rect, im.Stride, 2, im.Pix), nil
	case *image.RGBA:
		return eachPixel(im.Rect, im.Stride, 4, im.Pix, func(p, out []uint8) { copy(out, p[:3]) }), nil
	case *image.NRGBA:
		return eachPixel(im.Rect, im.Stride, 4, im.Pix, func(p, out []uint8) { copy(out, p[:3]) }), nil
	case *image.RGBA64:
		return highBytes(im.Rect, im.Stride, im.Pix), nil
	case *image.NRGBA64:
		return highBytes(im.Rect, im.Stride, im.Pix), nil
	case *image.CMYK:
		return eachPixel(im.Rect, im.Stride, 4, im.Pix, fromCMYK), nil
	case *image.Paletted:
		return rgbFromPalette(im)
	}
	return nil, fmt.Errorf("pixels of type %T are not supported", im)
}

// eachPixel converts pixels of n bytes each.
func eachPixel(r image.Rectangle, stride, n int, pix []uint8, convert func(p, out []uint8)) *rgbImage {
	out := newRGB(r.Dx(), r.Dy())
	for y := range out.h {
		row, to := pix[y*stride:], out.pix[3*y*out.w:]
		for x := range out.w {
			convert(row[n*x:n*x+n], to[3*x:3*x+3])
		}
	}
	return out
}

func highBytes(r image.Rectangle, stride int, pix []uint8) *rgbImage {
	return eachPixel(r, stride, 8, pix, func(p, out []uint8) { out[0], out[1], out[2] = p[0], p[2], p[4] })
}

// clippedGrey is what Pillow makes of 16-bit grey: anything above 255 is white.
func clippedGrey(r image.Rectangle, stride, n int, pix []uint8) *rgbImage {
	return eachPixel(r, stride, n, pix, func(p, out []uint8) {
		v := uint8(min(binary.BigEndian.Uint16(p), 255))
		out[0], out[1], out[2] = v, v, v
	})
}

// fromCMYK is Pillow's cmyk2rgb.
func fromCMYK(p, out []uint8) {
	white := 255 - int(p[3])
	for i := range 3 {
		t := int(p[i])*white + 128
		out[i] = uint8(max(0, white-(t>>8+t)>>8))
	}
}
