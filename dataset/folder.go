package dataset

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// maxLineBytes bounds a line of a file that is read by lines.
const maxLineBytes = 16 << 20

// folderReader reads the captions of an image folder: a table with columns of
// pictures and captions (CSV, TSV or with semicolons, see textTable), one of the forms that
// Flickr8k and Flickr30k are given away in, or JSON lines or a JSON list of objects with
// keys of the same names or conversations as LLaVA's. A picture named several times has
// several captions; a "group" column or key is optional.
func folderReader(spec Spec) captionsReader {
	return func(r io.Reader, name string, pictures *pictureList) error {
		ext := strings.ToLower(path.Ext(name))
		if ext == ".json" {
			return readJSONFile(spec)(r, name, pictures)
		}
		b, err := newText(r)
		if err != nil {
			return err
		}
		switch ext {
		case ".csv", ".tsv", ".txt", ".token":
			return readTable(b, ext, spec, pictures)
		case ".jsonl", ".ndjson":
			return readJSONL(b, spec, pictures)
		default:
			return fmt.Errorf(
				"ends in %q; captions of a folder are a .csv, .tsv, .txt, .token, .jsonl or .json file", ext,
			)
		}
	}
}

// named takes captions of a picture that may have been named before, whose group then counts.
func (l *pictureList) named(image, group, split string, captions ...string) error {
	if l.folder != "" {
		image, split = path.Join(l.folder, slashed(image)), cmp.Or(split, l.splitOfFolder)
	}
	i, _, err := l.add(listed{ID: image, Name: image, Group: group, Split: split})
	if err != nil {
		return err
	}
	if was := splitOrder[l.slots[i].split]; was != split {
		return badRow(fmt.Sprintf("picture %s is in split %s, and in %s before", image, split, was))
	}
	for _, c := range captions {
		if err := l.caption(i, c); err != nil {
			return err
		}
	}
	return nil
}

// tokenLine is Flickr's token form: a picture, the caption's number and the caption.
var tokenLine = regexp.MustCompile(`^([^\t#]+)#\d+\t(.*)$`)

// isPiped says whether this is the first line of Flickr30k's results.csv.
func isPiped(line []byte) bool {
	return strings.ReplaceAll(string(line), " ", "") == "image_name|comment_number|comment"
}

// readTable tells the forms of tables apart by the first line.
func readTable(b *bufio.Reader, ext string, spec Spec, pictures *pictureList) error {
	first, _ := b.Peek(sniffBytes)
	line, _, _ := bytes.Cut(first, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	switch {
	case isPiped(line):
		return readPiped(b, pictures)
	case tokenLine.Match(line):
		return eachLine(b, pictures, func(line string) error {
			m := tokenLine.FindStringSubmatch(line)
			if m == nil {
				return badRow("is not PICTURE#NUMBER, a tab and the caption")
			}
			return pictures.named(m[1], "", "", m[2])
		})
	}
	t, err := newTextTable(string(line), ext, spec)
	if err != nil {
		return err
	}
	return t.read(b, pictures)
}

// missingPipe is how a line of Flickr30k's own results.csv looks that lacks its
// second separator.
var missingPipe = regexp.MustCompile(`^\s*\d+\s+(.*)$`)

// readPiped reads Flickr30k's results.csv, whose fields are neither quoted nor
// separated by commas.
func readPiped(b *bufio.Reader, pictures *pictureList) error {
	header := true
	return eachLine(b, pictures, func(line string) error {
		if header {
			header = false
			return nil
		}
		fields := strings.SplitN(line, "|", 3)
		if len(fields) == 2 {
			if m := missingPipe.FindStringSubmatch(fields[1]); m != nil {
				fields = append(fields, m[1])
			}
		}
		image := strings.TrimSpace(fields[0])
		if len(fields) < 3 || image == "" {
			return badRow("is not image_name| comment_number| comment")
		}
		return pictures.named(image, "", "", fields[2])
	})
}

// eachLine calls f with every line that is not blank. A line that f calls bad is
// counted as such.
func eachLine(r io.Reader, pictures *pictureList, f func(text string) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLineBytes)
	line := 0
	for s.Scan() {
		line++
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		if err := pictures.orBad(fmt.Sprintf("line %d", line), f(s.Text())); err != nil {
			return err
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d: longer than %d bytes", line+1, maxLineBytes)
	}
	return s.Err()
}
