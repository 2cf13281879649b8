package dataset

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxLineBytes bounds a line of a file that is read by lines.
const maxLineBytes = 16 << 20

// readFolder reads the captions of an image folder: JSON lines with "image" and
// "caption" or "captions", CSV with the header image,caption, or one of the
// forms that Flickr8k and Flickr30k are given away in, told by their first line. A picture
// named several times has several captions. A "group" column or key is optional.
func readFolder(r io.Reader, name string, pictures *pictureList) error {
	b := bufio.NewReaderSize(r, 64<<10)
	if bom, _ := b.Peek(3); bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		b.Discard(3)
	}
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case ".csv", ".txt", ".token":
		return readTable(b, pictures)
	case ".jsonl", ".ndjson":
		return readJSONL(b, pictures)
	default:
		return fmt.Errorf("ends in %q; captions of a folder are a .csv, .txt, .token or .jsonl file", ext)
	}
}

// named takes captions of a picture that may have been named before, whose group then counts.
func (l *pictureList) named(image, group, split string, captions ...string) error {
	i, _, err := l.add(listed{ID: image, Name: image, Group: group, Split: split})
	if err != nil {
		return err
	}
	if was := splitOrder[l.slots[i].split]; was != split {
		return fmt.Errorf("picture %s is in split %s, and in %s before", image, split, was)
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

// readTable tells the forms apart by the first line.
func readTable(b *bufio.Reader, pictures *pictureList) error {
	first, _ := b.Peek(4 << 10)
	line, _, _ := bytes.Cut(first, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	switch {
	case strings.ReplaceAll(string(line), " ", "") == "image_name|comment_number|comment":
		return readPiped(b, pictures)
	case tokenLine.Match(line):
		return eachLine(b, func(n int, line string) error {
			m := tokenLine.FindStringSubmatch(line)
			if m == nil {
				return fmt.Errorf("line %d: is not PICTURE#NUMBER, a tab and the caption", n)
			}
			return pictures.named(m[1], "", "", m[2])
		})
	}
	return readCSV(b, pictures)
}

// missingPipe is how a line of Flickr30k's own results.csv looks that lacks its
// second separator.
var missingPipe = regexp.MustCompile(`^\s*\d+\s+(.*)$`)

// readPiped reads Flickr30k's results.csv, whose fields are neither quoted nor
// separated by commas.
func readPiped(b *bufio.Reader, pictures *pictureList) error {
	return eachLine(b, func(n int, line string) error {
		if n == 1 {
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
			return fmt.Errorf("line %d: is not image_name| comment_number| comment", n)
		}
		return pictures.named(image, "", "", fields[2])
	})
}

// columnForms are the headers that are known: the picture's file, its caption
// or, as a JSON list, all of them, and its split.
var columnForms = []struct{ image, caption, list, split string }{
	{image: "image", caption: "caption"},
	{image: "image_name", caption: "comment"},        // Flickr30k
	{image: "filename", list: "raw", split: "split"}, // the hub's flickr_annotations_30k.csv
}

// csvColumns are the places of a form's columns; -1: none.
type csvColumns struct{ image, caption, list, split, group int }

func columnsOf(header []string) (csvColumns, error) {
	column := func(name string) int {
		return slices.IndexFunc(header, func(h string) bool { return name != "" && strings.EqualFold(strings.TrimSpace(h), name) })
	}
	for _, form := range columnForms {
		c := csvColumns{column(form.image), column(form.caption), column(form.list), column(form.split), column("group")}
		if c.image >= 0 && (c.caption >= 0 || c.list >= 0) {
			return c, nil
		}
	}
	return csvColumns{}, fmt.Errorf("first line is %q; it must name the columns image and caption, or those of Flickr30k: image_name and comment, or filename and raw", strings.Join(header, ","))
}

func readCSV(r io.Reader, pictures *pictureList) error {
	c := csv.NewReader(r)
	c.ReuseRecord = true
	header, err := c.Read()
	if errors.Is(err, io.EOF) {
		return errors.New("is empty; its first line must be image,caption")
	}
	if err != nil {
		return csvError(err)
	}
	columns, err := columnsOf(header)
	if err != nil {
		return err
	}
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return csvError(err)
		}
		line, _ := c.FieldPos(0)
		if err := columns.add(record, pictures); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
}

func (c csvColumns) add(record []string, pictures *pictureList) error {
	field := func(at int) string {
		if at < 0 {
			return ""
		}
		return record[at]
	}
	if field(c.image) == "" {
		return errors.New("image is empty")
	}
	captions := []string{field(c.caption)}
	if c.list >= 0 {
		if err := json.Unmarshal([]byte(record[c.list]), &captions); err != nil {
			return fmt.Errorf("raw is no JSON list of captions: %w", err)
		}
	}
	split := ""
	if c.split >= 0 {
		var ok bool
		if split, ok = splitNames[strings.ToLower(record[c.split])]; !ok {
			return fmt.Errorf("split %q is none of %s", record[c.split], knownSplits())
		}
	}
	return pictures.named(field(c.image), field(c.group), split, captions...)
}

// csvError names the line; encoding/csv counts it from 1 already.
func csvError(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("broken CSV in line %d, column %d: %w", parse.Line, parse.Column, parse.Err)
	}
	return err
}

type jsonLine struct {
	Image    *string  `json:"image"`
	Caption  *string  `json:"caption"`
	Captions []string `json:"captions"`
	Group    string   `json:"group"`
}

func readJSONL(r io.Reader, pictures *pictureList) error {
	return eachLine(r, func(line int, text string) error {
		var l jsonLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			return fmt.Errorf("broken JSON in line %d: %w", line, err)
		}
		if l.Image == nil || *l.Image == "" || l.Caption == nil && l.Captions == nil {
			return fmt.Errorf("line %d: needs image, and caption or captions", line)
		}
		captions := l.Captions
		if l.Caption != nil {
			captions = append([]string{*l.Caption}, captions...)
		}
		return pictures.named(*l.Image, l.Group, "", captions...)
	})
}

// eachLine calls f with every line that is not blank, and its number from 1.
func eachLine(r io.Reader, f func(line int, text string) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLineBytes)
	line := 0
	for s.Scan() {
		line++
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		if err := f(line, s.Text()); err != nil {
			return err
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d: longer than %d bytes", line+1, maxLineBytes)
	}
	return s.Err()
}
