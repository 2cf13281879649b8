package pixels

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"

	"golang.org/x/image/vp8"
	"golang.org/x/image/vp8l"
)

// webpFrame is the first frame of a WebP, or its only one. Its alpha is not read, since
// convert("RGB") drops it.
type webpFrame struct {
	width, height int             // of the whole picture
	rect          image.Rectangle // of the frame
	lossy         bool            // VP8, else VP8L
	data          []byte          // of VP8 or VP8L
}

var errWebPShort = errors.New("ends too early")

// webpChunks calls f with the chunks of a RIFF list until it has had enough.
func webpChunks(b []byte, f func(kind string, body []byte) (enough bool)) {
	for len(b) >= 8 {
		n := uint64(binary.LittleEndian.Uint32(b[4:]))
		if n+8 > uint64(len(b)) || f(string(b[:4]), b[8:8+n]) {
			return
		}
		b = b[min(uint64(len(b)), 8+n+n%2):]
	}
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

// parseWebP finds the first frame (WebP container specification).
func parseWebP(b []byte) (f webpFrame, err error) {
	err = errWebPShort
	animated := false
	webpChunks(b[12:], func(kind string, body []byte) bool {
		switch {
		case kind == "VP8X" && len(body) >= 10:
			animated = body[0]&2 != 0
			f.width, f.height = 1+uint24(body[4:]), 1+uint24(body[7:])
			return false
		case kind == "ANMF" && animated:
			err = f.animated(body)
			return true
		case (kind == "VP8 " || kind == "VP8L") && !animated:
			var w, h int
			w, h, err = f.stored(kind, body)
			f.width, f.height, f.rect = w, h, image.Rect(0, 0, w, h)
			return true
		}
		return false
	})
	return f, err
}

// stored takes a frame's data, and reads its size from them.
func (f *webpFrame) stored(kind string, body []byte) (w, h int, err error) {
	f.lossy, f.data = kind == "VP8 ", body
	switch {
	case f.lossy && len(body) >= 10:
		short := func(i int) int { return int(binary.LittleEndian.Uint16(body[i:])) & 0x3fff }
		return short(6), short(8), nil
	case !f.lossy && len(body) >= 5:
		v := int(binary.LittleEndian.Uint32(body[1:]))
		return 1 + v&0x3fff, 1 + v>>14&0x3fff, nil
	}
	return 0, 0, errWebPShort
}

// animated reads an ANMF chunk.
func (f *webpFrame) animated(body []byte) error {
	if len(body) < 16 {
		return errWebPShort
	}
	x, y := 2*uint24(body), 2*uint24(body[3:])
	f.rect = image.Rect(x, y, x+1+uint24(body[6:]), y+1+uint24(body[9:]))
	if !f.rect.In(image.Rect(0, 0, f.width, f.height)) {
		return fmt.Errorf("the first frame is at %v, not within %dx%d pixels", f.rect, f.width, f.height)
	}
	err := errors.New("the first frame has no pixels")
	webpChunks(body[16:], func(kind string, body []byte) bool {
		if kind != "VP8 " && kind != "VP8L" {
			return false
		}
		var w, h int
		if w, h, err = f.stored(kind, body); err == nil && (w != f.rect.Dx() || h != f.rect.Dy()) {
			err = fmt.Errorf("the first frame is %dx%d pixels, and stored as %dx%d",
				f.rect.Dx(), f.rect.Dy(), w, h)
		}
		return true
	})
	return err
}

// whole says whether the frame is all of the picture.
func (f *webpFrame) whole() bool { return f.rect.Dx() == f.width && f.rect.Dy() == f.height }

// headerWebP reckons with the decoder's planes and our pixels, or with the decoder's
// pixels, packed and unpacked, and ours.
func headerWebP(b []byte) (header, error) {
	f, err := parseWebP(b)
	if err != nil {
		return header{}, err
	}
	perPixel := int64(12)
	if f.lossy {
		perPixel = 5
	}
	n := perPixel * int64(f.rect.Dx()) * int64(f.rect.Dy())
	if !f.whole() {
		n += 3 * int64(f.width) * int64(f.height)
	}
	return header{f.width, f.height, n}, nil
}

// decodeWebP answers the first frame on the whole picture's canvas, which is black
// around it, as libwebp's WebPAnimDecoder has it.
func decodeWebP(b []byte) (*rgbImage, error) {
	f, err := parseWebP(b)
	if err != nil {
		return nil, err
	}
	frame, err := f.decode()
	if err != nil || f.whole() {
		return frame, err
	}
	out := newRGB(f.width, f.height)
	for y := range frame.h {
		copy(out.pix[3*((f.rect.Min.Y+y)*out.w+f.rect.Min.X):], frame.pix[3*y*frame.w:3*(y+1)*frame.w])
	}
	return out, nil
}

func (f *webpFrame) decode() (*rgbImage, error) {
	if !f.lossy {
		im, err := vp8l.Decode(bytes.NewReader(f.data))
		if err != nil {
			return nil, err
		}
		return rgbFrom(im)
	}
	d := vp8.NewDecoder()
	d.Init(bytes.NewReader(f.data), len(f.data))
	if _, err := d.DecodeFrameHeader(); err != nil {
		return nil, err
	}
	im, err := d.DecodeFrame()
	if err != nil {
		return nil, err
	}
	return rgbFromWebP(im), nil
}
