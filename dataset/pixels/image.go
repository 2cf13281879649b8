package pixels

import (
	"errors"
	"fmt"
	"image"
	"image/draw"
)

// Resize makes a decoded picture into Height*Width*3 RGB values, as Pixels does with a picture's file.
// Transparency is dropped, not composited, and there is no EXIF orientation any more.
func (p Processor) Resize(m image.Image) ([]uint8, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("image processor: %w", err)
	}
	if m == nil || m.Bounds().Empty() {
		return nil, errors.New("picture: has no pixels")
	}
	w, h := m.Bounds().Dx(), m.Bounds().Dy()
	if w > p.maxPixels()/h {
		return nil, ofKind{fmt.Errorf("picture: %dx%d pixels are more than %d", w, h, p.maxPixels()), ErrTooLarge}
	}
	// RGB, and RGBA on the way to it
	bytes := 7*int64(w)*int64(h) + p.resizeBytes(w, h)
	if bytes > maxDecodeBytes {
		return nil, ofKind{fmt.Errorf("picture: %dx%d pixels take %d MiB of memory to resize, more than %d",
			w, h, bytes>>20, maxDecodeBytes>>20), ErrTooLarge}
	}
	defer reserve(bytes)()
	im, err := rgbOf(m)
	if err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	return p.resize(im).pix, nil
}

// rgbOf converts what decoders give exactly as they are converted in a file, and all else through 8-bit RGBA.
func rgbOf(m image.Image) (*rgbImage, error) {
	switch m := m.(type) {
	case *image.YCbCr:
		if at := m.Rect.Min; at.X%4 == 0 && at.Y%2 == 0 { // otherwise colour begins between two samples
			return rgbFromJPEG(m), nil
		}
	case *image.RGBA:
		if m.Opaque() {
			return rgbFrom(m)
		}
	case *image.Gray, *image.NRGBA, *image.NRGBA64, *image.CMYK:
		return rgbFrom(m)
	}
	plain := image.NewNRGBA(image.Rect(0, 0, m.Bounds().Dx(), m.Bounds().Dy()))
	draw.Draw(plain, plain.Rect, m, m.Bounds().Min, draw.Src)
	return rgbFrom(plain)
}
