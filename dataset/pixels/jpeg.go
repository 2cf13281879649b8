package pixels

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"

	"distilvit/internal/turbojpeg"
)

// Decoders of JPEG files. libjpeg-turbo's pixels are Pillow's, bit for bit; the
// standard library's differ by a level here and there, and it takes several times
// as long. So what is prepared depends on which it was. An empty name, as datasets have
// that were prepared before there was a choice, is JPEGStandard.
const (
	JPEGTurbo    = "libjpeg-turbo" // where the machine has it
	JPEGStandard = "image/jpeg"    // Go's own, always there
)

// JPEGDecoder is the better decoder that this process has.
func JPEGDecoder() string {
	if turbojpeg.Available() == nil {
		return JPEGTurbo
	}
	return JPEGStandard
}

// CheckJPEGDecoder is nil where this process has the decoder of that name.
func CheckJPEGDecoder(name string) error {
	switch name {
	case "", JPEGStandard:
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

// jpegFrame is what a JPEG's header says of the memory that it takes.
type jpegFrame struct {
	w, h, components int
	samples          float64 // a pixel
	buffered         bool    // all coefficients are kept until the last scan
}

// parseJPEG reads the markers up to the first scan (ITU-T T.81, annex B).
func parseJPEG(b []byte) (f jpegFrame, err error) {
	for b = b[2:]; len(b) >= 4; {
		marker := b[1]
		switch {
		case b[0] != 0xff: // decoders search for the next marker
			b = b[1:]
			continue
		case marker == 0xff || marker == 0:
			b = b[1:]
			continue
		case marker == 0x01 || marker >= 0xd0 && marker <= 0xd9: // without a length
			b = b[2:]
			continue
		}
		n := 2 + int(binary.BigEndian.Uint16(b[2:]))
		if n < 4 || n > len(b) {
			break
		}
		body := b[4:n]
		switch {
		case marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc:
			if len(body) < 6 || len(body) < 6+3*int(body[5]) {
				return f, errJPEGShort
			}
			f = jpegFrame{
				h: int(binary.BigEndian.Uint16(body[1:])), w: int(binary.BigEndian.Uint16(body[3:])),
				components: int(body[5]), buffered: marker == 0xc2,
			}
			f.count(body[6:])
		case marker == 0xda:
			if f.components == 0 {
				return f, errors.New("a scan comes before its frame")
			}
			f.buffered = f.buffered || len(body) > 0 && int(body[0]) < f.components
			return f, nil
		}
		b = b[n:]
	}
	return f, errJPEGShort
}

var errJPEGShort = errors.New("ends before its pixels")

// count adds up the samples of a pixel.
func (f *jpegFrame) count(components []byte) {
	sum, most := 0, 1
	for i := range f.components {
		sampling := components[3*i+1]
		n := int(sampling>>4) * int(sampling&15)
		sum, most = sum+n, max(most, n)
	}
	f.samples = float64(sum) / float64(most)
}

// bytes are our pixels, a decoder's of so many bytes, and its coefficients, if it has to
// keep them.
func (f jpegFrame) bytes(decoded, coefficient float64) int64 {
	perPixel := 3 + decoded
	if f.components == 4 {
		perPixel += 4
	}
	if f.buffered {
		perPixel += coefficient * f.samples
	}
	return int64(perPixel * float64((f.w+15)*(f.h+15)))
}

// headerJPEG reckons with image/jpeg's planes, its coefficients of 4 bytes, and
// our pixels.
func headerJPEG(b []byte) (header, error) {
	c, err := jpeg.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return header{}, err
	}
	f, err := parseJPEG(b)
	return header{c.Width, c.Height, f.bytes(f.samples, 4)}, err
}

// headerTurbo reckons with libjpeg-turbo's coefficients of 2 bytes and our pixels.
func headerTurbo(b []byte) (header, error) {
	h, err := turbojpeg.ReadHeader(b)
	if err != nil {
		return header{}, err
	}
	f, err := parseJPEG(b)
	return header{h.Width, h.Height, f.bytes(0, 2)}, err
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
