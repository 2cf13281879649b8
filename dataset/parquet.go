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

	"github.com/parquet-go/parquet-go/format"
)

// Names of columns that are looked for where none is given.
var (
	usualImages   = []string{"image", "img", "picture", "photo", "jpg", "png"}
	usualCaptions = []string{
		"caption", "captions", "sentence", "sentences", "text", "texts", "description", "descriptions",
		"alt_text", "raw", "sentences.raw", "captions.text", "captions.caption", "txt",
	}
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
	if len(l.pictures.slots) == 0 {
		return errors.New("dataset kind parquet: the files have no rows")
	}
	g.name, g.noted = "Parquet files", l.warnings()
	for p, err := range l.pictures.all() {
		if err == nil {
			err = g.add(p)
		}
		if err != nil {
			return err
		}
	}
	return nil
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

// tableColumns are indexes of leaves; -1: none.
type tableColumns struct {
	captions        []int
	split, id, path int
	splits          []string // names of the split's numbers
}

func (l *parquetList) columns(t *table) (tableColumns, error) {
	c := tableColumns{split: -1, id: -1, path: -1}
	image, err := t.imageColumn(l.spec.Columns.Image)
	if err != nil {
		return c, err
	}
	if l.captions == nil {
		if l.captions = l.spec.Columns.Captions; len(l.captions) == 0 {
			if l.captions, err = t.usualCaptions(); err != nil {
				return c, err
			}
		}
	}
	for _, name := range l.captions {
		at, err := t.textColumn("caption_columns", name, 1)
		if err != nil {
			return c, err
		}
		if t.leaves[at].kind != format.ByteArray {
			return c, fmt.Errorf("column %s (caption_columns) holds %v, not text", name, t.leaves[at].kind)
		}
		c.captions = append(c.captions, at)
	}
	if name := l.spec.Columns.Split; name != "" {
		if c.split, err = t.textColumn("split_column", name, 0); err != nil {
			return c, err
		}
		c.splits = t.features()[name].Names
	}
	if name := l.spec.Columns.ID; name != "" {
		c.id, err = t.textColumn("id_column", name, 0)
		return c, err
	}
	if base, ok := strings.CutSuffix(t.leaves[image].name, ".bytes"); ok {
		if at := t.find(base + ".path"); at >= 0 && t.leaves[at].kind == format.ByteArray && t.leaves[at].maxRep == 0 {
			c.path = at
		}
	}
	return c, nil
}

// imageColumn finds the leaf with the pictures' bytes.
func (t *table) imageColumn(name string) (int, error) {
	names := []string{name}
	if name == "" {
		names = usualImages
		features := t.features()
		for column, f := range features {
			if f.Type == "Image" && !slices.Contains(names, column) {
				names = append(slices.Clip(names), column)
			}
		}
		slices.Sort(names[len(usualImages):])
	}
	for _, n := range names {
		for _, leafName := range []string{n + ".bytes", n} {
			at := t.find(leafName)
			if at < 0 {
				continue
			}
			switch l := t.leaves[at]; {
			case l.maxRep > 0:
				return -1, fmt.Errorf("column %s holds lists of pictures; one picture a row is needed", n)
			case l.kind != format.ByteArray || l.text:
				return -1, fmt.Errorf("column %s holds text or numbers, not the bytes of pictures", n)
			}
			return at, nil
		}
	}
	if name == "" {
		return -1, fmt.Errorf("no column of pictures is called %s; name it with image_column. The columns are %s", strings.Join(usualImages, ", "), t.names())
	}
	return -1, fmt.Errorf("has no column %s (image_column); the columns are %s", name, t.names())
}

// usualCaptions finds the one column of captions that has a usual name.
func (t *table) usualCaptions() ([]string, error) {
	var found []string
	for _, name := range usualCaptions {
		if at := t.find(name); at >= 0 && t.leaves[at].kind == format.ByteArray && t.leaves[at].maxRep <= 1 {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 1:
		return found, nil
	case 0:
		return nil, fmt.Errorf("no column of captions is called %s; name it with caption_columns. The columns are %s", strings.Join(usualCaptions, ", "), t.names())
	}
	return nil, fmt.Errorf("the columns %s may all hold captions; name those to use with caption_columns. The columns are %s", strings.Join(found, ", "), t.names())
}

// textColumn finds a column of text or whole numbers, in lists at most rep deep.
func (t *table) textColumn(key, name string, rep int) (int, error) {
	at := t.find(name)
	if at < 0 {
		return -1, fmt.Errorf("has no column %s (%s); the columns are %s", name, key, t.names())
	}
	l := t.leaves[at]
	if l.maxRep > rep {
		return -1, fmt.Errorf("column %s (%s) holds lists, or lists of lists", name, key)
	}
	if !slices.Contains([]format.Type{format.ByteArray, format.Int32, format.Int64}, l.kind) {
		return -1, fmt.Errorf("column %s (%s) holds %v, not text or whole numbers", name, key, l.kind)
	}
	return at, nil
}

// group lists the rows of one row group.
func (l *parquetList) group(t *table, c tableColumns, file, group int) error {
	rows := make([]listed, t.meta.RowGroups[group].NumRows)
	for i := range rows {
		row := t.starts[group] + int64(i)
		rows[i].ID = fmt.Sprintf("%s#%d", l.names[file], row)
		rows[i].Image = ImageRef{File: file, Row: row}
	}
	for _, column := range c.captions {
		err := l.texts(t, group, column, len(rows), func(row int, text string) { rows[row].Captions = append(rows[row].Captions, text) })
		if err != nil {
			return err
		}
	}
	if err := l.splits(t, c, group, rows); err != nil {
		return err
	}
	if err := l.countPaths(t, c, group, len(rows)); err != nil {
		return err
	}
	if c.id < 0 {
		for _, p := range rows {
			if err := l.pictures.append(p); err != nil {
				return err
			}
		}
		return nil
	}
	return l.join(t, c, group, rows)
}

// join makes rows of the same id one picture, that of the first.
func (l *parquetList) join(t *table, c tableColumns, group int, rows []listed) error {
	for i := range rows {
		rows[i].ID = ""
	}
	if err := l.texts(t, group, c.id, len(rows), func(row int, text string) { rows[row].ID = text }); err != nil {
		return err
	}
	for _, p := range rows {
		if p.ID == "" {
			return fmt.Errorf("row %d has no %s (id_column)", p.Image.Row, l.spec.Columns.ID)
		}
		i, added, err := l.pictures.add(p)
		if err != nil {
			return err
		}
		if added {
			continue
		}
		if was := splitOrder[l.pictures.slots[i].split]; was != p.Split {
			return fmt.Errorf("row %d: picture %s is in split %q, and in %q before", p.Image.Row, p.ID, p.Split, was)
		}
		for _, text := range p.Captions {
			if err := l.pictures.caption(i, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// splits reads the split column.
func (l *parquetList) splits(t *table, c tableColumns, group int, rows []listed) error {
	if c.split < 0 {
		return nil
	}
	given := make([]string, len(rows))
	if err := l.texts(t, group, c.split, len(rows), func(row int, text string) { given[row] = text }); err != nil {
		return err
	}
	for i, text := range given {
		if n, err := strconv.Atoi(text); err == nil && n >= 0 && n < len(c.splits) {
			text = c.splits[n]
		}
		split, ok := splitNames[strings.ToLower(text)]
		if !ok {
			return fmt.Errorf("row %d: split %q (column %s) is none of %s", rows[i].Image.Row, text, l.spec.Columns.Split, knownSplits())
		}
		rows[i].Split = split
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

// countPaths notices pictures that several rows seem to share: their captions
// would be held out apart from each other.
func (l *parquetList) countPaths(t *table, c tableColumns, group, rows int) error {
	if c.path < 0 {
		return nil
	}
	if l.paths == nil {
		l.paths = map[idDigest]struct{}{}
	}
	return l.texts(t, group, c.path, rows, func(_ int, text string) {
		d := digestID(text)
		if _, seen := l.paths[d]; seen && text != "" {
			l.shared++
		}
		l.paths[d] = struct{}{}
	})
}

func (l *parquetList) warnings() []string {
	column := cmp.Or(l.spec.Columns.Image, usualImages[0])
	return warning("Parquet files", l.shared, fmt.Sprintf("rows have the path of another row's picture: if they are the same pictures, id_column: %s.path makes them one each", column))
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
