package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// GPT-2 splits text by
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// Go's regexp has no (?!\S), so pieceLength scans it by hand.

type class uint8

const (
	other class = iota
	letter
	number
	space
)

var asciiClass = func() (table [utf8.RuneSelf]class) {
	for c := range table {
		table[c] = unicodeClass(rune(c))
	}
	return table
}()

func classOf(s string) (class, int) {
	if c := s[0]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, n := utf8.DecodeRuneInString(s)
	return unicodeClass(r), n
}

func unicodeClass(r rune) class {
	switch {
	case unicode.Is(unicode.L, r) || unicode.Is(newLetters, r):
		return letter
	case unicode.Is(unicode.N, r) || unicode.Is(newNumbers, r):
		return number
	case unicode.Is(unicode.White_Space, r):
		return space
	}
	return other
}

// pieceLength is the length in bytes of the first piece of s, which is not empty.
func pieceLength(s string) int {
	if n := contraction(s); n > 0 {
		return n
	}
	kind, n := classOf(s)
	if s[0] == ' ' && len(s) > 1 {
		next, m := classOf(s[1:])
		if next != space {
			return 1 + m + runLength(s[1+m:], next)
		}
	}
	if kind != space {
		return n + runLength(s[n:], kind)
	}
	return spacesLength(s)
}

// spacesLength is the length of the first piece of white space, with which s begins: all of it at
// the end of the text, else all but the last character, which goes with the next piece or
// stands alone.
func spacesLength(s string) int {
	_, n := classOf(s)
	last := n
	end := n
	for end < len(s) {
		kind, m := classOf(s[end:])
		if kind != space {
			break
		}
		end += m
		last = m
	}
	if end == len(s) || end == last {
		return end
	}
	return end - last
}

// runLength is the length in bytes of the characters of one class s starts with.
func runLength(s string, want class) int {
	i := 0
	for i < len(s) {
		kind, n := classOf(s[i:])
		if kind != want {
			break
		}
		i += n
	}
	return i
}

// contraction is the length of the English contraction s starts with, or 0.
func contraction(s string) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	switch s[1] {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if len(s) > 2 && s[2] == 'e' {
			return 3
		}
	case 'l':
		if len(s) > 2 && s[2] == 'l' {
			return 3
		}
	}
	return 0
}

// Letters and numbers that Unicode 15.1 and 16 added: tokenizers' regular
// expressions know them, the tables of Go's package unicode (15.0) do not.
var newLetters = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1c89, Hi: 0x1c8a, Stride: 1},
		{Lo: 0xa7cb, Hi: 0xa7cd, Stride: 1},
		{Lo: 0xa7da, Hi: 0xa7dc, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x105c0, Hi: 0x105f3, Stride: 1},
		{Lo: 0x10d4a, Hi: 0x10d65, Stride: 1},
		{Lo: 0x10d6f, Hi: 0x10d85, Stride: 1},
		{Lo: 0x10ec2, Hi: 0x10ec4, Stride: 1},
		{Lo: 0x11380, Hi: 0x11389, Stride: 1},
		{Lo: 0x1138b, Hi: 0x1138b, Stride: 1},
		{Lo: 0x1138e, Hi: 0x1138e, Stride: 1},
		{Lo: 0x11390, Hi: 0x113b5, Stride: 1},
		{Lo: 0x113b7, Hi: 0x113b7, Stride: 1},
		{Lo: 0x113d1, Hi: 0x113d1, Stride: 1},
		{Lo: 0x113d3, Hi: 0x113d3, Stride: 1},
		{Lo: 0x11bc0, Hi: 0x11be0, Stride: 1},
		{Lo: 0x13460, Hi: 0x143fa, Stride: 1},
		{Lo: 0x16100, Hi: 0x1611d, Stride: 1},
		{Lo: 0x16d40, Hi: 0x16d6c, Stride: 1},
		{Lo: 0x18cff, Hi: 0x18cff, Stride: 1},
		{Lo: 0x1e5d0, Hi: 0x1e5ed, Stride: 1},
		{Lo: 0x1e5f0, Hi: 0x1e5f0, Stride: 1},
		{Lo: 0x2ebf0, Hi: 0x2ee5d, Stride: 1},
	},
}

var newNumbers = &unicode.RangeTable{
	R32: []unicode.Range32{
		{Lo: 0x10d40, Hi: 0x10d49, Stride: 1},
		{Lo: 0x116d0, Hi: 0x116e3, Stride: 1},
		{Lo: 0x11bf0, Hi: 0x11bf9, Stride: 1},
		{Lo: 0x16130, Hi: 0x16139, Stride: 1},
		{Lo: 0x16d70, Hi: 0x16d79, Stride: 1},
		{Lo: 0x1ccf0, Hi: 0x1ccf9, Stride: 1},
		{Lo: 0x1e5f1, Hi: 0x1e5fa, Stride: 1},
	},
}
