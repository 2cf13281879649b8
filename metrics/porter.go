package metrics

import "strings"

// stem is the Porter stemmer as NLTK extends it (mode NLTK_EXTENSIONS), for
// words of lower-case letters and digits.
func stem(word string) string {
	if s, ok := irregular[word]; ok {
		return s
	}
	if len(word) <= 2 {
		return word
	}
	word = step1a(word)
	word = step1b(word)
	word = step1c(word)
	word = step2(word)
	word = replaceSuffix(word, step3Rules)
	word = step4(word)
	word = step5a(word)
	return step5b(word)
}

var irregular = map[string]string{
	"sky": "sky", "skies": "sky",
	"dying": "die", "lying": "lie", "tying": "tie",
	"news":    "news",
	"innings": "inning", "inning": "inning",
	"outings": "outing", "outing": "outing",
	"cannings": "canning", "canning": "canning",
	"howe":    "howe",
	"proceed": "proceed", "exceed": "exceed", "succeed": "succeed",
}

// A rule replaces a suffix where what stands before it has a measure above 0.
// Only the first rule whose suffix fits is tried.
type rule struct{ suffix, replacement string }

var step2Rules = []rule{
	{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"},
	{"izer", "ize"}, {"bli", "ble"},
	{"alli", "al"}, {"entli", "ent"}, {"eli", "e"}, {"ousli", "ous"}, {"ization", "ize"}, {"ation", "ate"},
	{"ator", "ate"},
	{"alism", "al"}, {"iveness", "ive"}, {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},
	{"iviti", "ive"},
	{"biliti", "ble"}, {"fulli", "ful"},
}

var step3Rules = []rule{
	{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"},
	{"ful", ""}, {"ness", ""},
}

var step4Suffixes = []string{
	"al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
	"ate", "iti", "ous", "ive", "ize",
}

func replaceSuffix(word string, rules []rule) string {
	for _, r := range rules {
		if base, ok := strings.CutSuffix(word, r.suffix); ok {
			if measure(base) > 0 {
				return base + r.replacement
			}
			return word
		}
	}
	return word
}

func step1a(word string) string {
	switch {
	case strings.HasSuffix(word, "ies") && len(word) == 4:
		return word[:3]
	case strings.HasSuffix(word, "sses"), strings.HasSuffix(word, "ies"):
		return word[:len(word)-2]
	case strings.HasSuffix(word, "ss"):
		return word
	}
	return strings.TrimSuffix(word, "s")
}

func step1b(word string) string {
	if base, ok := strings.CutSuffix(word, "ied"); ok {
		if len(word) == 4 {
			return base + "ie"
		}
		return base + "i"
	}
	if base, ok := strings.CutSuffix(word, "eed"); ok {
		if measure(base) > 0 {
			return base + "ee"
		}
		return word
	}
	base, ok := strings.CutSuffix(word, "ed")
	if !ok || !hasVowel(base) {
		base, ok = strings.CutSuffix(word, "ing")
		if !ok || !hasVowel(base) {
			return word
		}
	}
	last := base[len(base)-1]
	switch {
	case strings.HasSuffix(base, "at"), strings.HasSuffix(base, "bl"), strings.HasSuffix(base, "iz"):
		return base + "e"
	case endsDouble(base):
		if last == 'l' || last == 's' || last == 'z' {
			return base
		}
		return base[:len(base)-1]
	case measure(base) == 1 && endsCVC(base):
		return base + "e"
	}
	return base
}

func step1c(word string) string {
	base, ok := strings.CutSuffix(word, "y")
	if ok && len(base) > 1 && consonants(base)[len(base)-1] {
		return base + "i"
	}
	return word
}

func step2(word string) string {
	if base, ok := strings.CutSuffix(word, "alli"); ok && measure(base) > 0 {
		return step2(base + "al")
	}
	replaced := replaceSuffix(word, step2Rules)
	if replaced == word && strings.HasSuffix(word, "logi") && measure(word[:len(word)-3]) > 0 {
		return word[:len(word)-1]
	}
	return replaced
}

func step4(word string) string {
	for _, suffix := range step4Suffixes {
		base, ok := strings.CutSuffix(word, suffix)
		if !ok {
			continue
		}
		if measure(base) <= 1 || suffix == "ion" && !strings.HasSuffix(base, "s") &&
			!strings.HasSuffix(base, "t") {
			return word
		}
		return base
	}
	return word
}

func step5a(word string) string {
	base, ok := strings.CutSuffix(word, "e")
	if !ok {
		return word
	}
	if m := measure(base); m > 1 || m == 1 && !endsCVC(base) {
		return base
	}
	return word
}

func step5b(word string) string {
	if strings.HasSuffix(word, "ll") && measure(word[:len(word)-1]) > 1 {
		return word[:len(word)-1]
	}
	return word
}

// consonants tells for each letter whether it is one; y is where the letter
// before it is not.
func consonants(word string) []bool {
	flags := make([]bool, len(word))
	for i := range len(word) {
		switch word[i] {
		case 'a', 'e', 'i', 'o', 'u':
		case 'y':
			flags[i] = i == 0 || !flags[i-1]
		default:
			flags[i] = true
		}
	}
	return flags
}

// measure is Porter's m: how often a consonant follows a vowel.
func measure(word string) int {
	m := 0
	flags := consonants(word)
	for i := 1; i < len(flags); i++ {
		if !flags[i-1] && flags[i] {
			m++
		}
	}
	return m
}

func hasVowel(word string) bool {
	for _, consonant := range consonants(word) {
		if !consonant {
			return true
		}
	}
	return false
}

func endsDouble(word string) bool {
	n := len(word)
	return n >= 2 && word[n-1] == word[n-2] && consonants(word)[n-1]
}

// endsCVC tells whether word ends in consonant, vowel, consonant other than w,
// x, y; a word of two letters needs the last two only.
func endsCVC(word string) bool {
	n := len(word)
	if n < 2 {
		return false
	}
	c := consonants(word)
	if c[n-2] || !c[n-1] {
		return false
	}
	return n == 2 || c[n-3] && !strings.ContainsRune("wxy", rune(word[n-1]))
}
