package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// sniffBytes is what is looked at of a text before it is read.
const sniffBytes = 64 << 10

// newText reads a captions file as UTF-8 text; one of UTF-16 with a byte-order mark, as Excel and PowerShell write, becomes
// that. A mark is left out, and lines that end in a carriage return alone, as on old Macs, end in a newline.
// UTF-16 without a mark, and a byte that is not UTF-8, are errors that say where and what to do:
// read as they are they would be trained on as rubbish.
func newText(r io.Reader) (*bufio.Reader, error) {
	b, head, err := peeked(r)
	wide := bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff"))
	if err == nil && wide {
		utf16 := unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM)
		b, head, err = peeked(transform.NewReader(b, utf16.NewDecoder()))
	}
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) && !wide:
		b.Discard(3)
	case isWide(head):
		return nil, errors.New("is UTF-16 text without a byte-order mark; UTF-8 is wanted: iconv -f UTF-16LE -t UTF-8 OLD > NEW, " +
			"or -f UTF-16BE")
	}
	macLines := bytes.IndexByte(head, '\r') >= 0 && bytes.IndexByte(head, '\n') < 0
	return bufio.NewReaderSize(&text{r: b, wide: wide, macLines: macLines, line: 1}, sniffBytes), nil
}

// peeked is a reader and how it begins.
func peeked(r io.Reader) (*bufio.Reader, []byte, error) {
	b := bufio.NewReaderSize(r, sniffBytes)
	head, err := b.Peek(sniffBytes)
	if errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	return b, head, err
}

// isWide says whether every other byte of the beginning is zero, as of UTF-16
// without a mark.
func isWide(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	head = head[:min(len(head), 64)&^1]
	var zeros [2]int
	for i, c := range head {
		if c == 0 {
			zeros[i%2]++
		}
	}
	half := len(head) / 2
	return zeros[0] > half*3/4 && zeros[1] == 0 || zeros[1] > half*3/4 && zeros[0] == 0
}

// text passes UTF-8 on and stops at what is none.
type text struct {
	r        io.Reader
	wide     bool // it was UTF-16, of which what was broken is U+FFFD by now
	macLines bool
	rest     []byte // a character that a read cut in two
	line     int
	read     int64 // bytes before rest
	err      error
}

func (t *text) Read(p []byte) (int, error) {
	if len(p) < utf8.UTFMax {
		return 0, io.ErrShortBuffer
	}
	if t.err != nil {
		return 0, t.err
	}
	n := copy(p, t.rest)
	m, err := t.r.Read(p[n:])
	n += m
	t.rest, t.err = t.rest[:0], err
	whole := t.valid(p[:n], errors.Is(err, io.EOF))
	if t.macLines {
		for i, c := range p[:whole] {
			if c == '\r' {
				p[i] = '\n'
			}
		}
	}
	if whole == 0 && t.err != nil {
		return 0, t.err
	}
	return whole, nil
}

// valid answers how many bytes of b are whole characters, and keeps the rest for the
// next read. Where one is broken it sets the error that follows.
func (t *text) valid(b []byte, last bool) int {
	at := 0
	for at < len(b) {
		r, size := rune(b[at]), 1
		if r >= utf8.RuneSelf {
			if !last && !utf8.FullRune(b[at:]) {
				t.rest = append(t.rest, b[at:]...)
				break
			}
			if r, size = utf8.DecodeRune(b[at:]); r == utf8.RuneError && size == 1 {
				t.err = fmt.Errorf("line %d, byte %d: 0x%02X is not UTF-8 (Latin-1? then: iconv -f LATIN1 -t UTF-8 OLD > NEW)",
					t.line, t.read+int64(at), b[at])
				break
			}
			if r == utf8.RuneError && t.wide {
				t.err = fmt.Errorf("line %d: a character of its UTF-16 is broken", t.line)
				break
			}
		}
		if r == '\n' || r == '\r' && t.macLines {
			t.line++
		}
		at += size
	}
	t.read += int64(at)
	return at
}
