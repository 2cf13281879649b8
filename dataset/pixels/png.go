package pixels

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
)

// EncodePNG makes a file of pixels, uint8 RGB [height, width, 3].
func EncodePNG(rgb []uint8, width, height int) ([]byte, error) {
	if len(rgb) != 3*width*height {
		return nil, fmt.Errorf("%d bytes are not %d×%d pixels", len(rgb), width, height)
	}
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		copy(m.Pix[4*i:], rgb[3*i:3*i+3])
		m.Pix[4*i+3] = 255
	}
	var b bytes.Buffer
	err := png.Encode(&b, m)
	return b.Bytes(), err
}
