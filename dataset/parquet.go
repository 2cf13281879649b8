package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Limits of what the Parquet files of one source may list.
const (
	maxCaptionBytes  = 1 << 30
	maxCaptionValues = 1 << 26 // in columns of captions, empty ones included
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

// group lists the rows of one row group.
func (l *parquetList) group(t *table, c tableColumns, file, group int) error {
	rows := make([]tableRow, t.meta.RowGroups[group].NumRows)
	for i := range rows {
		row := t.starts[group] + int64(i)
		rows[i].ID = fmt.Sprintf("%s#%d", l.names[file], row)
		rows[i].place = fmt.Sprintf("%s row %d", l.names[file], row)
		rows[i].Image = ImageRef{File: file, Row: row}
	}
	if err := l.conditions(t, c, group, rows); err != nil {
		return err
	}
	for _, column := range c.captions {
		err := l.texts(t, group, column, len(rows), func(row int, text string) {
			rows[row].Captions = append(rows[row].Captions, text)
		})
		if err != nil {
			return err
		}
	}
	if err := l.splits(t, c, group, rows); err != nil {
		return err
	}
	if err := l.ids(t, c, group, rows); err != nil {
		return err
	}
	for _, p := range rows {
		if p.out {
			l.left++
			continue
		}
		err := l.add(c, p)
		if err := l.pictures.orBad(p.place, err); err != nil {
			return err
		}
	}
	return nil
}

// tableRow is a row with what becomes of it.
type tableRow struct {
	listed
	place   string // for messages
	out     bool   // a condition does not hold
	several bool   // names several pictures
	given   string // split as the file has it
}

// conditions marks the rows for which one of them does not hold.
func (l *parquetList) conditions(t *table, c tableColumns, group int, rows []tableRow) error {
	for _, w := range c.where {
		values := make([]string, len(rows))
		if err := l.texts(t, group, w.at, len(rows), func(row int, text string) {
			values[row] = text
		}); err != nil {
			return err
		}
		for i, value := range values {
			rows[i].out = rows[i].out || !w.holds(value) && !w.holds(nameOf(value, w.names))
		}
	}
	return nil
}

// nameOf is what a ClassLabel's number stands for; other values are as they are.
func nameOf(value string, names []string) string {
	if n, err := strconv.Atoi(value); err == nil && n >= 0 && n < len(names) {
		return names[n]
	}
	return value
}

// splits reads the split column.
func (l *parquetList) splits(t *table, c tableColumns, group int, rows []tableRow) error {
	if c.split < 0 {
		return nil
	}
	return l.texts(t, group, c.split, len(rows), func(row int, text string) {
		rows[row].given = nameOf(text, c.splits)
	})
}

// ids reads the column that names the pictures, or counts those that seem to be of one name: their
// captions would be held out apart from each other.
func (l *parquetList) ids(t *table, c tableColumns, group int, rows []tableRow) error {
	if l.spec.ByPath {
		err := l.texts(t, group, c.path, len(rows), func(row int, text string) {
			rows[row].several = rows[row].several || rows[row].Name != ""
			rows[row].Name = text
		})
		if err != nil {
			return err
		}
	}
	if c.id >= 0 {
		for i := range rows {
			rows[i].ID = ""
		}
		return l.texts(t, group, c.id, len(rows), func(row int, text string) { rows[row].ID = text })
	}
	if c.path < 0 {
		return nil
	}
	if l.paths == nil {
		l.paths = map[idDigest]struct{}{}
	}
	return l.texts(t, group, c.path, len(rows), func(row int, text string) {
		if rows[row].out || text == "" {
			return
		}
		d := digestID(text)
		if _, seen := l.paths[d]; seen {
			l.shared++
		}
		l.paths[d] = struct{}{}
	})
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

// texts reads a column of one row group and calls put for each value that is there.
func (l *parquetList) texts(t *table, group, column, rows int, put func(row int, text string)) error {
	c, err := t.chunk(group, column)
	if err != nil {
		return err
	}
	row := -1
	for {
		p, err := c.nextPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if l.values += p.values; l.values > maxCaptionValues {
			return fmt.Errorf("column %s: more than %d values", c.leaf.name, maxCaptionValues)
		}
		v, err := c.decode(p, c.dict)
		if err != nil {
			return err
		}
		for i := range v.n {
			if v.rep == nil || v.rep[i] == 0 {
				row++
			}
			if row < 0 || row >= rows {
				return fmt.Errorf("column %s: corrupt: more rows than the row group's %d", c.leaf.name, rows)
			}
			if v.def != nil && v.def[i] != uint32(c.leaf.maxDef) {
				continue
			}
			text := string(v.values[0])
			v.values = v.values[1:]
			if l.bytes += len(text); l.bytes > maxCaptionBytes {
				return fmt.Errorf("column %s: more than %d bytes of text", c.leaf.name, maxCaptionBytes)
			}
			put(row, text)
		}
	}
	if row+1 != rows {
		return fmt.Errorf("column %s: corrupt: %d rows, the row group has %d", c.leaf.name, row+1, rows)
	}
	return nil
}
