package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"sync"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
)

// maxPixels is where Pillow refuses a picture as a decompression bomb.
const maxPixels = 2 * (1024 * 1024 * 1024 / 4 / 3)

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

// formats are told apart by their first bytes, never by names.
var formats = []struct {
	name   string
	is     func(b []byte) bool
	size   func(b []byte) (image.Config, error)
	decode func(b []byte) (*rgbImage, error)
	exif   func(b []byte) []byte // the EXIF block, or nil

	// dense is the most pixels that a byte of the file can stand for: decoders reserve
	// memory for what a header claims, so a header that claims more is not believed.
	// 0: a file may stand for any number.
	dense int
}{
	{"JPEG", isJPEG, config(jpeg.DecodeConfig), decodeJPEG, exifJPEG, 8 * 64},                             // a bit for a block of 64
	{"PNG", prefix("\x89PNG\r\n\x1a\n"), config(png.DecodeConfig), decodePNG, exifPNG, 8 * 1032},          // deflate's best, of bits
	{"GIF", prefix("GIF8"), configGIF, decodeGIF, nil, 4096},                                              // LZW's longest entry in a byte
	{"WebP", isWebP, config(webp.DecodeConfig), decodeWebP, exifWebP, 0},                                  // one colour takes no bits
	{"BMP", prefix("BM"), config(bmp.DecodeConfig), decodeBMP, nil, 8},                                    // bits, not compressed
	{"TIFF", isTIFF, config(tiff.DecodeConfig), decodeTIFF, func(b []byte) []byte { return b }, 8 * 4096}, // LZW, of bits
}

// decode reads any picture as Pillow's open and convert("RGB") do; turbo reads JPEGs
// with libjpeg-turbo.
func decode(raw []byte, turn, turbo bool) (im *rgbImage, turned bool, err error) {
	for _, f := range formats {
		if !f.is(raw) {
			continue
		}
		if turbo && f.name == "JPEG" {
			f.size, f.decode = sizeTurbo, decodeTurbo
		}
		size, err := f.size(raw)
		if err != nil {
			return nil, false, fmt.Errorf("%s picture: %w", f.name, err)
		}
		if size.Width < 1 || size.Height < 1 {
			return nil, false, fmt.Errorf("%s picture: is %dx%d pixels", f.name, size.Width, size.Height)
		}
		if size.Width > maxPixels/size.Height {
			return nil, false, fmt.Errorf("%s picture: %dx%d pixels are more than %d; refused as a decompression bomb", f.name, size.Width, size.Height, maxPixels)
		}
		if f.dense > 0 && size.Width*size.Height/f.dense > len(raw) {
			return nil, false, fmt.Errorf("%s picture: %dx%d pixels cannot be in %d bytes", f.name, size.Width, size.Height, len(raw))
		}
		if im, err = f.decode(raw); err != nil {
			return nil, false, fmt.Errorf("%s picture: %w", f.name, err)
		}
		orientation := 1
		if f.exif != nil {
			orientation = orientationOf(f.exif(raw))
		}
		// Pillow turns TIFF files while loading them, whatever its caller wants.
		if turn || f.name == "TIFF" {
			im = im.orient(orientation)
		}
		return im, orientation != 1, nil
	}
	if len(raw) == 0 {
		return nil, false, errors.New("picture: the file is empty")
	}
	return nil, false, fmt.Errorf("picture: not JPEG, PNG, GIF, WebP, BMP or TIFF (begins with %.16q)", raw)
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

func config(f func(io.Reader) (image.Config, error)) func([]byte) (image.Config, error) {
	return func(b []byte) (image.Config, error) { return f(bytes.NewReader(b)) }
}

func decodePNG(b []byte) (*rgbImage, error) {
	im, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	// A transparent grey makes Go's decoder answer RGBA; Pillow still has 16-bit grey.
	if nrgba, ok := im.(*image.NRGBA64); ok && b[25] == 0 {
		return clippedGrey(nrgba.Rect, nrgba.Stride, 8, nrgba.Pix), nil
	}
	return rgbFrom(im)
}

func decodeWebP(b []byte) (*rgbImage, error) {
	im, err := webp.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	switch im := im.(type) {
	case *image.YCbCr:
		return rgbFromWebP(im), nil
	case *image.NYCbCrA:
		return rgbFromWebP(&im.YCbCr), nil
	}
	return rgbFrom(im)
}

func decodeBMP(b []byte) (*rgbImage, error) {
	im, err := bmp.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return rgbFrom(im)
}

func decodeTIFF(b []byte) (*rgbImage, error) {
	im, err := tiff.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if rgba, ok := im.(*image.RGBA); ok {
		unmultiply(rgba)
	}
	return rgbFrom(im)
}

// rgbFrom converts as Pillow's convert("RGB"): alpha is dropped, not composited.
func rgbFrom(im image.Image) (*rgbImage, error) {
	switch im := im.(type) {
	case *image.Gray:
		return eachPixel(im.Rect, im.Stride, 1, im.Pix, func(p, out []uint8) { out[0], out[1], out[2] = p[0], p[0], p[0] }), nil
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
