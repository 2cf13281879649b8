package turbojpeg

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distilvit/internal/testenv"
)

// need skips where there is no library, but not in CI.
func need(t testing.TB) {
	t.Helper()
	if err := Available(); err != nil {
		testenv.Without(t, err)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func pixelsOf(jpeg []byte) ([]uint8, error) {
	h, err := ReadHeader(jpeg)
	if err != nil {
		return nil, err
	}
	dst := make([]uint8, h.Size())
	return dst, Decode(dst, jpeg, h)
}

// What Pillow 13 says of the same files was looked at by hand: truncated, "broken data
// stream", or pixels.
func TestDamagedFilesAreErrorsWherePillowRefusesThem(t *testing.T) {
	need(t)
	const end = "\xff\xd9"
	for _, name := range []string{"420.jpg", "progressive.jpg", "grey.jpg"} {
		raw := read(t, name)
		whole, err := pixelsOf(raw)
		if err != nil {
			t.Fatal(err)
		}
		n := len(raw)
		body := raw[:n-2]
		flipped := bytes.Clone(raw)
		flipped[n*3/4] ^= 0x55
		for _, c := range []struct {
			what, err string // empty: pixels
			file      []byte
			equal     bool // to the whole file's
		}{
			{what: "half a marker", file: raw[:n-1], err: "truncated"},
			{what: "no end marker", file: body, err: "truncated"},
			{what: "ten bytes less", file: raw[:n-10], err: "truncated"},
			{what: "half the file", file: raw[:n/2], err: "truncated"},
			{what: "a header's half", file: raw[:30], err: "no picture"},
			{what: "another picture within", file: append(bytes.Clone(body), "abc\xff\xd8\xff\xd8"...),
				err: "two SOI markers"},
			{what: "an early end", file: append(bytes.Clone(raw[:n-20]), end...)},
			{what: "changed bits", file: flipped},
			{
				what: "bytes before the end", file: append(append(bytes.Clone(body), "abc"...), end...),
				equal: true,
			},
			{what: "bytes behind the end", file: append(bytes.Clone(raw), "abc"...), equal: true},
			{what: "a text", file: []byte("\xff\xd8\xffa text"), err: " "},
			{what: "nothing", err: "truncated"},
		} {
			got, err := pixelsOf(c.file)
			switch {
			case c.err == "" && err != nil, c.err != "" &&
				(err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("%s, %s: %v", name, c.what, err)
			case c.equal && !bytes.Equal(got, whole):
				t.Errorf("%s, %s: other pixels", name, c.what)
			}
		}
	}
}

func TestMemoryOfAnotherSizeIsRefused(t *testing.T) {
	need(t)
	raw := read(t, "420.jpg")
	h, err := ReadHeader(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []Header{{}, {h.Width, h.Height + 1, false}, {h.Width, h.Height, true}} {
		if err := Decode(make([]uint8, 3*37*27), raw, h); err == nil {
			t.Errorf("%+v: no error", h)
		}
	}
	// Of a file that changed since its header was read, no more comes than there is room for.
	small, guard := make([]uint8, 3*5*5+100), bytes.Repeat([]uint8{0xa5}, 100)
	copy(small[75:], guard)
	err = Decode(small[:75], raw, Header{Width: 5, Height: 5})
	if !bytes.Equal(small[75:], guard) {
		t.Errorf("wrote behind its memory; %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	need(f)
	names, err := filepath.Glob("testdata/*.jpg")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if h, err := ReadHeader(raw); err != nil || h.Width > 2000 || h.Height > 2000 {
			return
		}
		_, _ = pixelsOf(raw)
	})
}
