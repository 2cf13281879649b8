package tokenizer

import "unicode/utf8"

// GPT-2 writes each byte as a printable character: itself where it is one in
// Latin-1, else the next free character from U+0100 on. byteRunes maps bytes to
// those characters and byteOrder lists the bytes as GPT-2's vocabulary has
// them (ids 0 to 255), printable ones first.
var (
	byteRunes [256]rune
	byteOrder [256]byte
	runeBytes = map[rune]byte{}
)

func init() {
	n := 0
	add := func(b int, r rune) {
		byteRunes[b], byteOrder[n], runeBytes[r] = r, byte(b), byte(b)
		n++
	}
	printable := func(b int) bool { return b > ' ' && b < 0x7f || b >= 0xa1 && b != 0xad }
	for b := range 256 {
		if printable(b) {
			add(b, rune(b))
		}
	}
	next := rune(256)
	for b := range 256 {
		if !printable(b) {
			add(b, next)
			next++
		}
	}
}

// tokenBytes gives the bytes of a token. A token with a character outside the
// alphabet stands for its own UTF-8, as added tokens with spaces do.
func tokenBytes(token string) []byte {
	out := make([]byte, 0, len(token))
	for _, r := range token {
		b, ok := runeBytes[r]
		if !ok {
			return []byte(token)
		}
		out = append(out, b)
	}
	return out
}

// lossy replaces what is not UTF-8 by U+FFFD, one for each maximal part of a
// sequence, as Rust's from_utf8_lossy and browsers' TextDecoder do.
func lossy(s string) []byte {
	if utf8.ValidString(s) {
		return []byte(s)
	}
	out := make([]byte, 0, len(s)+8)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n <= 1 {
			out = append(out, "\uFFFD"...)
			i += maximalPart(s[i:])
			continue
		}
		out = append(out, s[i:i+n]...)
		i += n
	}
	return out
}

// maximalPart is the length of the longest start of s that starts some valid
// sequence; s does not begin with a valid one. At least 1.
func maximalPart(s string) int {
	low, high, want := byte(0x80), byte(0xbf), 1
	switch b := s[0]; {
	case b >= 0xc2 && b <= 0xdf:
		want = 2
	case b >= 0xe0 && b <= 0xef:
		want = 3
		if b == 0xe0 {
			low = 0xa0
		} else if b == 0xed {
			high = 0x9f
		}
	case b >= 0xf0 && b <= 0xf4:
		want = 4
		if b == 0xf0 {
			low = 0x90
		} else if b == 0xf4 {
			high = 0x8f
		}
	}
	n := 1
	for n < want && n < len(s) && s[n] >= low && s[n] <= high {
		n++
		low, high = 0x80, 0xbf
	}
	return n
}
