package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Limits of what the Parquet files of one source may list. Beside them, the more there are bytes in the files,
// the more they may hold: run lengths and dictionaries write a gigabyte in a hundred bytes.
const (
	maxCaptionBytes  = 1 << 30
	maxCaptionValues = 1 << 26 // in columns of captions, empty ones included

	freeCaptionBytes, captionBytesPerByte   = 64 << 20, 32
	freeCaptionValues, captionValuesPerByte = 1 << 20, 8

	maxRowBytes  = 16 << 20 // of one row's texts
	maxRowValues = 1 << 16
)

// listParquet lists the rows of Parquet files as the datasets library writes
// them: a struct of bytes and path, or the bytes alone, and captions as text or lists of it.
func listParquet(ctx context.Context, dir string, spec Spec, files []File, g *gathering) error {
	pictures, err := newPictureList(dir)
	if err != nil {
		return err
	}
	defer pictures.close()
	l := parquetList{spec: spec, names: fileNames(files), pictures: pictures}
	for i, f := range files {
		if f.Role != RoleFiles {
			continue
		}
		if err := l.file(ctx, i, f); err != nil {
			return fmt.Errorf("file %s: %w", f.Name, err)
		}
	}
	switch {
	case len(l.pictures.slots) == 0 && l.left > 0:
		return fmt.Errorf("dataset kind parquet: where holds for none of the files' %d rows", l.left)
	case len(l.pictures.slots) == 0:
		return errors.New("dataset kind parquet: the files have no rows")
	}
	g.name = "Parquet files"
	var archives *archives
	if l.spec.ByPath {
		if archives, err = openArchives(ctx, dir, files); err != nil {
			return err
		}
		defer archives.close()
	}
	err = g.join(pictures, archives)
	g.noted = append(g.noted, l.warnings()...)
	return err
}

// fileNames are what ids begin with: a file's own name, and its number where
// another has the same.
func fileNames(files []File) []string {
	seen := map[string]int{}
	for _, f := range files {
		seen[path.Base(f.Name)]++
	}
	names := make([]string, len(files))
	for i, f := range files {
		if names[i] = path.Base(f.Name); seen[names[i]] > 1 {
			names[i] = strconv.Itoa(i) + "/" + names[i]
		}
	}
	return names
}

// parquetList gathers the rows of all files.
type parquetList struct {
	spec     Spec
	names    []string // of the files, for ids
	captions []string // columns, once they are known
	pictures *pictureList

	size          int64 // of the files so far, bytes
	bytes, values int
	paths         map[idDigest]struct{} // of pictures, where no column has ids
	shared        int                   // rows whose path another row has
	left          int                   // rows that no condition holds for
}

func (l *parquetList) file(ctx context.Context, i int, f File) error {
	r, size, closer, err := f.Open(ctx)
	if err != nil {
		return err
	}
	defer closer.Close()
	l.size += size
	t, err := openTable(r, size)
	if err != nil {
		return err
	}
	columns, err := l.columns(t)
	if err != nil {
		return err
	}
	for group := range t.meta.RowGroups {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.group(t, columns, i, group); err != nil {
			return fmt.Errorf("row group %d: %w", group, err)
		}
	}
	return nil
}

// group lists the rows of one row group, one after another: it holds a page of each column that is read.
func (l *parquetList) group(t *table, c tableColumns, file, group int) (err error) {
	rows := int(t.meta.RowGroups[group].NumRows)
	var columns []*rowTexts
	defer func() {
		for _, column := range columns {
			column.stop()
		}
	}()
	read := func(at int, put func(p *tableRow, text []byte)) {
		var r *rowTexts
		if r, err = l.texts(t, group, at, rows); err == nil {
			r.put = put
			columns = append(columns, r)
		}
	}
	for _, column := range l.puts(c) {
		if read(column.at, column.put); err != nil {
			return err
		}
	}
	for i := range rows {
		row := t.starts[group] + int64(i)
		p := tableRow{place: fmt.Sprintf("%s row %d", l.names[file], row), values: make([]string, len(c.where))}
		p.Image = ImageRef{File: file, Row: row}
		if c.id < 0 {
			p.ID = fmt.Sprintf("%s#%d", l.names[file], row)
		}
		for _, column := range columns {
			if err := column.row(i, &p); err != nil {
				return err
			}
		}
		for j, w := range c.where {
			p.out = p.out || !w.holds(p.values[j]) && !w.holds(nameOf(p.values[j], w.names))
		}
		if p.out {
			l.left++
			continue
		}
		l.countPath(c, p)
		l.pictures.unusedSplit(p.unused)
		err := l.add(c, p)
		if err := l.pictures.orBad(p.place, err); err != nil {
			return err
		}
	}
	for _, column := range columns {
		if err := column.end(); err != nil {
			return err
		}
	}
	return nil
}

// putText is a column and what its texts are to a row.
type putText struct {
	at  int
	put func(p *tableRow, text []byte)
}

// puts are the columns that are read.
func (l *parquetList) puts(c tableColumns) (all []putText) {
	for i, w := range c.where {
		all = append(all, putText{w.at, func(p *tableRow, text []byte) { p.values[i] = string(text) }})
	}
	for _, column := range c.captions {
		all = append(all, putText{column, func(p *tableRow, text []byte) {
			p.Captions = append(p.Captions, string(text))
		}})
	}
	if c.split >= 0 {
		all = append(all, putText{c.split, func(p *tableRow, text []byte) { p.given = nameOf(string(text), c.splits) }})
	}
	if c.unused >= 0 {
		all = append(all, putText{c.unused, func(p *tableRow, text []byte) { p.unused = nameOf(string(text), c.splits) }})
	}
	if l.spec.ByPath {
		all = append(all, putText{c.path, func(p *tableRow, text []byte) {
			p.several = p.several || p.Name != ""
			p.Name = string(text)
		}})
	}
	switch {
	case c.id >= 0:
		all = append(all, putText{c.id, func(p *tableRow, text []byte) { p.ID = string(text) }})
	case c.path >= 0:
		all = append(all, putText{c.path, func(p *tableRow, text []byte) { p.path = string(text) }})
	}
	return all
}

// countPath counts rows that seem to be of one picture, where no column has ids: their captions would be held
// out apart from each other.
func (l *parquetList) countPath(c tableColumns, p tableRow) {
	if c.id >= 0 || p.path == "" {
		return
	}
	if l.paths == nil {
		l.paths = map[idDigest]struct{}{}
	}
	d := digestID(p.path)
	if _, seen := l.paths[d]; seen {
		l.shared++
	}
	l.paths[d] = struct{}{}
}

// tableRow is a row with what becomes of it.
type tableRow struct {
	listed
	place   string // for messages
	out     bool   // a condition does not hold
	several bool   // names several pictures
	given   string // split as the file has it
	unused  string // the same where the config does not ask for it
	path    string
	values  []string // of the conditions' columns
}

// nameOf is what a ClassLabel's number stands for; other values are as they are.
func nameOf(value string, names []string) string {
	if n, err := strconv.Atoi(value); err == nil && n >= 0 && n < len(names) {
		return names[n]
	}
	return value
}

// add takes a row. Rows of the same id are one picture, that of the first.
func (l *parquetList) add(c tableColumns, p tableRow) error {
	if c.split >= 0 {
		var ok bool
		if p.Split, ok = splitNames[strings.ToLower(p.given)]; !ok {
			return badRow(fmt.Sprintf("split %q (column %s) is none of %s", p.given, l.spec.Columns.Split,
				knownSplits()))
		}
	}
	switch {
	case p.several:
		return errSeveralPictures
	case l.spec.ByPath && p.Name == "":
		return badRow("names no picture")
	case c.id < 0:
		return l.pictures.append(p.listed)
	case p.ID == "":
		return badRow(fmt.Sprintf("has no %s (id_column)", l.spec.Columns.ID))
	}
	i, added, err := l.pictures.add(p.listed)
	if err != nil || added {
		return err
	}
	if was := splitOrder[l.pictures.slots[i].split]; was != p.Split {
		return badRow(fmt.Sprintf("picture %s is in split %s, and in %s before", p.ID, p.Split, was))
	}
	for _, text := range p.Captions {
		if err := l.pictures.caption(i, text); err != nil {
			return err
		}
	}
	return nil
}

// splitNames are what files call the splits; restval is the part of COCO's
// validation pictures that Karpathy gives to training.
var splitNames = map[string]string{
	"train": Train, "training": Train, "restval": Train,
	"validation": Validation, "valid": Validation, "val": Validation, "dev": Validation,
	"test": Test, "testing": Test,
}

func knownSplits() string {
	names := make([]string, 0, len(splitNames))
	for name := range splitNames {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (l *parquetList) warnings() []string {
	column := cmp.Or(l.spec.Columns.Image, usualImages[0])
	return warning("Parquet files", l.shared, fmt.Sprintf("rows have the path of another row's picture: "+
		"if they are the same pictures, id_column: %s.path makes them one each", column))
}

// rowTexts walks over a column of one row group, row by row.
type rowTexts struct {
	name string
	put  func(p *tableRow, text []byte)

	next func() (rowText, error, bool)
	stop func()

	ahead  rowText // the next text, of this row or a later one
	there  bool    // there is one
	begun  bool
	failed error
}

// rowText is a text and the row that it is of.
type rowText struct {
	row  int
	text []byte
}

// texts reads a column of one row group.
func (l *parquetList) texts(t *table, group, column, rows int) (*rowTexts, error) {
	c, err := t.chunk(group, column)
	if err != nil {
		return nil, err
	}
	c.walked = true
	next, stop := iter.Pull2(l.walk(c, rows))
	return &rowTexts{name: c.leaf.name, next: next, stop: stop}, nil
}

// row puts the texts of a row, which follows the one before.
func (r *rowTexts) row(i int, p *tableRow) error {
	size, values := 0, 0
	for {
		if !r.begun || r.there && r.ahead.row < i {
			r.begun = true
			if r.ahead, r.failed, r.there = r.next(); r.failed != nil {
				return r.failed
			}
		}
		if !r.there || r.ahead.row > i {
			return nil
		}
		size, values = size+len(r.ahead.text), values+1
		if size > maxRowBytes || values > maxRowValues {
			return fmt.Errorf("column %s: row %d of the row group has more than %d bytes or %d texts", r.name, i,
				maxRowBytes, maxRowValues)
		}
		r.put(p, r.ahead.text)
		r.ahead.row = -1
	}
}

// end sees to it that nothing comes after the last row.
func (r *rowTexts) end() error {
	if _, err, more := r.next(); more {
		return err
	}
	return nil
}

// walk yields the texts of a column that are there, and an error where the column has not as many rows.
func (l *parquetList) walk(c *chunk, rows int) iter.Seq2[rowText, error] {
	return func(yield func(rowText, error) bool) {
		row := -1
		for {
			p, err := c.nextPage()
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				err = l.page(c, p, rows, &row, yield)
			}
			if errors.Is(err, errEnough) {
				return
			}
			if err != nil {
				yield(rowText{}, err)
				return
			}
		}
		if row+1 != rows {
			yield(rowText{}, fmt.Errorf("column %s: corrupt: %d rows, the row group has %d", c.leaf.name, row+1, rows))
		}
	}
}

var errEnough = errors.New("nobody wants more")

// page walks over one page.
func (l *parquetList) page(c *chunk, p page, rows int, row *int, yield func(rowText, error) bool) error {
	l.values += p.values
	if most := min(maxCaptionValues, freeCaptionValues+captionValuesPerByte*l.size); int64(l.values) > most {
		return fmt.Errorf("column %s: more than %d values in files of %d bytes", c.leaf.name, most, l.size)
	}
	v, err := c.decode(p, c.dict)
	if err != nil {
		return err
	}
	return v.each(c.leaf.maxDef, func(begins bool, text []byte) error {
		if begins {
			*row++
		}
		if *row < 0 || *row >= rows {
			return fmt.Errorf("column %s: corrupt: more rows than the row group's %d", c.leaf.name, rows)
		}
		if text == nil {
			return nil
		}
		l.bytes += len(text)
		if most := min(maxCaptionBytes, freeCaptionBytes+captionBytesPerByte*l.size); int64(l.bytes) > most {
			return fmt.Errorf("column %s: more than %d bytes of text in files of %d bytes", c.leaf.name, most, l.size)
		}
		if !yield(rowText{*row, text}, nil) {
			return errEnough
		}
		return nil
	})
}
