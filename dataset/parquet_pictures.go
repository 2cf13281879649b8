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
}

// picturePage is decoded once for all its pictures.
type picturePage struct {
	chunk *chunk
	page  page
	dict  *page
	first int64 // row of the row group

	mu     sync.Mutex
	values [][]byte // by row; nil: not decoded
}

func openPictures(ctx context.Context, f File, column string) (*pictureTable, error) {
	r, size, closer, err := f.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", f.Name, err)
	}
	p := &pictureTable{name: f.Name, closer: closer, groups: map[int]*groupPages{}}
	if p.t, err = openTable(r, size); err == nil {
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
		return nil, fmt.Errorf("row %d of %s: a picture of %d bytes, more than %d", row, p.name, len(b), maxPictureBytes)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("row %d of %s: holds no picture's bytes", row, p.name)
	}
	return bytes.Clone(b), nil
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
	for g.rows <= row {
		at, dict := g.chunk.at, g.chunk.dict
		next, err := g.chunk.nextPage()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("corrupt: row group %d has %d pictures", group, g.rows)
		}
		if err != nil {
			g.chunk.at, g.chunk.dict = at, dict // the store may answer the next time
			return nil, err
		}
		if next.values == 0 {
			continue
		}
		g.pages = append(g.pages, &picturePage{chunk: g.chunk, page: next, dict: g.chunk.dict, first: g.rows})
		g.rows += int64(next.values)
	}
	for _, found := range g.pages {
		if row < found.first+int64(found.page.values) {
			return found, nil
		}
	}
	return nil, errors.New("corrupt: a page without rows")
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
		g.values = make([][]byte, v.n)
		for i := range g.values {
			if v.def == nil || v.def[i] == uint32(g.chunk.leaf.maxDef) {
				g.values[i], v.values = v.values[0], v.values[1:]
			}
		}
	}
	return g.values[row-g.first], nil
}
