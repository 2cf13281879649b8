package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// sniffBytes is what is looked at of a text before it is read.
const sniffBytes = 64 << 10

// newText reads a captions file as UTF-8 text. A byte-order mark is left out, and
// lines that end in a carriage return alone, as on old Macs, end in a newline.
// UTF-16, and a byte that is not UTF-8, are errors that say where and what to do:
// read as they are they would be trained on as rubbish.
func newText(r io.Reader) (*bufio.Reader, error) {
	b := bufio.NewReaderSize(r, sniffBytes)
	head, err := b.Peek(sniffBytes)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		b.Discard(3)
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")), isWide(head):
		return nil, errors.New("is UTF-16 text; UTF-8 is wanted: iconv -f UTF-16 -t UTF-8 OLD > NEW")
	}
	macLines := bytes.IndexByte(head, '\r') >= 0 && bytes.IndexByte(head, '\n') < 0
	return bufio.NewReaderSize(&text{r: b, macLines: macLines, line: 1}, sniffBytes), nil
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
		}
		if r == '\n' || r == '\r' && t.macLines {
			t.line++
		}
		at += size
	}
	t.read += int64(at)
	return at
}
