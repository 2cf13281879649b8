package metrics

import (
	"regexp"
	"strings"
)

// Characters that METEOR takes for letters.
const meteorLetters = `A-Za-z\x{160}\x{17D}\x{161}\x{17E}\x{178}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{17E}` +
	`\x{400}-\x{4FF}\x{500}-\x{527}\x{A640}-\x{A66E}\x{A67E}-\x{A697}\x{1D00}-\x{1D7F}`

// replacement is a step of normalization.
type replacement struct {
	of   *regexp.Regexp
	with string
}

func replace(pattern, with string) replacement {
	pattern = strings.NewReplacer("LETTERS", meteorLetters, "DIGITS", "0-9").Replace(pattern)
	return replacement{regexp.MustCompile(pattern), with}
}

func replaceAll(text string, steps []replacement) string {
	for _, s := range steps {
		text = s.of.ReplaceAllString(text, s.with)
	}
	return text
}

var (
	// Marks become words of their own.
	meteorMarks = []replacement{replace("([^DIGITSLETTERS\\s\\x{B}.'`,\\-\\x{2018}\\x{2019}])", " ${1} ")}
	// Several periods are hidden from what follows; see hideDots.
	meteorDots      = []replacement{replace(`\.(\.+)`, " DOTMULTI${1}")}
	meteorDotsThen  = []replacement{replace(`DOTMULTI\.([^.])`, "DOTDOTMULTI ${1}")}
	meteorSeparated = []replacement{
		// Commas, but not within numbers.
		replace(`([^DIGITS]),([^DIGITS])`, "${1} , ${2}"),
		replace(`([DIGITS]),([^DIGITS])`, "${1} , ${2}"),
		replace(`([^DIGITS]),([DIGITS])`, "${1} , ${2}"),
		// Quotation marks and dashes of any shape.
		replace("[`\\x{2018}\\x{2019}]", "'"),
		replace(`[\x{201C}\x{201D}]|''`, ` " `),
		replace(`\x{2013}`, "-"),
		replace(`--`, "-"),
		// Compounds.
		replace(`([DIGITSLETTERS.])-([DIGITSLETTERS])`, "${1} ${2}"),
		// Apostrophes: contractions keep theirs with the second part.
		replace(`([^LETTERS])'([^LETTERS])`, "${1} ' ${2}"),
		replace(`([^LETTERSDIGITS])'([LETTERS])`, "${1} ' ${2}"),
		replace(`([LETTERS])'([^LETTERS])`, "${1} ' ${2}"),
		replace(`([LETTERS])'([LETTERS])`, "${1} '${2}"),
		replace(`([DIGITS])'(s)`, "${1} '${2}"),
	}
	meteorBlanks    = regexp.MustCompile(`[ \x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}\x{A0}]+`)
	meteorHasLetter = regexp.MustCompile(`[` + meteorLetters + `]`)
)

// normalize splits words as METEOR does with -norm, after
// edu/cmu/meteor/util/Normalizer.java, and puts them in lower case.
func (d *MeteorData) normalize(words []string) []string {
	text := " " + strings.Join(words, " ") + " "
	text = hideDots(replaceAll(text, meteorMarks))
	text = replaceAll(text, meteorSeparated)
	text = showDots(d.splitPeriods(javaFields(text)))
	text = meteorBlanks.ReplaceAllString(text, " ")
	return javaFields(ptbLower(text))
}

// javaFields splits as Java's StringTokenizer does.
func javaFields(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\n\r\f", r) })
}

// hideDots writes the word DOT for each period of several in a row.
func hideDots(text string) string {
	text = replaceAll(text, meteorDots)
	for strings.Contains(text, "DOTMULTI.") {
		text = replaceAll(text, meteorDotsThen)
		text = strings.ReplaceAll(text, "DOTMULTI.", "DOTDOTMULTI")
	}
	return text
}

func showDots(text string) string {
	for strings.Contains(text, "DOTDOTMULTI") {
		text = strings.ReplaceAll(text, "DOTDOTMULTI", "DOTMULTI.")
	}
	return strings.ReplaceAll(text, "DOTMULTI", ".")
}

// splitPeriods takes the period at a word's end off, unless the word is an
// abbreviation, and all periods out of one like U.S.
func (d *MeteorData) splitPeriods(words []string) string {
	var out strings.Builder
	for i, word := range words {
		stem, ends := strings.CutSuffix(word, ".")
		numeric, listed := d.prefixes[stem]
		next := byte(0)
		if i+1 < len(words) {
			next = words[i+1][0]
		}
		switch {
		case !ends || stem == "":
			out.WriteString(word)
		case strings.Contains(stem, ".") && meteorHasLetter.MatchString(stem):
			out.WriteString(strings.ReplaceAll(word, ".", ""))
		case listed && !numeric, next >= 'a' && next <= 'z', listed && next >= '0' && next <= '9':
			out.WriteString(word)
		default:
			out.WriteString(stem + " .")
		}
		out.WriteString(" ")
	}
	return out.String()
}
