package dataset

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"

	"distilvit/internal/turbojpeg"
)

// Decoders of JPEG files. libjpeg-turbo's pixels are Pillow's, bit for bit; the
// standard library's differ by a level here and there, and it takes several times
// as long. So what is prepared depends on which it was.
const (
	JPEGTurbo    = "libjpeg-turbo"
	JPEGStandard = "image/jpeg"
)

// JPEGDecoder is the better decoder that this process has.
func JPEGDecoder() string {
	if turbojpeg.Available() == nil {
		return JPEGTurbo
	}
	return JPEGStandard
}

// CheckJPEGDecoder is nil where this process has the decoder.
func CheckJPEGDecoder(name string) error {
	switch name {
	case JPEGStandard:
		return nil
	case JPEGTurbo:
		return turbojpeg.Available()
	}
	return fmt.Errorf("no JPEG decoder is called %q", name)
}

// IsJPEG says whether a picture file is one, by its first bytes.
func IsJPEG(raw []byte) bool { return isJPEG(raw) }

func decodeJPEG(b []byte) (*rgbImage, error) {
	im, err := jpeg.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if ycc, ok := im.(*image.YCbCr); ok {
		return rgbFromJPEG(ycc), nil
	}
	return rgbFrom(im)
}

func sizeTurbo(b []byte) (image.Config, error) {
	h, err := turbojpeg.ReadHeader(b)
	return image.Config{Width: h.Width, Height: h.Height}, err
}

func decodeTurbo(b []byte) (*rgbImage, error) {
	h, err := turbojpeg.ReadHeader(b)
	if err != nil {
		return nil, err
	}
	if !h.CMYK {
		im := takeRGB(h.Width, h.Height)
		if err := turbojpeg.Decode(im.pix, b, h); err != nil {
			im.giveBack()
			return nil, err
		}
		return im, nil
	}
	inverted := make([]uint8, h.Size())
	if err := turbojpeg.Decode(inverted, b, h); err != nil {
		return nil, err
	}
	for i, v := range inverted { // Pillow takes every such file for Adobe's
		inverted[i] = 255 - v
	}
	return eachPixel(image.Rect(0, 0, h.Width, h.Height), 4*h.Width, 4, inverted, fromCMYK), nil
}
