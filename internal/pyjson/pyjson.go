// Package pyjson reads what Python's json writes and JSON has not: the numbers NaN,
// Infinity and -Infinity.
package pyjson

import (
	"bytes"
	"io"
)

// NewReader makes JSON of r: such a number becomes an empty list of the same length, so that
// nobody takes it for another number and what is skipped may hold it.
func NewReader(r io.Reader) io.Reader { return &reader{r: r} }

// Clean is NewReader for a whole document.
func Clean(b []byte) []byte {
	clean, err := io.ReadAll(NewReader(bytes.NewReader(b)))
	if err != nil {
		panic(err) // a reader of bytes has none
	}
	return clean
}

type reader struct {
	r      io.Reader
	rest   []byte // read and not passed on yet: the beginning of a word may end a read
	inText bool
	escape bool
	err    error
}

var words = [][]byte{[]byte("NaN"), []byte("-Infinity"), []byte("Infinity")}

func (p *reader) Read(b []byte) (int, error) {
	for len(p.rest) < len("-Infinity") && p.err == nil {
		chunk := make([]byte, max(len(b), 512))
		var n int
		n, p.err = p.r.Read(chunk)
		p.rest = append(p.rest, chunk[:n]...)
	}
	n := 0
	for n < len(b) && len(p.rest) > 0 {
		if !p.inText {
			if len(p.rest) < len("-Infinity") && p.err == nil {
				break // more may follow of a word
			}
			if word := p.word(); word > 0 {
				copy(p.rest, "[]")
				for i := 2; i < word; i++ {
					p.rest[i] = ' '
				}
			}
		}
		c := p.rest[0]
		p.rest = p.rest[1:]
		switch {
		case p.escape:
			p.escape = false
		case c == '\\' && p.inText:
			p.escape = true
		case c == '"':
			p.inText = !p.inText
		}
		b[n] = c
		n++
	}
	if n == 0 && len(p.rest) == 0 {
		return 0, p.err
	}
	return n, nil
}

// word is the length of a number that JSON has not, if one begins here.
func (p *reader) word() int {
	if c := p.rest[0]; c != 'N' && c != 'I' && c != '-' {
		return 0
	}
	for _, w := range words {
		if bytes.HasPrefix(p.rest, w) {
			return len(w)
		}
	}
	return 0
}
