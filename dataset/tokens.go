package dataset

import (
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/parquet-go/parquet-go"
)

// TokenRow is the row of a token shard, aligned with the pixel shard's.
type TokenRow struct {
	ID  string    // the example's
	IDs [][]int32 // of each caption, the end token included
}

// tokenColumns is TokenRow as Parquet has it: a list of captions of lists of ids.
type tokenColumns struct {
	ID       string          `parquet:"id"`
	Captions []captionTokens `parquet:"captions,list"`
}

type captionTokens struct {
	IDs []int32 `parquet:"ids,list"`
}

// WriteTokens writes the rows as one Parquet file; the same rows make the same bytes.
func WriteTokens(w io.Writer, rows iter.Seq2[TokenRow, error]) (n int, err error) {
	return writeRows(w, rows, func(r TokenRow) (c tokenColumns, err error) {
		if r.ID == "" {
			return c, errors.New("has no id")
		}
		c = tokenColumns{ID: r.ID, Captions: make([]captionTokens, len(r.IDs))}
		for i, ids := range r.IDs {
			c.Captions[i].IDs = ids
		}
		return c, nil
	})
}

// Tokens is an open token shard; safe for concurrent use.
type Tokens struct {
	file *parquet.File
	rows int
}

// OpenTokens reads the file's footer. r must stay open while the shard is used.
func OpenTokens(r io.ReaderAt, size int64) (*Tokens, error) {
	file, starts, err := openParquet(r, size, parquet.SchemaOf(tokenColumns{}))
	if err != nil {
		return nil, fmt.Errorf("open token shard: %w", err)
	}
	return &Tokens{file: file, rows: int(starts[len(starts)-1])}, nil
}

// NumRows is the number of rows.
func (t *Tokens) NumRows() int { return t.rows }

// Rows yields the rows in order, each with memory of its own.
func (t *Tokens) Rows() iter.Seq2[TokenRow, error] {
	return func(yield func(TokenRow, error) bool) {
		for c, err := range readRows[tokenColumns](t.file, t.rows) {
			r := TokenRow{ID: c.ID, IDs: make([][]int32, len(c.Captions))}
			for i, caption := range c.Captions {
				r.IDs[i] = caption.IDs
			}
			if !yield(r, err) {
				return
			}
		}
	}
}
