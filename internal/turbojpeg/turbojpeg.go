// Package turbojpeg decodes JPEG files with libjpeg-turbo where the machine has it. The library is looked for
// when the program runs, so that the same program works without it and nobody needs its headers to build.
// Only a library whose pixels are those of Pillow counts: pictures of each kind that stand in the program are
// decoded first and compared.
package turbojpeg

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
)

// probes are JPEGs of each sampling, progressive, grey and CMYK, made by testdata/make_probes.py with Pillow;
// pixels is the SHA-256 of what Pillow reads from them, one after the other by name.
//
//go:embed testdata/*.jpg
var probes embed.FS

//go:embed testdata/pixels.sha256
var pixels string

// Available is nil where JPEGs can be decoded, or says why not. It looks once.
var Available = sync.OnceValue(func() error {
	if err := open(); err != nil {
		return err
	}
	if err := probe(); err != nil {
		return fmt.Errorf("libjpeg-turbo here is not used: %w", err)
	}
	return nil
})

// probe decodes the pictures that stand in the program.
func probe() error {
	files, err := fs.Glob(probes, "testdata/*.jpg")
	if err != nil {
		return err
	}
	sum := sha256.New()
	for _, name := range files {
		raw, err := probes.ReadFile(name)
		if err != nil {
			return err
		}
		h, err := readHeader(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		dst := make([]uint8, h.Size())
		if err := decode(dst, raw, h); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		sum.Write(dst)
	}
	if hex.EncodeToString(sum.Sum(nil)) != strings.TrimSpace(pixels) {
		return errors.New("its pixels are not Pillow's")
	}
	return nil
}

// Header is what is known of a picture before its pixels take memory.
type Header struct {
	Width, Height int  // pixels, at least 1
	CMYK          bool // four channels, as stored: Adobe's are inverted; otherwise RGB
}

// Size is the number of bytes of the picture's pixels.
func (h Header) Size() int { return h.Width * h.Height * h.channels() }

func (h Header) channels() int {
	if h.CMYK {
		return 4
	}
	return 3
}

// ReadHeader reads a picture's size.
func ReadHeader(jpeg []byte) (Header, error) {
	if err := Available(); err != nil {
		return Header{}, err
	}
	return readHeader(jpeg)
}

// Decode fills dst, uint8 [height, width, channels] and h.Size() bytes long. What Pillow reads in spite of a
// damage is no error, what it refuses is one; a cut file is.
func Decode(dst []uint8, jpeg []byte, h Header) error {
	if err := Available(); err != nil {
		return err
	}
	if h.Width < 1 || h.Height < 1 || len(dst) != h.Size() {
		return fmt.Errorf("%d bytes are not for %d × %d pixels", len(dst), h.Width, h.Height)
	}
	return decode(dst, jpeg, h)
}

// harmless begin libjpeg's warnings after which Pillow, too, takes the pixels as they are. A library reports
// its first warning, or the error that ended it.
var harmless = []string{
	"Corrupt JPEG data: ",
	"Inconsistent progression sequence ",
	"Invalid SOS parameters for sequential JPEG",
	"Unknown Adobe color transform code ",
	"Warning: unknown JFIF revision number ",
}

// errTruncated is Pillow's word for a file without its end.
var errTruncated = errors.New("file is truncated")

// judge makes an error of a library's message, unless Pillow reads such files.
func judge(message string, jpeg []byte) error {
	if strings.HasPrefix(message, "Premature end of JPEG file") {
		return errTruncated
	}
	for _, start := range harmless {
		if strings.HasPrefix(message, start) {
			if !ends(jpeg) {
				return errTruncated
			}
			return nil
		}
	}
	return errors.New(strings.TrimSpace(message))
}

// ends says whether an end marker follows the last scan's start.
func ends(jpeg []byte) bool {
	last := bytes.LastIndex(jpeg, []byte("\xff\xda"))
	return last >= 0 && bytes.Contains(jpeg[last:], []byte("\xff\xd9"))
}
