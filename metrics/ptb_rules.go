package metrics

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"unicode"
)

// Character classes, without their brackets. The lexer sees UTF-16: letters and
// digits above U+FFFF are none to it.
var (
	ptbLetters = bmpClass(unicode.L)
	ptbDigits  = bmpClass(unicode.Nd) + `\x{7C0}-\x{7C9}`
	ptbUpper   = bmpClass(unicode.Lu)
)

const (
	ptbBlanks = ` \t\x{A0}\x{2000}-\x{200A}\x{3000}`
	// Marks and letters the lexer counts as letters of a plain word.
	ptbMarks = `\x{AD}\x{237}-\x{24F}\x{2C2}-\x{2C5}\x{2D2}-\x{2DF}\x{2E5}-\x{36F}\x{370}-\x{37D}\x{384}` +
		`\x{385}\x{3CF}\x{3F6}\x{3FC}-\x{3FF}\x{483}-\x{487}\x{4CF}\x{4F6}-\x{4FF}\x{510}-\x{525}` +
		`\x{55A}-\x{55F}\x{591}-\x{5BD}\x{5BF}\x{5C1}\x{5C2}\x{5C4}\x{5C5}\x{5C7}\x{615}-\x{61A}` +
		`\x{63B}-\x{63F}\x{64B}-\x{65E}\x{670}\x{6D6}-\x{6EF}\x{6FA}-\x{6FF}\x{70F}\x{711}\x{730}-\x{77F}` +
		`\x{7A6}-\x{7B1}\x{7CA}-\x{7F5}\x{7FA}\x{900}-\x{903}\x{93C}\x{93E}-\x{94E}\x{951}-\x{955}\x{962}` +
		`\x{963}\x{981}-\x{983}\x{9BC}-\x{9C4}\x{9C7}\x{9C8}\x{9CB}-\x{9CD}\x{9D7}\x{9E2}\x{9E3}` +
		`\x{A01}-\x{A03}\x{A3C}\x{A3E}-\x{A4F}\x{A81}-\x{A83}\x{ABC}-\x{ACF}\x{B82}\x{BBE}-\x{BC2}` +
		`\x{BC6}-\x{BC8}\x{BCA}-\x{BCD}\x{C01}-\x{C03}\x{C3E}-\x{C56}\x{D3E}-\x{D44}\x{D46}-\x{D48}` +
		`\x{E30}-\x{E3A}\x{E47}-\x{E4E}\x{EB1}-\x{EBC}\x{EC8}-\x{ECD}`
	ptbSymbols = `+%&~^|\\\x{A6}-\x{A9}\x{AC}\x{AE}-\x{BA}\x{D7}\x{F7}\x{387}\x{5BE}\x{5C0}\x{5C3}\x{5C6}` +
		`\x{5F3}\x{5F4}\x{600}-\x{603}\x{606}-\x{60A}\x{60C}\x{614}\x{61B}\x{61E}\x{66A}\x{66D}` +
		`\x{703}-\x{70D}\x{7F6}-\x{7F8}\x{964}\x{965}\x{E4F}\x{1FBD}\x{2016}\x{2017}\x{2020}-\x{2023}` +
		`\x{2030}-\x{2038}\x{203B}\x{203E}-\x{2042}\x{2044}\x{207A}-\x{207F}\x{208A}-\x{208E}` +
		`\x{2100}-\x{214F}\x{2190}-\x{2BFF}\x{3012}\x{30FB}\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF20}` +
		`\x{FF3B}-\x{FF40}\x{FF5B}-\x{FF65}`
)

// ptbNamedWords are the words that rules name, in any case; a capital in square
// brackets in a rule is a case that counts.
var ptbNamedWords = map[string]string{
	"split3": `cannot`,
	"split2": `gonna gotta lemme gimme wanna`,
	// Before a number only.
	"numbered": `ca fig figs prop no nos art bldg pp op`,
	// Abbreviations that a small letter usually follows.
	"low": `Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mon Tue Tues Wed Thu Thurs Fri
		Ala Ariz Calif Colo Conn Ct Dak Fla Ga Ind Kan Kans Ky Md Mich Minn Mo Mont Neb Nev Okla Penn Tenn
		Va Vt Wis Wisc Wyo
		Inc Co Cos Corp Pty Ptys Pte Ptes Ppty Pptys Ppte Pptes Ltd Plc Rt Bancorp Bhd Assn Univ Intl Sys
		tel est ext sq Jr Sr Bros Blvd Rd Esq etc al seq Bldg`,
	// The same, where the first letter must be a capital.
	"lowCapital": `Az Ark Del Ill La Mass Miss Ore Pa Tex Wash`,
	// Abbreviations that a capital usually follows.
	"high": `Mr Mrs Ms Dr Drs Prof Profs Sen Sens Rep Reps Atty Attys Lt Col Gen Messrs Gov Govs Adm Rev
		Maj Sgt Cpl Pvt Capt St Ste Ave Pres Lieut Hon Brig Cmdr Comdr Pfc Spc Supt Supts Det Mt Ft Adj Adv
		Asst Assoc Ens Insp Mlle Mme Msgr Sfc
		vs Alex Wm Jos Cie cf TREAS Ph Invt Elec Natl Mtg Mfg Dept`,
	// What an acronym at the end of a sentence is known by, with a capital.
	"starts": `About According Additionally After An A As At But Earlier He Her Here However If In It Last
		Many More Mr. Ms. Now Once One Other Our She Since So Some Such That The Their Then There These They
		This We When While What Yet You`,
	"files": `bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl
		png ppt ps py sql tar txt wav x xml zip`,
}

// bmpClass writes the characters of table up to U+FFFF as a character class.
func bmpClass(table *unicode.RangeTable) string {
	var class strings.Builder
	for _, r := range table.R16 {
		if r.Stride == 1 {
			fmt.Fprintf(&class, `\x{%X}-\x{%X}`, r.Lo, r.Hi)
			continue
		}
		for c := uint32(r.Lo); c <= uint32(r.Hi); c += uint32(r.Stride) {
			fmt.Fprintf(&class, `\x{%X}`, c)
		}
	}
	return class.String()
}

// named is a group of one of those lists. Case counts where as says so.
func named(list string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(ptbNamedWords[list]), "|"), ".", `\.`)
}

// capitalized is a group of words whose first letter must be a capital.
func capitalized(list string) string {
	words := strings.Fields(ptbNamedWords[list])
	for i, w := range words {
		words[i] = w[:1] + `(?i:` + strings.ReplaceAll(w[1:], ".", `\.`) + `)`
	}
	return strings.Join(words, "|")
}

// ptbRules are the kinds of token in their order of precedence. {name} stands for
// a part defined before.
var ptbRules = sync.OnceValue(func() []ptbRule {
	g := ptbGrammar{parts: map[string]string{}}
	g.defineParts()
	g.words()
	g.numbers()
	g.abbreviations()
	g.marks()
	g.compounds()
	g.quotes()
	return g.rules
})

// ptbGrammar collects rules.
type ptbGrammar struct {
	parts map[string]string
	rules []ptbRule
}

func (g *ptbGrammar) define(name, pattern string) {
	g.parts[name] = "(?:" + g.expand(pattern) + ")"
}

var ptbPart = regexp.MustCompile(`\{[a-z]\w*\}`)

func (g *ptbGrammar) expand(pattern string) string {
	return ptbPart.ReplaceAllStringFunc(pattern, func(name string) string {
		part, ok := g.parts[name[1:len(name)-1]]
		if !ok {
			panic("no such part: " + name)
		}
		return part
	})
}

// add adds a rule for token where ahead follows it.
func (g *ptbGrammar) add(token, ahead string, make func(string) (string, int)) {
	pattern := `^(` + g.expand(token) + `)` + g.expand(ahead)
	r := ptbRule{re: regexp.MustCompile(pattern), make: make}
	r.re.Longest()
	r.first = firstBytes(pattern)
	g.rules = append(g.rules, r)
}

// firstBytes tells which bytes can start a match of pattern; all of those that
// start a longer character may.
func firstBytes(pattern string) (first [256]bool) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		panic(err)
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		panic(err)
	}
	for b := 0x80; b < len(first); b++ {
		first[b] = true
	}
	seen := map[uint32]bool{}
	var visit func(pc uint32)
	visit = func(pc uint32) {
		if seen[pc] {
			return
		}
		seen[pc] = true
		switch i := &prog.Inst[pc]; i.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			visit(i.Out)
			visit(i.Arg)
		case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
			visit(i.Out)
		default:
			for b := range rune(0x80) {
				first[b] = first[b] || i.MatchRune(b)
			}
		}
	}
	visit(uint32(prog.Start))
	return first
}

// What becomes of a rule's text.

func asIs(text string) (string, int) { return text, len(text) }

func dropped(text string) (string, int) { return "", len(text) }

func always(token string) func(string) (string, int) {
	return func(text string) (string, int) { return token, len(text) }
}

// cut leaves the last n bytes to the next token.
func cut(n int) func(string) (string, int) {
	return func(text string) (string, int) { return text[:len(text)-n], len(text) - n }
}

// abbreviationAndPeriod gives the period twice: in the abbreviation, and as the
// end of the sentence.
func abbreviationAndPeriod(text string) (string, int) { return text, len(text) - 1 }

// acronymAndPeriod is the same, but a single letter loses its period.
func acronymAndPeriod(text string) (string, int) {
	if len(text) == 2 {
		return text[:1], 1
	}
	return abbreviationAndPeriod(text)
}

// withoutSoftHyphens drops them: they only mark where a line may break.
func withoutSoftHyphens(text string) (string, int) {
	token := strings.ReplaceAll(text, "\u00AD", "")
	if token == "" {
		token = "-"
	}
	return token, len(text)
}

func plainAmpersand(text string) (string, int) {
	return ampersandEntity.ReplaceAllString(text, "&"), len(text)
}

var ampersandEntity = regexp.MustCompile(`(?i)&amp;`)

// oneWord writes a token with blanks and brackets in it as one word.
func oneWord(text string) (string, int) {
	return strings.NewReplacer(" ", "\u00A0", "(", "-lrb-", ")", "-rrb-").Replace(text), len(text)
}

func noBlanks(text string) (string, int) {
	return strings.ReplaceAll(text, " ", "\u00A0"), len(text)
}

func bracketNames(text string) (string, int) {
	return strings.NewReplacer("(", "-lrb-", ")", "-rrb-").Replace(text), len(text)
}

var (
	currencies = strings.NewReplacer("\u00A2", "cents", "\u00A3", "#", "\u0080", "$", "\u00A4", "$",
		"\u20A0", "$", "\u20AC", "$")
	fractions = strings.NewReplacer("\u00BC", "1/4", "\u00BD", "1/2", "\u00BE", "3/4", "\u2153", "1/3",
		"\u2154", "2/3")
	openQuote  = quoteReplacer("`")
	closeQuote = quoteReplacer("'")
)

// quoteReplacer writes quotation marks as TeX does; straight ones become mark.
func quoteReplacer(mark string) *strings.Replacer {
	return strings.NewReplacer("&apos;", mark, "'", mark, "&quot;", mark+mark, `"`, mark+mark,
		"\u0091", "`", "\u2018", "`", "\u201B", "`", "\u2039", "`",
		"\u0092", "'", "\u2019", "'", "\u203A", "'",
		"\u0093", "``", "\u201C", "``", "\u00AB", "``", "\u0094", "''", "\u201D", "''", "\u00BB", "''")
}

func replaced(r *strings.Replacer) func(string) (string, int) {
	return func(text string) (string, int) { return r.Replace(text), len(text) }
}

// The rules by subject. Their order counts only between two that see equally far.

func (g *ptbGrammar) defineParts() {
	g.define("l", `[`+ptbLetters+`]`)
	g.define("d", `[`+ptbDigits+`]`)
	g.define("letter", `[`+ptbLetters+ptbMarks+`]|&[aeiouAEIOU](?i:acute|grave|uml);`)
	g.define("wordEnd", `(?:{letter}|{d})*`)
	g.define("word", `{letter}{wordEnd}(?:[.!?]{letter}{wordEnd})*`)
	g.define("blank", `[`+ptbBlanks+`]`)
	g.define("gap", `[`+ptbBlanks+`\n\x{85}]`)
	g.define(
		"tag",
		`<(?:[!?][A-Za-z\-][^>\n]*|[A-Za-z][\w:.\-]*(?:[ ]+(?:[A-Za-z][\w:.\-]*`+
			`|[A-Za-z][\w:.\-]*[ ]*=[ ]*(?:'[^'\n]*'|"[^"\n]*")))*[ ]*/?|/[A-Za-z][\w:.\-]*)[ ]*>`,
	)
	g.define("apos", `['\x{92}\x{2019}]|&(?i:apos);`)
	g.define("apos2", "{apos}|[`\\x{91}\\x{2018}\\x{201B}]")
	g.define("aux", `{apos}(?:[msdMSD]|(?i:re|ve|ll))`)
	g.define("not", `(?i:n){apos2}(?i:t)`)
	g.define("beforeNot", `[A-Za-z\x{AD}]*[A-MO-Za-mo-z]\x{AD}*`)
	g.define("hyphen", `[-_\x{58A}\x{2010}\x{2011}]`)
	g.define("comma", `[,;:\x{3001}]`)
	g.define("usNames", `(?i:(?:Canada|Sino|Korean|EU|Japan|non)-U\.S|U\.S\.-(?:U\.K|U\.S\.S\.R))`)
	g.define("acronym", `[A-Za-z](?:\.[A-Za-z])*|{usNames}`)
	g.define("dotted", `[A-Za-z](?:\.[A-Za-z])+|{usNames}`)
	g.define("low", `(?:(?i:`+named("low")+`|Ed\.D|Ph\.D)|`+capitalized("lowCapital")+`)\.`)
	g.define("high", `(?i:`+named("high")+`|a\.k\.a)|M(?i:iss)|{acronym}`)
}

func (g *ptbGrammar) words() {
	g.add(`(?i:c)[+][+]`, ``, asIs)
	g.add(`(?i:c|f)#`, ``, asIs)
	g.add(`(?i:`+named("split3")+`)`, ``, cut(3))
	g.add(`(?i:'twas)`, ``, cut(3))
	g.add(`(?i:'tis)`, ``, cut(2))
	g.add(`(?i:`+named("split2")+`)`, ``, cut(2))
	g.add(`{tag}`, ``, noBlanks)
	g.add(`(?i:&(?:md|mdash|ndash);)|[\x{96}\x{97}\x{2013}-\x{2015}]`, ``, always("--"))
	g.add(`(?i:&amp;)`, ``, plainAmpersand)
	g.add(`(?i:&(?:HT|TL|UR|LR|QC|QL|QR|odq|cdq|#[0-9]+);)`, ``, asIs)
	g.add(`{word}`, `{aux}`, withoutSoftHyphens)
	g.add(`{beforeNot}`, `{not}`, withoutSoftHyphens)
	g.add(`{word}`, ``, withoutSoftHyphens)
	g.add(`{apos}(?i:n){apos}?|[lLdDjJ]{apos}|(?i:Dunkin|somethin|ol){apos}|{apos}(?i:em)`+
		`|[A-HJ-XZn]{apos2}{l}{l}+|`+
		`{apos}[2-9]0(?i:s)|{apos}(?i:till?)|{l}+[aeiouyAEIOUY]{apos2}[aeiouA-Z]{l}*|{apos}(?i:cause)`+
		`|(?i:cont'd\.?|'twas|`+
		`nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)|(?i:O){apos2}(?i:o)`, ``, asIs)
	g.add(`(?i:y){apos}`, `{l}`, asIs)
	g.add(`(?i:https?)://[^ \t\n\f\r"<>|(){}]+[^ \t\n\f\r"<>|.!?(){},-]`, ``, asIs)
	g.add("(?:(?i:www)\\.(?:[^ \\t\\n\\f\\r\"<>|.!?(){},]+\\.)+[a-zA-Z]{2,4}|"+
		"(?:[^ \\t\\n\\f\\r\"`'<>|.!?(){},-_$]+\\.)+(?i:com|net|org|edu))"+
		`(?:/[^ \t\n\f\r"<>|()]+[^ \t\n\f\r"<>|.!?(){},-])?`, ``, asIs)
	g.add(
		`(?:(?i:&lt;)|<)?[a-zA-Z0-9][^ \t\n\f\r"<>|()\x{A0}{}]*@`+
			`(?:[^ \t\n\f\r"<>|(){}.\x{A0}]+\.)*[^ \t\n\f\r"<>|(){}.\x{A0}]+(?:(?i:&gt;)|>)?`,
		``, asIs,
	)
	g.add(`@[a-zA-Z_][a-zA-Z_0-9]*|#{letter}+`, ``, asIs)
	g.add(`{aux}`, `[^A-Za-z]`, replaced(closeQuote))
	g.add(`{not}`, `[^A-Za-z]`, replaced(closeQuote))
}

func (g *ptbGrammar) numbers() {
	g.add(`{d}{1,2}[-/]{d}{1,2}[-/]{d}{2,4}`, ``, asIs)
	g.add(`[-+]?(?:{d}+|{d}*(?:[.:,\x{AD}\x{66B}\x{66C}]{d}+)+)`, ``, withoutSoftHyphens)
	g.add(
		`[\x{207A}\x{207B}\x{208A}\x{208B}]?(?:[\x{2070}\x{B9}\x{B2}\x{B3}\x{2074}-\x{2079}]+|`+
			`[\x{2080}-\x{2089}]+)`,
		``, asIs,
	)
	g.add(`(?:{d}{1,4}[- \x{A0}])?{d}{1,4}(?:\\?/|\x{2044}){d}{1,4}`, ``, noBlanks)
	g.add(`[\x{BC}-\x{BE}\x{2153}-\x{215E}]`, ``, replaced(fractions))
	g.add(
		`-(?i:RRB|LRB|RCB|LCB|RSB|LSB)-|(?i:C\.D\.s|pro-|anti-|S(?:&|&amp;)P-500|S(?:&|&amp;)Ls)`+
			`|(?i:Cap){apos}(?i:n)|(?i:c){apos}(?i:est)`,
		``, plainAmpersand,
	)
	g.add(`[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}`, ``, asIs)
	g.add(`[A-Z]*\$|#`, ``, asIs)
	g.add(`[\x{A2}-\x{A5}\x{80}\x{20A0}\x{20AC}\x{60B}\x{E3F}\x{20A4}\x{FFE0}\x{FFE1}\x{FFE5}\x{FFE6}]`, ``,
		replaced(currencies))
}

func (g *ptbGrammar) abbreviations() {
	g.add(`{acronym}\.`, `{gap}+(?:`+capitalized("starts")+`|{tag}){gap}`, acronymAndPeriod)
	g.add(`(?i:`+named("numbered")+`)\.`, `{gap}?[`+ptbDigits+`]`, asIs)
	g.add(`(?i:pt)[eyEY]\.|(?i:co)\.`, `{blank}(?i:ltd|lim)`, asIs)
	g.add(`{low}`, `{gap}(?:{gap}|[`+ptbUpper+`]|{tag})`, abbreviationAndPeriod)
	g.add(`{low}`, `(?s:..)`, asIs)
	g.add(`{low}`, ``, abbreviationAndPeriod)
	g.add(`{high}\.`, ``, asIs)
	g.add(`{high}`, `{blank}`, asIs)
	g.add(`{acronym}`, `{gap}`, asIs)
	g.add(`{apos}[0-9][0-9]`, `{gap}`, asIs)
	g.add(`(?:{letter}|{d})+(?:[.](?:{letter}|{d})+)*[.](?i:`+named("files")+`)`, `(?:{gap}|[.?!,])`, asIs)
	g.add(`{word}\.`, `{comma}`, withoutSoftHyphens)
	g.add(`(?:\([0-9]{2,3}\)[ \x{A0}]?|(?:\+\+?)?(?:[0-9]{2,4}[- \x{A0}])?[0-9]{2,4}[- \x{A0}])`+
		`[0-9]{3,4}[- \x{A0}]?[0-9]{3,5}|`+
		`(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}`, ``, oneWord)
}

func (g *ptbGrammar) marks() {
	g.define("doubleQuote", `"|(?i:&quot;)`)
	g.add(`{doubleQuote}`, `[A-Za-z0-9$]`, replaced(openQuote))
	g.add(`{doubleQuote}`, ``, replaced(closeQuote))
	g.add(`\x7f`, ``, dropped)
	g.add(`<|(?i:&lt;)`, ``, always("<"))
	g.add(`>|(?i:&gt;)`, ``, always(">"))
	g.add(`[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]`, `[^A-Za-z0-9]`, bracketNames)
	g.add("\\([-^x=~<>'][_.]?[-^x=~<>']\\)|\\([\\^x=~<>']-[\\^x=~<>'`]\\)|[-^x=~<>']_[-^x=~<>']",
		``, bracketNames)
	for i, name := range []string{"-lcb-", "-rcb-", "-lsb-", "-rsb-", "-lrb-", "-rrb-"} {
		g.add(regexp.QuoteMeta("{}[]()"[i:i+1]), ``, always(name))
	}
	g.add(`-{3,4}`, ``, always("--"))
	g.add(`-+`, ``, asIs)
	g.add(`\.{3,5}|(?:\.[ \x{A0}]){2,4}\.|[\x{85}\x{2026}]`, ``, always("..."))
	g.add(`@+|#+|_+`, ``, asIs)
	g.add(`\*+|(?:\\\*){1,3}`, ``, asIs)
	g.add(`{comma}`, ``, asIs)
	g.add(`[?!]+`, ``, asIs)
	g.add(`[.\x{A1}\x{BF}\x{37E}\x{589}\x{61F}\x{6D4}\x{700}-\x{702}\x{7FA}\x{3002}]`, ``, asIs)
	g.add(`=`, ``, asIs)
	g.add(`/`, ``, asIs)
}

func (g *ptbGrammar) compounds() {
	g.define("hyphened", `[A-Za-z0-9][A-Za-z0-9.,\x{AD}]*(?:-(?:[A-Za-z0-9\x{AD}]+|{dotted}\.))+`)
	g.define("elided", `(?:[dDoOlL]{apos2}(?:{l}|{d}))?(?:{l}|{d})+`)
	g.define("compound", `{elided}(?:{hyphen}{elided})*`)
	g.define("joined", `[A-Z]+(?:(?:[+&]|(?i:&amp;))[A-Z]+)+`)
	g.add(`{hyphened}\.`, `{comma}`, withoutSoftHyphens)
	g.add(`{hyphened}`, ``, withoutSoftHyphens)
	g.add(`{compound}\.`, `{comma}`, asIs)
	g.add(`{compound}`, ``, asIs)
	g.add(`{joined}\.`, `{comma}`, plainAmpersand)
	g.add(`{joined}`, ``, plainAmpersand)
}

func (g *ptbGrammar) quotes() {
	g.add(`'`, `[A-Za-z][^ \t\n\r\x{A0}]`, replaced(openQuote))
	g.add(`{aux}`, ``, replaced(closeQuote))
	g.add(`{not}`, ``, replaced(closeQuote))
	g.add(
		"{apos}|''|[`\\x{2018}-\\x{201B}\\x{201C}\\x{201D}\\x{91}-\\x{94}\\x{201E}\\x{201F}\\x{2039}"+
			"\\x{203A}\\x{AB}\\x{BB}]{1,2}",
		``, replaced(closeQuote),
	)
	g.add(`<<|>>`, ``, asIs)
	g.add(`[`+ptbSymbols+`]`, ``, asIs)
	g.add(`\x00|[`+ptbBlanks+`]+|[\x{200B}\x{200E}\x{200F}\x{FEFF}]|\n|(?i:&nbsp;)`, ``, dropped)
}
