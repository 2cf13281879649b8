package dataset

import (
	"fmt"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/format"
)

// Names of columns that are looked for where none is given.
var (
	usualImages   = []string{"image", "img", "picture", "photo", "jpg", "png", "images"}
	usualCaptions = []string{
		"caption", "captions", "sentence", "sentences", "text", "texts", "description", "descriptions",
		"alt_text", "raw", "sentences.raw", "captions.text", "captions.caption", "txt",
	}
)

// tableColumns are indexes of leaves; -1: none.
type tableColumns struct {
	captions        []int
	split, id, path int
	unused          int      // column of splits that the config does not ask for
	splits          []string // names of the split's numbers
	where           []whereLeaf
}

// whereLeaf is a condition on a column at its place.
type whereLeaf struct {
	Condition
	at    int
	names []string // of a ClassLabel's numbers
}

func (l *parquetList) columns(t *table) (tableColumns, error) {
	c := tableColumns{split: -1, unused: -1, id: -1, path: -1}
	var err error
	if l.spec.ByPath {
		c.path, err = t.pathColumn(l.spec.Columns.Image)
	} else {
		c.path, err = t.besideBytes(l.spec.Columns.Image)
	}
	if err != nil {
		return c, err
	}
	if c.where, err = t.whereLeaves(l.spec.Where); err != nil {
		return c, err
	}
	if l.captions == nil && l.spec.Caption == "" {
		if l.captions = l.spec.Columns.Captions; len(l.captions) == 0 {
			if l.captions, err = t.usualCaptions(); err != nil {
				return c, err
			}
		}
	}
	for _, name := range l.captions {
		at, err := t.textColumn("caption_columns", name, maxNesting)
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
	} else if at, err := t.textColumn("split_column", usualSplit, 0); err == nil && !slices.Contains(c.captions, at) {
		c.unused, c.splits = at, t.features()[usualSplit].Names
	}
	switch name := l.spec.Columns.ID; {
	case name != "":
		c.id, err = t.textColumn("id_column", name, 0)
	case l.spec.ByPath:
		c.id = c.path
	}
	return c, err
}

// besideBytes finds the column of paths in the struct that holds the pictures' bytes; -1: there is none.
func (t *table) besideBytes(name string) (int, error) {
	image, err := t.imageColumn(name)
	if err != nil {
		return -1, err
	}
	if t.isEmpty(image) {
		return -1, fmt.Errorf("column %s is empty in every row: the file has no pictures%s",
			t.leaves[image].name, imagesAdvice)
	}
	return t.pathBeside(image), nil
}

// pathBeside is the column of paths in the struct of a column of bytes, or -1.
func (t *table) pathBeside(image int) int {
	if base, ok := strings.CutSuffix(t.leaves[image].name, ".bytes"); ok {
		if at := t.find(base + ".path"); at >= 0 && t.isName(at) {
			return at
		}
	}
	return -1
}

// imagesAdvice says what to do with a file that only names its pictures.
const imagesAdvice = ". Where it names their files, give the folder or .zip that they are in under images"

// isName says whether a column holds a text a row, or a list that may have just one.
func (t *table) isName(at int) bool {
	return t.leaves[at].kind == format.ByteArray && t.leaves[at].maxRep <= 1
}

// isEmpty says whether the file's statistics know of nothing but nulls in a column.
func (t *table) isEmpty(column int) bool {
	for _, g := range t.meta.RowGroups {
		m := g.Columns[column].MetaData
		if nulls := m.Statistics.NullCount; m.NumValues == 0 || nulls != m.NumValues {
			return false
		}
	}
	return len(t.meta.RowGroups) > 0
}

// pathColumn finds the column with the names of the pictures' files.
func (t *table) pathColumn(name string) (int, error) {
	names := []string{name}
	if name == "" {
		names = slices.Concat(t.imageNames(), tableImages)
	}
	for _, n := range names {
		for _, leafName := range []string{n + ".path", n} {
			if at := t.find(leafName); at >= 0 && t.isName(at) {
				return at, nil
			}
		}
	}
	if name == "" {
		return -1, fmt.Errorf("no column with the names of pictures in images is called %s; name it with "+
			"image_column. The columns are %s", strings.Join(names, ", "), t.names())
	}
	return -1, fmt.Errorf("has no column %s (image_column) of texts, the names of pictures in images; "+
		"the columns are %s", name, t.names())
}

// whereLeaves finds the columns of conditions.
func (t *table) whereLeaves(where []Condition) (out []whereLeaf, err error) {
	for _, c := range where {
		at := t.find(c.Column)
		switch {
		case at < 0:
			return nil, fmt.Errorf("has no column %s (where); the columns are %s", c.Column, t.names())
		case t.leaves[at].maxRep > 0:
			return nil, fmt.Errorf("column %s (where) holds lists; one value a row is needed", c.Column)
		case valueBytes(t.leaves[at].kind) == 0 && t.leaves[at].kind != format.Boolean:
			return nil, fmt.Errorf("column %s (where) holds %v, not text, numbers or truth values", c.Column,
				t.leaves[at].kind)
		}
		out = append(out, whereLeaf{c, at, t.features()[c.Column].Names})
	}
	return out, nil
}

// imageColumn finds the leaf with the pictures' bytes.
func (t *table) imageColumn(name string) (int, error) {
	names := []string{name}
	if name == "" {
		names = t.imageNames()
	}
	for _, n := range names {
		for _, leafName := range []string{n + ".bytes", n} {
			at := t.find(leafName)
			if at < 0 {
				continue
			}
			switch l := t.leaves[at]; {
			case l.maxRep > 1:
				return -1, fmt.Errorf("column %s holds lists of lists; one picture a row is needed", n)
			case l.kind != format.ByteArray || l.text:
				return -1, fmt.Errorf("column %s holds text or numbers, not the bytes of pictures%s", n, imagesAdvice)
			}
			return at, nil
		}
	}
	if name == "" {
		return -1, fmt.Errorf(
			"no column of pictures is called %s; name it with image_column. The columns are %s%s",
			strings.Join(usualImages, ", "), t.names(), imagesAdvice,
		)
	}
	return -1, fmt.Errorf("has no column %s (image_column); the columns are %s", name, t.names())
}

// imageNames are the names of columns of pictures that are looked for, and then those that the
// datasets library says are of pictures.
func (t *table) imageNames() []string {
	names := usualImages
	for column, f := range t.features() {
		if f.Type == "Image" && !slices.Contains(names, column) {
			names = append(slices.Clip(names), column)
		}
	}
	slices.Sort(names[len(usualImages):])
	return names
}

// usualCaptions finds the one column of captions that has a usual name.
func (t *table) usualCaptions() ([]string, error) {
	var found []string
	for _, name := range usualCaptions {
		if at := t.find(name); at >= 0 && t.leaves[at].kind == format.ByteArray {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 1:
		return found, nil
	case 0:
		return nil, fmt.Errorf(
			"no column of captions is called %s; name it with caption_columns. The columns are %s",
			strings.Join(usualCaptions, ", "), t.names(),
		)
	}
	return nil, fmt.Errorf(
		"the columns %s may all hold captions; name those to use with caption_columns. The columns are %s",
		strings.Join(found, ", "), t.names(),
	)
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
