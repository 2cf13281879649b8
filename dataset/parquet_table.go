package dataset

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// Limits of a foreign Parquet file.
const (
	maxFooterBytes = 64 << 20
	maxGroupRows   = 1 << 22 // rows of one row group
	maxColumns     = 4096
	maxNesting     = 16 // groups within each other

	freeRows, bytesPerRow = 1 << 16, 4 // more rows need so many bytes of the file each
)

// table is a Parquet file of anybody's making, read a column and a page at a
// time. Shards are read by parquet-go as a whole; its readers however trust
// the lengths in a file, and decode every page before the one that is asked
// for where there is no page index. So of a foreign file the metadata is decoded by
// parquet-go, once it is known to be sound, and the pages here.
type table struct {
	r      io.ReaderAt
	meta   format.FileMetaData
	leaves []leaf
	starts []int64 // first row of each row group, and the number of rows
	end    int64   // where the footer begins
}

// leaf is a column that holds values. Its name is its path without what only
// says that it is a list: sentences.list.element.raw is sentences.raw.
type leaf struct {
	name           string
	index          int
	kind           format.Type
	text           bool // annotated as UTF-8
	maxRep, maxDef int
}

// openTable reads the footer. r must stay open while the table is used.
func openTable(r io.ReaderAt, size int64) (*table, error) {
	if err := checkFooter(r, size); err != nil {
		return nil, err
	}
	var length [4]byte
	if n, err := r.ReadAt(length[:], size-8); n < len(length) {
		return nil, err
	}
	footer := int64(binary.LittleEndian.Uint32(length[:]))
	if footer > maxFooterBytes {
		return nil, fmt.Errorf("its footer of %d bytes is larger than %d", footer, maxFooterBytes)
	}
	raw := make([]byte, footer)
	t := &table{r: r, end: size - 8 - footer}
	if n, err := r.ReadAt(raw, t.end); n < len(raw) {
		return nil, err
	}
	if _, err := decodeThrift(raw, &t.meta); err != nil {
		return nil, fmt.Errorf("corrupt footer: %w", err)
	}
	if err := t.readSchema(); err != nil {
		return nil, fmt.Errorf("corrupt footer: %w", err)
	}
	if err := t.checkGroups(size); err != nil {
		return nil, fmt.Errorf("corrupt footer: %w", err)
	}
	return t, nil
}

// readSchema lists the leaves of the schema, whose elements stand depth first.
func (t *table) readSchema() error {
	s := t.meta.Schema
	if len(s) == 0 || len(s) > maxColumns {
		return fmt.Errorf("%d elements in the schema; must be 1 to %d", len(s), maxColumns)
	}
	rest, err := t.children(s[1:], s[0].NumChildren.V, node{})
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("the schema has %d elements too many", len(rest))
	}
	return err
}

// node is a group on the way down the schema.
type node struct {
	names    []string
	rep, def int
	depth    int
	list     int // 1: annotated as a list; 2: the repeated group of one
}

func (t *table) children(s []format.SchemaElement, n int32, parent node) ([]format.SchemaElement, error) {
	if parent.depth > maxNesting {
		return nil, fmt.Errorf("columns are nested more than %d deep", maxNesting)
	}
	for range n {
		if len(s) == 0 {
			return nil, errors.New("the schema ends too early")
		}
		e := s[0]
		s = s[1:]
		child := node{names: parent.names, rep: parent.rep, def: parent.def, depth: parent.depth + 1}
		wrapper := parent.list == 1 && e.RepetitionType.V == format.Repeated || parent.list == 2 && n == 1
		if !wrapper {
			child.names = append(slices.Clip(parent.names), e.Name)
		}
		switch {
		case !e.RepetitionType.Valid || e.RepetitionType.V == format.Required:
		case e.RepetitionType.V == format.Repeated:
			child.rep++
			child.def++
		default:
			child.def++
		}
		if e.NumChildren.Valid && e.NumChildren.V > 0 {
			if isList(e) {
				child.list = 1
			} else if parent.list == 1 && wrapper {
				child.list = 2
			}
			var err error
			if s, err = t.children(s, e.NumChildren.V, child); err != nil {
				return nil, err
			}
			continue
		}
		t.leaves = append(t.leaves, leaf{
			name: strings.Join(child.names, "."), index: len(t.leaves), kind: e.Type.V, text: isText(e),
			maxRep: child.rep, maxDef: child.def,
		})
	}
	return s, nil
}

func isList(e format.SchemaElement) bool {
	_, list := e.LogicalType.Value.(*format.ListType)
	return list || e.ConvertedType.Valid && e.ConvertedType.V == deprecated.List
}

func isText(e format.SchemaElement) bool {
	_, text := e.LogicalType.Value.(*format.StringType)
	return text || e.ConvertedType.Valid && e.ConvertedType.V == deprecated.UTF8
}

// checkGroups makes sure that the row groups have the schema's columns, lie in
// the file and have no more rows than a file of that size can hold.
func (t *table) checkGroups(size int64) error {
	var rows int64
	for i, g := range t.meta.RowGroups {
		if g.NumRows < 0 || g.NumRows > maxGroupRows {
			return fmt.Errorf("row group %d has %d rows; must be at most %d", i, g.NumRows, maxGroupRows)
		}
		if len(g.Columns) != len(t.leaves) {
			return fmt.Errorf("row group %d has %d columns, the schema %d", i, len(g.Columns), len(t.leaves))
		}
		t.starts = append(t.starts, rows)
		rows += g.NumRows
	}
	t.starts = append(t.starts, rows)
	if rows != t.meta.NumRows || rows > freeRows+size/bytesPerRow {
		return fmt.Errorf("%d rows in row groups, %d in the footer, %d bytes in the file", rows,
			t.meta.NumRows, size)
	}
	return nil
}

// rows is the number of rows.
func (t *table) rows() int64 { return t.starts[len(t.starts)-1] }

// group finds a row's group and its number there.
func (t *table) group(row int64) (group int, inGroup int64) {
	group, found := slices.BinarySearch(t.starts, row)
	if !found {
		group--
	}
	for t.starts[group+1] == row { // groups without rows
		group++
	}
	return group, row - t.starts[group]
}

// find answers the leaf of that name, or -1.
func (t *table) find(name string) int {
	return slices.IndexFunc(t.leaves, func(l leaf) bool { return l.name == name })
}

// names lists the columns for messages.
func (t *table) names() string {
	var all []string
	for _, l := range t.leaves {
		all = append(all, l.name)
	}
	const most = 40
	if len(all) > most {
		all = append(all[:most], fmt.Sprintf("and %d more", len(all)-most))
	}
	return strings.Join(all, ", ")
}

// feature is what the datasets library says of a column in the file's metadata.
type feature struct {
	Type  string   `json:"_type"`
	Names []string `json:"names"` // of ClassLabel's values
}

// features are those of the datasets library by column; none in other files.
func (t *table) features() map[string]feature {
	for _, kv := range t.meta.KeyValueMetadata {
		if kv.Key != "huggingface" {
			continue
		}
		var info struct {
			Info struct {
				Features map[string]json.RawMessage `json:"features"`
			} `json:"info"`
		}
		if json.Unmarshal([]byte(kv.Value), &info) != nil {
			return nil
		}
		out := map[string]feature{}
		for name, raw := range info.Info.Features {
			var f feature
			if json.Unmarshal(raw, &f) == nil { // a list of features is an array in old files
				out[name] = f
			}
		}
		return out
	}
	return nil
}
