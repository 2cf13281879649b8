package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// keptPageBytes bounds the decoded pages that are kept for the next picture; one
// page is kept however large it is, since pictures are asked for in order.
const keptPageBytes = 128 << 20

// pictureTable reads single pictures of a Parquet file; safe for concurrent use.
type pictureTable struct {
	name   string
	t      *table
	column int
	closer io.Closer

	mu     sync.Mutex
	groups map[int]*groupPages
	kept   []*picturePage // the most recently used last
}

// groupPages are the pages of one row group's pictures, as far as they are known.
type groupPages struct {
	chunk *chunk
	pages []*picturePage
	rows  int64 // of the pages
	ended bool  // there are no more
}

// picturePage is decoded once for all its pictures.
type picturePage struct {
	chunk *chunk
	page  page
	dict  *page
	first int64 // row of the row group
	rows  int64
	goes  bool // on with its last row's list in the next page

	mu     sync.Mutex
	values [][]byte // by row; nil: not decoded
	counts []int    // pictures of each row, of columns of lists
}

func openPictures(ctx context.Context, f File, column string) (*pictureTable, error) {
	r, size, closer, err := f.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", f.Name, err)
	}
	p := &pictureTable{name: f.Name, closer: closer, groups: map[int]*groupPages{}}
	if p.t, err = openTable(sourceReader{r}, size); err == nil {
		p.column, err = p.t.imageColumn(column)
	}
	if err != nil {
		closer.Close()
		return nil, fmt.Errorf("file %s: %w", f.Name, err)
	}
	return p, nil
}

// read answers a row's picture in memory of its own.
func (p *pictureTable) read(row int64) ([]byte, error) {
	b, err := p.value(row)
	if err != nil {
		return nil, fmt.Errorf("row %d of %s: %w", row, p.name, err)
	}
	if len(b) > maxPictureBytes {
		return nil, fmt.Errorf("row %d of %s: a picture of %d bytes, more than %d", row, p.name, len(b),
			maxPictureBytes)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("row %d of %s: %s", row, p.name, p.noBytes(row))
	}
	return bytes.Clone(b), nil
}

// noBytes says what is there instead of a row's picture.
func (p *pictureTable) noBytes(row int64) string {
	if at := p.t.pathBeside(p.column); at >= 0 {
		paths := &pictureTable{name: p.name, t: p.t, column: at, groups: map[int]*groupPages{}}
		if path, err := paths.value(row); err == nil && len(path) > 0 {
			return fmt.Sprintf("holds no picture's bytes, only the path %.200q%s", path, imagesAdvice)
		}
	}
	return "holds no picture's bytes"
}

func (p *pictureTable) value(row int64) ([]byte, error) {
	if row < 0 || row >= p.t.rows() {
		return nil, fmt.Errorf("the file has %d rows", p.t.rows())
	}
	group, inGroup := p.t.group(row)
	found, err := p.find(group, inGroup)
	if err != nil {
		return nil, err
	}
	b, err := found.value(inGroup)
	if err == nil {
		p.use(found)
	}
	return b, err
}

// find answers the page of a row.
func (p *pictureTable) find(group int, row int64) (*picturePage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.groups[group]
	if g == nil {
		c, err := p.t.chunk(group, p.column)
		if err != nil {
			return nil, err
		}
		g = &groupPages{chunk: c}
		p.groups[group] = g
	}
	want := row
	if g.chunk.leaf.maxRep > 0 {
		want++ // a row's list may go on in the page that begins with the next row
	}
	for g.rows <= want && !g.ended {
		at, dict := g.chunk.at, g.chunk.dict
		if err := g.more(); err != nil {
			g.chunk.at, g.chunk.dict = at, dict // the store may answer the next time
			return nil, err
		}
	}
	for _, found := range g.pages {
		if row < found.first+found.rows {
			return found, nil
		}
	}
	return nil, fmt.Errorf("corrupt: row group %d has %d pictures", group, g.rows)
}

// more finds the next page.
func (g *groupPages) more() error {
	next, err := g.chunk.nextPage()
	if errors.Is(err, io.EOF) {
		g.ended = true
		return nil
	}
	rows, goesOn := next.values, false
	if err == nil && g.chunk.leaf.maxRep > 0 {
		rows, goesOn, err = g.chunk.rowsOf(next)
	}
	if err != nil {
		return err
	}
	if n := len(g.pages); n > 0 && goesOn {
		g.pages[n-1].goes = true
	}
	if rows > 0 {
		g.pages = append(g.pages, &picturePage{
			chunk: g.chunk, page: next, dict: g.chunk.dict, first: g.rows, rows: int64(rows),
		})
		g.rows += int64(rows)
	}
	return nil
}

// rowsOf counts the rows that begin in a page of lists, and says whether it goes on with one of
// the page before.
func (c *chunk) rowsOf(p page) (rows int, goesOn bool, err error) {
	body, err := c.unpack(p)
	if err != nil {
		return 0, false, err
	}
	levels, _, err := p.levels(body, c.leaf.maxRep, p.values, p.repBytes)
	for _, level := range levels {
		if level == 0 {
			rows++
		}
	}
	return rows, len(levels) > 0 && levels[0] > 0, err
}

// use makes a decoded page the one that is kept longest, and lets go of those
// that are too many. It is called after decoding: a page that was dropped between
// being found and being decoded is then kept, not forgotten with its memory.
func (p *pictureTable) use(used *picturePage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	total := used.page.unpacked
	kept := make([]*picturePage, 0, len(p.kept)+1)
	for i := len(p.kept) - 1; i >= 0; i-- {
		other := p.kept[i]
		if other == used {
			continue
		}
		if total += other.page.unpacked; total > keptPageBytes {
			other.drop()
			continue
		}
		kept = append([]*picturePage{other}, kept...)
	}
	p.kept = append(kept, used)
}

func (g *picturePage) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.values = nil
}

// value decodes the page unless that is done. An error is not kept: it may be
// the store's.
func (g *picturePage) value(row int64) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.values == nil {
		v, err := g.chunk.decode(g.page, g.dict)
		if err != nil {
			return nil, err
		}
		if err := g.put(v); err != nil {
			return nil, err
		}
	}
	at := row - g.first
	if g.chunk.leaf.maxRep > 0 {
		n := g.counts[at]
		if g.goes && at == g.rows-1 {
			n++
		}
		if n > 1 {
			return nil, errSeveralPictures
		}
	}
	return g.values[at], nil
}

var errSeveralPictures = badRow("holds several pictures; one a row is needed")

// put keeps a decoded page's values by row, of lists the last of each.
func (g *picturePage) put(v pageValues) error {
	values, counts := make([][]byte, g.rows), []int(nil)
	if v.rep != nil {
		counts = make([]int, g.rows)
	}
	row := -1
	err := v.each(g.chunk.leaf.maxDef, func(begins bool, value []byte) error {
		if begins {
			row++
		}
		if value == nil || row < 0 { // of the row before the page's first
			return nil
		}
		values[row] = value
		if counts != nil {
			counts[row]++
		}
		return nil
	})
	if err == nil {
		g.values, g.counts = values, counts
	}
	return err
}
