package dataset

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Names of columns that are looked for in tables and JSON lines where the config
// names none: those of image folders of the datasets library, of open_clip, Flickr30k and
// its table on the Hugging Face hub.
var (
	tableImages = []string{
		"image", "file_name", "filename", "filepath", "image_path", "image_name", "path", "file",
		"images",
	}
	tableCaptions = []string{
		"caption", "captions", "text", "texts", "title", "comment", "raw", "description", "sentence",
		"sentences",
	}
)

// textTable reads a file of columns. Which character separates them, and which of
// them hold what, is told by its first line and by the config.
type textTable struct {
	comma   rune
	header  []string // nil: the first line is a row already
	columns csvColumns
	where   []whereColumn
}

// csvColumns are the places of the columns; -1: none.
type csvColumns struct {
	image, split, group int
	unused              int // of splits that the config does not ask for
	captions            []int
}

// separators are tried in this order; a .tsv file has tabs.
func separators(ext string) []rune {
	if ext == ".tsv" {
		return []rune{'\t'}
	}
	return []rune{',', '\t', ';', '|'}
}

func newTextTable(line, ext string, spec Spec) (*textTable, error) {
	if strings.TrimSpace(line) == "" {
		return nil, errors.New("is empty; its first line must be image,caption")
	}
	var firstErr error
	for _, comma := range separators(ext) {
		header, err := fieldsOf(line, comma)
		if err != nil {
			continue
		}
		t := &textTable{comma: comma, header: header}
		if t.columns, err = columnsOf(header, spec); err == nil {
			t.where, err = spec.whereColumns(header)
		}
		if err == nil {
			return t, nil
		}
		if firstErr == nil || len(header) > 1 {
			firstErr = err
		}
	}
	if len(spec.Columns.Captions) > 0 || spec.Columns.Image != "" || len(spec.Where) > 0 {
		return nil, firstErr
	}
	for _, comma := range separators(ext) {
		fields, err := fieldsOf(line, comma)
		if err == nil && IsPicture(fields[0]) && (len(fields) > 1 || spec.Caption != "") {
			return &textTable{comma: comma, columns: bareColumns(len(fields))}, nil
		}
	}
	return nil, firstErr
}

// bareColumns are those of a table without a header: a picture and its caption.
func bareColumns(fields int) csvColumns {
	c := csvColumns{image: 0, split: -1, group: -1, unused: -1}
	if fields > 1 {
		c.captions = []int{1}
	}
	return c
}

func fieldsOf(line string, comma rune) ([]string, error) {
	fields, err := newCSV(strings.NewReader(line), comma).Read()
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	return fields, err
}

// newCSV reads quotes as Python's csv does: one inside a field is a character.
func newCSV(r io.Reader, comma rune) *csv.Reader {
	c := csv.NewReader(r)
	c.Comma, c.LazyQuotes, c.FieldsPerRecord, c.ReuseRecord = comma, true, -1, true
	return c
}

// IsPicture says whether text ends as the name of a picture's file.
func IsPicture(text string) bool {
	return slices.Contains(pictureExtensions, strings.ToLower(path.Ext(strings.TrimSpace(text))))
}

// column finds a column by its name; -1: there is none.
func column(header []string, name string) int {
	return slices.IndexFunc(header, func(h string) bool { return name != "" && strings.EqualFold(h, name) })
}

func columnsOf(header []string, spec Spec) (c csvColumns, err error) {
	names := strings.Join(header, ", ")
	c = csvColumns{
		image: -1, group: column(header, "group"), split: column(header, spec.Columns.Split),
		unused: column(header, usualSplit),
	}
	if spec.Columns.Image != "" {
		if c.image = column(header, spec.Columns.Image); c.image < 0 {
			return c, fmt.Errorf("has no column %s (image_column); the columns are %s",
				spec.Columns.Image, names)
		}
	}
	for _, name := range tableImages {
		if c.image < 0 {
			c.image = column(header, name)
		}
	}
	if c.image < 0 {
		return c, fmt.Errorf("has no column of pictures' names (%s); name it with image_column. "+
			"Its first line has the columns %s", strings.Join(tableImages, ", "), names)
	}
	if spec.Columns.Split != "" && c.split < 0 {
		return c, fmt.Errorf("has no column %s (split_column); the columns are %s", spec.Columns.Split, names)
	}
	if isFlickrTable(header) {
		c.split = column(header, "split")
	}
	c.captions, err = captionColumns(header, spec, c)
	return c, err
}

// isFlickrTable says whether this is the hub's flickr_annotations_30k.csv.
func isFlickrTable(header []string) bool {
	return column(header, "filename") >= 0 && column(header, "raw") >= 0
}

// captionColumns are those that the config names, else the one with a usual name,
// else the only one that is nothing else.
func captionColumns(header []string, spec Spec, c csvColumns) ([]int, error) {
	names := strings.Join(header, ", ")
	var found []int
	for _, name := range spec.Columns.Captions {
		at := column(header, name)
		if at < 0 {
			return nil, fmt.Errorf("has no column %s (caption_columns); the columns are %s", name, names)
		}
		found = append(found, at)
	}
	if len(found) > 0 || spec.Caption != "" {
		return found, nil
	}
	if at := column(header, "caption"); at >= 0 && column(header, "captions") < 0 {
		return []int{at}, nil // as image,caption always was, whatever else there is
	}
	var usual, others []int
	for i, name := range header {
		switch {
		case i == c.image || i == c.split || i == c.group:
		case slices.ContainsFunc(tableCaptions, func(usual string) bool { return strings.EqualFold(usual, name) }):
			usual = append(usual, i)
		default:
			others = append(others, i)
		}
	}
	switch {
	case len(usual) == 1:
		return usual, nil
	case len(usual) > 1:
		return nil, fmt.Errorf(
			"several of the columns %s may hold captions; name those to use with caption_columns", names,
		)
	case len(others) == 1:
		return others, nil
	}
	return nil, fmt.Errorf("has no column of captions (%s); name it with caption_columns. "+
		"Its first line has the columns %s", strings.Join(tableCaptions, ", "), names)
}

// read lists the rows.
func (t *textTable) read(b *bufio.Reader, pictures *pictureList) error {
	c := newCSV(b, t.comma)
	if t.header != nil {
		if _, err := c.Read(); err != nil {
			return csvError(err)
		}
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
		place := fmt.Sprintf("line %d", line)
		if swallowed := t.swallowed(record); swallowed > 0 {
			for i := range swallowed + 1 {
				place := fmt.Sprintf("line %d", line+i)
				why := fmt.Sprintf("a quotation mark in line %d that none closes takes in the lines up to %d",
					line, line+swallowed)
				if err := pictures.bad(place, why); err != nil {
					return err
				}
			}
			continue
		}
		if err := pictures.orBad(place, t.add(record, pictures)); err != nil {
			return err
		}
	}
}

// swallowed is how many further rows a field of this one took in by a stray
// quotation mark: lines within it that begin with a picture's name.
func (t *textTable) swallowed(record []string) int {
	for _, field := range record {
		lines := strings.Split(field, "\n")
		for _, line := range lines[1:] {
			first, _, more := strings.Cut(line, string(t.comma))
			if more && IsPicture(strings.Trim(first, `"`)) {
				return len(lines) - 1
			}
		}
	}
	return 0
}

// add takes the captions of one row.
func (t *textTable) add(record []string, pictures *pictureList) error {
	record, err := t.fit(record)
	if err != nil {
		return err
	}
	if !matches(t.where, record) {
		return nil
	}
	field := func(at int) string {
		if at < 0 {
			return ""
		}
		return record[at]
	}
	image := strings.TrimSpace(field(t.columns.image))
	if image == "" {
		return badRow("image is empty")
	}
	split := ""
	if t.columns.split >= 0 {
		var ok bool
		if split, ok = splitNames[strings.ToLower(field(t.columns.split))]; !ok {
			return badRow(fmt.Sprintf("split %q is none of %s", field(t.columns.split), knownSplits()))
		}
	} else if at := t.columns.unused; at >= 0 && at != t.columns.image {
		pictures.unusedSplit(record[at])
	}
	var captions []string
	for _, at := range t.columns.captions {
		texts, err := t.texts(at, record[at])
		if err != nil {
			return err
		}
		captions = append(captions, texts...)
	}
	return pictures.named(image, field(t.columns.group), split, captions...)
}

// texts are a field's captions: a column whose name is plural, or raw as in
// Flickr30k's table, may hold a JSON list.
func (t *textTable) texts(at int, field string) ([]string, error) {
	if t.header == nil || !strings.HasPrefix(field, "[") {
		return []string{field}, nil
	}
	name := strings.ToLower(t.header[at])
	if name != "raw" && !strings.HasSuffix(name, "s") {
		return []string{field}, nil
	}
	var list []string
	if err := json.Unmarshal([]byte(field), &list); err != nil {
		return nil, badRow(fmt.Sprintf("%s is no JSON list of captions: %v", t.header[at], err))
	}
	return list, nil
}

// fit makes a row as long as the header. More fields than that belong to a caption
// in the last column whose commas are not quoted.
func (t *textTable) fit(record []string) ([]string, error) {
	want := len(t.header)
	if t.header == nil {
		want = 1 + len(t.columns.captions)
	}
	switch {
	case len(record) < want:
		return nil, badRow(fmt.Sprintf("has %d fields, not %d", len(record), want))
	case len(record) == want:
		return record, nil
	case !slices.Contains(t.columns.captions, want-1):
		return nil, badRow(
			fmt.Sprintf("has %d fields, not %d; quote those with a %q in them", len(record), want, t.comma),
		)
	}
	last := strings.Join(record[want-1:], string(t.comma))
	return append(record[:want-1:want-1], last), nil
}

// csvError names the line; encoding/csv counts it from 1 already.
func csvError(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("broken CSV in line %d, column %d: %w", parse.Line, parse.Column, parse.Err)
	}
	return err
}
