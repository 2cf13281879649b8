package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// Row is one example of a shard.
type Row struct {
	ID       string   // the example's
	Group    string   // the example's, reported apart; often empty
	Captions []string // one or more
	Pixels   []byte   // H*W*3 RGB, uint8; nil once packed
	packed   []byte   // the pixels as the file has them, instead
}

// Pack puts the pixels, of which there are height*width*3, into the form that
// WriteShard stores, which does so itself where nobody has. Rows may be packed on
// several processors, shards are written on one.
func (r *Row) Pack(width, height int) (err error) {
	if r.packed, err = appendPicture(make([]byte, 0, len(r.Pixels)/2), r.Pixels, width, height); err != nil {
		return fmt.Errorf("%s: %w", r.ID, err)
	}
	r.Pixels = nil
	return nil
}

// storedRow is a row as the file has it.
type storedRow struct {
	ID       string   `parquet:"id"`
	Group    string   `parquet:"group"`
	Captions []string `parquet:"captions,list"`
	Picture  []byte   `parquet:"picture"` // see lossless.go
}

// idRow is a row's id alone.
type idRow struct {
	ID string `parquet:"id"`
}

// captionRow is a row without its picture, which Parquet then does not read.
type captionRow struct {
	ID       string   `parquet:"id"`
	Group    string   `parquet:"group"`
	Captions []string `parquet:"captions,list"`
}

const (
	rowGroupRows = 64       // rows buffered while writing
	pageBytes    = 64 << 10 // a page ends after so many bytes, so one row is cheap to read alone
	bufferBytes  = 64 << 10 // of reading
)

// writerOptions make files whose bytes are a function of their rows.
func writerOptions() []parquet.WriterOption {
	return []parquet.WriterOption{
		parquet.CreatedBy("distilvit", "1", ""),
		parquet.Compression(&pageCodec{}),
		parquet.MaxRowsPerRowGroup(rowGroupRows),
		parquet.PageBufferSize(pageBytes),
		parquet.DataPageStatistics(false),
		// Bounds would hold whole pictures, in every page and the footer.
		parquet.SkipPageBounds("picture"),
		parquet.SkipPageStatistics("picture"),
	}
}

// WriteShard writes the rows as one Parquet file; the same rows make the same
// bytes. All pictures must have the same size. Rows may reuse memory once the next is asked for.
func WriteShard(w io.Writer, width, height int, rows iter.Seq2[Row, error]) (n int, err error) {
	return writeRows(w, rows, func(r Row) (out storedRow, err error) {
		if r.ID == "" {
			return out, errors.New("has no id")
		}
		if r.packed == nil {
			if err := r.Pack(width, height); err != nil {
				return out, err
			}
		}
		return storedRow{ID: r.ID, Group: r.Group, Captions: r.Captions, Picture: r.packed}, nil
	})
}

// writeRows writes one row a time, as store makes it: pages then end where they
// are full.
func writeRows[T, S any](w io.Writer, rows iter.Seq2[T, error], store func(T) (S, error)) (n int, err error) {
	pw := parquet.NewGenericWriter[S](w, writerOptions()...)
	one := make([]S, 1)
	for row, err := range rows {
		if err != nil {
			return n, err
		}
		if one[0], err = store(row); err != nil {
			return n, fmt.Errorf("write shard: row %d: %w", n, err)
		}
		if err := guard(func() error { _, err := pw.Write(one); return err }); err != nil {
			return n, fmt.Errorf("write shard: row %d: %w", n, err)
		}
		n++
	}
	if err := guard(pw.Close); err != nil {
		return n, fmt.Errorf("write shard: %w", err)
	}
	return n, nil
}

// guard turns a panic over a file's contents into an error.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("corrupt file: %v", r)
		}
	}()
	return f()
}

// Shard is an open shard; safe for concurrent use.
type Shard struct {
	file    *parquet.File
	starts  []int64 // first row of each row group, and the number of rows
	picture int     // index of the pictures' column
}

// OpenShard reads the file's footer. r must stay open while the shard is used.
func OpenShard(r io.ReaderAt, size int64) (*Shard, error) {
	file, starts, err := openParquet(r, size, parquet.SchemaOf(storedRow{}))
	if err != nil {
		return nil, fmt.Errorf("open shard: %w", err)
	}
	picture := slices.IndexFunc(
		file.Schema().Columns(), func(path []string) bool { return path[0] == "picture" },
	)
	return &Shard{file: file, starts: starts, picture: picture}, nil
}

// openParquet opens a file that must have the schema's columns.
func openParquet(
	r io.ReaderAt, size int64, want *parquet.Schema,
) (file *parquet.File, starts []int64, err error) {
	if err := checkFooter(r, size); err != nil {
		return nil, nil, err
	}
	err = guard(func() error {
		file, err = parquet.OpenFile(
			r, size, parquet.SkipBloomFilters(true), parquet.ReadBufferSize(bufferBytes),
		)
		if err != nil {
			return err
		}
		if !parquet.EqualNodes(want, file.Schema()) {
			return fmt.Errorf("columns are %v, not %v", file.Schema(), want)
		}
		for _, g := range file.Metadata().RowGroups {
			for _, c := range g.Columns {
				if codec := c.MetaData.Codec; codec != format.Zstd && codec != format.Uncompressed {
					return fmt.Errorf("column %v is compressed with %v; shards use zstd",
						c.MetaData.PathInSchema, codec)
				}
			}
		}
		var rows int64
		for _, g := range file.RowGroups() {
			if g.NumRows() < 0 {
				return errors.New("corrupt file: a row group of a negative size")
			}
			starts = append(starts, rows)
			rows += g.NumRows()
		}
		starts = append(starts, rows)
		if rows != file.NumRows() || rows > size*1024 {
			return fmt.Errorf("corrupt file: %d rows in row groups, %d in the footer", rows, file.NumRows())
		}
		return nil
	})
	return file, starts, err
}

// checkFooter compares the footer's length with the file's, which parquet-go
// allocates without asking.
func checkFooter(r io.ReaderAt, size int64) error {
	const magic = "PAR1"
	var end [8]byte
	if size < int64(len(magic)+len(end)) {
		return errNotParquet
	}
	if n, err := r.ReadAt(end[:], size-int64(len(end))); n < len(end) {
		return err
	}
	footer := int64(binary.LittleEndian.Uint32(end[:]))
	if string(end[4:]) != magic || footer > size-int64(len(magic)+len(end)) {
		return errNotParquet
	}
	return nil
}

var errNotParquet = errors.New("not a Parquet file, or one cut short")

// NumRows is the number of rows.
func (s *Shard) NumRows() int { return int(s.starts[len(s.starts)-1]) }

// Rows yields the rows in order, each with memory of its own.
func (s *Shard) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for stored, err := range readRows[storedRow](s.file, s.NumRows()) {
			row := Row{ID: stored.ID, Group: stored.Group, Captions: stored.Captions}
			if err == nil {
				if row.Pixels, err = pixelsOf(stored.Picture); err != nil {
					err = fmt.Errorf("read shard: %s: %w", row.ID, err)
				}
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// Captions yields the rows in order without their pixels, which it does not read.
func (s *Shard) Captions() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for r, err := range readRows[captionRow](s.file, s.NumRows()) {
			if !yield(Row{ID: r.ID, Group: r.Group, Captions: r.Captions}, err) {
				return
			}
		}
	}
}

// ids yields the rows' ids in order.
func (s *Shard) ids() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for r, err := range readRows[idRow](s.file, s.NumRows()) {
			if !yield(r.ID, err) {
				return
			}
		}
	}
}

// readRows yields want rows or ends with an error.
func readRows[T any](file *parquet.File, want int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		var reader *parquet.GenericReader[T]
		err := guard(func() error { reader = parquet.NewGenericReader[T](file); return nil })
		if err != nil {
			yield(zero, fmt.Errorf("read shard: %w", err))
			return
		}
		defer guard(reader.Close)
		buf := make([]T, 8)
		for done := 0; done < want; {
			var n int
			clear(buf)
			err := guard(
				func() (err error) { n, err = reader.Read(buf[:min(len(buf), want-done)]); return err },
			)
			for _, row := range buf[:n] {
				if !yield(row, nil) {
					return
				}
			}
			done += n
			if errors.Is(err, io.EOF) {
				err = nil
			}
			if err == nil && n == 0 {
				err = fmt.Errorf("corrupt file: ends after %d of %d rows", done, want)
			}
			if err != nil {
				yield(zero, fmt.Errorf("read shard: %w", err))
				return
			}
		}
	}
}

// ReadPixels copies the pixels of one row into dst, whose length must be theirs. It
// reads the row's page and no other.
func (s *Shard) ReadPixels(row int, dst []byte) error {
	if row < 0 || row >= s.NumRows() {
		return fmt.Errorf("read pixels: row %d of %d", row, s.NumRows())
	}
	group, found := slices.BinarySearch(s.starts, int64(row))
	if !found {
		group--
	}
	err := guard(func() error {
		pages := s.file.RowGroups()[group].ColumnChunks()[s.picture].Pages()
		defer pages.Close()
		if err := pages.SeekToRow(int64(row) - s.starts[group]); err != nil {
			return err
		}
		page, err := pages.ReadPage()
		if err != nil {
			return err
		}
		defer parquet.Release(page)
		data := page.Data()
		values, offsets := data.ByteArray()
		if len(offsets) < 2 {
			return errors.New("corrupt file: an empty page")
		}
		return restorePicture(dst, values[offsets[0]:offsets[1]])
	})
	if err != nil {
		return fmt.Errorf("read pixels of row %d: %w", row, err)
	}
	return nil
}
