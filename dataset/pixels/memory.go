package pixels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/semaphore"
)

// A small file may stand for an enormous picture. So a picture's size is read first, and
// what its decoding can take is known before it does: too much for one picture is refused,
// and pictures that are decoded at once wait for each other's memory.
const (
	// DefaultMaxPixels is where Pillow refuses a picture as a decompression bomb: twice
	// its MAX_IMAGE_PIXELS.
	DefaultMaxPixels = 2 * (1024 * 1024 * 1024 / 4 / 3)

	// MaxFileBytes bounds a picture's file.
	MaxFileBytes = 256 << 20

	// maxDecodeBytes bounds one picture, its file included.
	maxDecodeBytes = 300 << 20

	// budgetBytes bounds all pictures of this process that are decoded at once.
	budgetBytes = 1 << 30
)

var budget = semaphore.NewWeighted(budgetBytes)

// reserve waits until n bytes are free of the budget, n at most maxDecodeBytes. Nobody
// who holds some of it waits for anything, so it does end.
func reserve(n int64) (release func()) {
	// Without a deadline and for less than there is, it cannot fail.
	_ = budget.Acquire(context.Background(), n)
	return func() { budget.Release(n) }
}

func (p Processor) maxPixels() int {
	if p.MaxPixels > 0 {
		return p.MaxPixels
	}
	return DefaultMaxPixels
}

// resizeBytes is what resizing takes beside a picture of w × h pixels: the picture with
// one axis resized, the result, and each axis' weights.
func (p Processor) resizeBytes(w, h int) int64 {
	half := max(int64(p.Width)*int64(h), int64(w)*int64(p.Height))
	n := 3 * (half + int64(p.Width)*int64(p.Height))
	if p.Resample == Nearest {
		return n
	}
	return n + p.weightBytes(w, p.Width) + p.weightBytes(h, p.Height)
}

// weightBytes is for the weights of an axis, 4 bytes each, and for vectors four times
// that once more.
func (p Processor) weightBytes(in, out int) int64 {
	if p.Resample == Nearest {
		return 0
	}
	return int64((4 + 16) * (2*filters[p.Resample].support*float64(max(in, out)) + 2*float64(out)))
}

// ReadFile reads a picture's file: a regular one of at most MaxFileBytes, not a device or
// a pipe, which may never end.
func ReadFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // first: opening a pipe waits for its writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("is not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := Read(f, info.Size())
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return raw, nil
}

// Read reads a picture's file of at most MaxFileBytes from a stream. size is how many bytes it is said
// to have; 0 or less: nobody knows.
func Read(r io.Reader, size int64) ([]byte, error) {
	tooLarge := func(n int64) error {
		return ofKind{fmt.Errorf("has %d bytes or more; a picture has at most %d", n, MaxFileBytes), ErrTooLarge}
	}
	if size > MaxFileBytes {
		return nil, tooLarge(size)
	}
	raw := make([]byte, 0, max(size, 0)+bytes.MinRead)
	b := bytes.NewBuffer(raw)
	n, err := b.ReadFrom(io.LimitReader(r, MaxFileBytes+1))
	if err == nil && n > MaxFileBytes {
		err = tooLarge(n)
	}
	return b.Bytes(), err
}
