// Package script tells scripts apart by what matters for words and tokens.
package script

import "unicode"

// Spaceless says whether a character belongs to a script that puts no spaces between words: Han,
// Hiragana, Katakana, Thai, Lao, Khmer and Myanmar. The marks of length of both kana (ー), which
// belong to no single script, do, too.
func Spaceless(r rune) bool {
	return Syllabic(r) || unicode.In(r, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// Syllabic says whether a character is a syllable or a word by itself: Han and kana.
func Syllabic(r rune) bool {
	return r == 'ー' || r == 'ｰ' || unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana)
}
