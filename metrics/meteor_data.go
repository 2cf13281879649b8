package metrics

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/klauspost/compress/gzip"
)

// Files that METEOR's jar holds, and the table that lies beside it.
const (
	meteorFunctionWords = "function/english.words"
	meteorPrefixes      = "nonbreaking/english.prefixes"
	meteorExceptions    = "synonym/english.exceptions"
	meteorSynsets       = "synonym/english.synsets"
	meteorTable         = "data/paraphrase-en.gz"
)

// MeteorData is what METEOR knows of English. It is not part of this program:
// function words, abbreviations, WordNet's synsets and irregular forms are in
// meteor-1.5.jar, paraphrases in data/paraphrase-en.gz, and the Python package
// pycocoevalcap carries both in its directory meteor.
type MeteorData struct {
	functionWords map[string]bool
	prefixes      map[string]bool // abbreviations; true: before a number only
	synonyms      synonyms
	table         string // path of the paraphrases, too many to keep
}

// OpenMeteorData reads the data in a directory, or beside and in a jar. The
// directory holds meteor-1.5.jar, or the jar's contents, and data/paraphrase-en.gz.
func OpenMeteorData(path string) (*MeteorData, error) {
	dir, jar := path, ""
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.IsDir() {
		dir, jar = filepath.Dir(path), path
	} else if found := filepath.Join(path, "meteor-1.5.jar"); isFile(found) {
		jar = found
	}
	d := &MeteorData{table: filepath.Join(dir, filepath.FromSlash(meteorTable))}
	if !isFile(d.table) {
		return nil, fmt.Errorf("no %s in %s: %s", meteorTable, dir, meteorHint)
	}
	if jar == "" {
		return d, d.read(os.DirFS(dir), dir)
	}
	z, err := zip.OpenReader(jar)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", jar, err)
	}
	defer z.Close()
	return d, d.read(z, jar)
}

const meteorHint = "give the directory meteor of the Python package pycocoevalcap 1.2"

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func (d *MeteorData) read(files fs.FS, name string) error {
	for _, part := range []struct {
		name string
		read func(lines *bufio.Scanner) error
	}{
		{meteorFunctionWords, d.readFunctionWords},
		{meteorPrefixes, d.readPrefixes},
		{meteorExceptions, d.synonyms.readExceptions},
		{meteorSynsets, d.synonyms.readSynsets},
	} {
		file, err := files.Open(part.name)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("no %s in %s: %s", part.name, name, meteorHint)
		}
		if err == nil {
			lines := lineScanner(file)
			err = errors.Join(part.read(lines), lines.Err())
			file.Close()
		}
		if err != nil {
			return fmt.Errorf("read %s in %s: %w", part.name, name, err)
		}
	}
	return nil
}

func lineScanner(r io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), 16<<20)
	return lines
}

func (d *MeteorData) readFunctionWords(lines *bufio.Scanner) error {
	d.functionWords = map[string]bool{}
	for lines.Scan() {
		d.functionWords[lines.Text()] = true
	}
	return nil
}

// readPrefixes reads a word a line, some marked as abbreviations before numbers.
func (d *MeteorData) readPrefixes(lines *bufio.Scanner) error {
	d.prefixes = map[string]bool{}
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			d.prefixes[fields[0]] = len(fields) > 1 && fields[1] == "#NUMERIC_ONLY#"
		}
	}
	return nil
}

// synonyms are WordNet's synsets, by word.
type synonyms struct {
	bases   map[string][]string // of irregular forms
	synsets map[string]string   // ids with blanks between them
}

var errHalf = errors.New("it ends within an entry")

// readExceptions reads entries of two lines: a word and its irregular forms.
func (s *synonyms) readExceptions(lines *bufio.Scanner) error {
	s.bases = map[string][]string{}
	for lines.Scan() {
		base := lines.Text()
		if !lines.Scan() {
			return errHalf
		}
		for _, form := range strings.Fields(lines.Text()) {
			s.bases[form] = append(s.bases[form], base)
		}
	}
	return nil
}

// readSynsets reads entries of two lines: a word and the ids of its synsets.
func (s *synonyms) readSynsets(lines *bufio.Scanner) error {
	s.synsets = map[string]string{}
	for lines.Scan() {
		word := lines.Text()
		if !lines.Scan() {
			return errHalf
		}
		s.synsets[word] = lines.Text()
	}
	return nil
}

// of gives the ids of the synsets of a word and of what it is a form of.
func (s *synonyms) of(word string) []string {
	ids := strings.Fields(s.synsets[word])
	if bases, ok := s.bases[word]; ok {
		for _, base := range bases {
			ids = append(ids, strings.Fields(s.synsets[base])...)
		}
	} else {
		ids = append(ids, strings.Fields(s.synsets[s.morph(word)])...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// meteorEndings are WordNet's rules for the base of a form: nouns, verbs,
// adjectives. The first that gives a known word holds.
var meteorEndings = [][2]string{
	{"s", ""}, {"ses", "s"}, {"xes", "x"}, {"zes", "z"}, {"ches", "ch"}, {"shes", "sh"},
	{"men", "man"}, {"ies", "y"},
	{"s", ""}, {"ies", "y"}, {"es", "e"}, {"es", ""}, {"ed", "e"}, {"ed", ""}, {"ing", "e"}, {"ing", ""},
	{"er", ""}, {"est", ""}, {"er", "e"}, {"est", "e"},
}

// morph gives the base of a regular form. For words in -ful METEOR adds the
// ending once more, so that only few of them have a base.
func (s *synonyms) morph(word string) string {
	if strings.HasSuffix(word, "ss") || len(utf16.Encode([]rune(word))) <= 2 {
		return word
	}
	for _, ending := range meteorEndings {
		base, ok := strings.CutSuffix(word, ending[0])
		if !ok {
			continue
		}
		base += ending[1]
		if _, known := s.synsets[base]; known {
			if strings.HasSuffix(word, "ful") {
				base += "ful"
			}
			return base
		}
	}
	return ""
}

// readParaphrases reads the part of the table whose phrases are of the given
// words only: the rest cannot match, and would take gigabytes. Its entries are
// three lines: a probability, which METEOR does not use, and two phrases.
func (d *MeteorData) readParaphrases(words map[string]bool) (p paraphrases, err error) {
	file, err := os.Open(d.table)
	if err != nil {
		return p, err
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		return p, fmt.Errorf("read %s: %w", d.table, err)
	}
	p.of = map[string][][]string{}
	lines := lineScanner(z)
	for lines.Scan() {
		phrase, known := "", false
		if lines.Scan() {
			if phrase, known = knownPhrase(lines.Bytes(), words); known {
				p.longest = max(p.longest, strings.Count(phrase, " ")+1)
			}
		}
		if !lines.Scan() {
			return p, fmt.Errorf("read %s: %w", d.table, errors.Join(lines.Err(), errHalf))
		}
		if !known {
			continue
		}
		if other, ok := knownPhrase(lines.Bytes(), words); ok {
			p.of[phrase] = append(p.of[phrase], strings.Split(other, " "))
		}
	}
	if err := lines.Err(); err != nil {
		return p, fmt.Errorf("read %s: %w", d.table, err)
	}
	return p, nil
}

// knownPhrase gives a line's words with one blank between them, if words has all.
func knownPhrase(line []byte, words map[string]bool) (string, bool) {
	var phrase []byte
	for len(line) > 0 {
		n := 0
		for n < len(line) && line[n] != ' ' && line[n] != '\t' {
			n++
		}
		if n > 0 {
			if !words[string(line[:n])] {
				return "", false
			}
			if phrase != nil {
				phrase = append(phrase, ' ')
			}
			phrase = append(phrase, line[:n]...)
		}
		line = line[min(n+1, len(line)):]
	}
	return string(phrase), phrase != nil
}
