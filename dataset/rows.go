package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"distilvit/dataset/pixels"
)

// Reader makes rows of a Catalogue's examples: it reads their pictures' files and makes
// pixels of them. It is safe for concurrent use.
type Reader struct {
	openers   []*Opener // by source
	processor pixels.Processor
}

// NewReader reads from the sources that were listed together, in the same order. Close it.
func NewReader(sources []Source, p pixels.Processor) (*Reader, error) {
	r := &Reader{processor: p}
	for _, s := range sources {
		o, err := NewOpener(s.Spec, s.Files)
		if err != nil {
			return nil, err
		}
		r.openers = append(r.openers, o)
	}
	return r, nil
}

// Close closes the sources' files.
func (r *Reader) Close() error {
	var errs []error
	for _, o := range r.openers {
		errs = append(errs, o.Close())
	}
	return errors.Join(errs...)
}

// Bad is an example that cannot be used: its picture is missing or broken, or it has no
// caption. Lists of them are stored as JSON beside what was prepared.
type Bad struct {
	ID     string `json:"id"`     // the example's
	Split  string `json:"split"`  // Train, Validation or Test
	Reason string `json:"reason"` // one line, for people
}

// Error is the reason behind the id.
func (b *Bad) Error() string { return b.ID + ": " + b.Reason }

// Tally is what became of the examples that Reader.Rows was given.
type Tally struct {
	Rows   int   // examples that became rows
	Bad    []Bad // the others
	Turned int   // pictures whose EXIF orientation is not upright, turned or not
	JPEGs  int   // pictures that were JPEG files
}

// outcome is what became of one example.
type outcome struct {
	row          Row
	turned, jpeg bool
	bad          *Bad
}

// Row reads one example. An error of type *Bad is the example's fault; all others, such
// as a *SourceError, are not.
func (r *Reader) Row(ctx context.Context, e Example) (Row, error) {
	o, err := r.read(ctx, e)
	if err == nil && o.bad != nil {
		err = o.bad
	}
	return o.row, err
}

// File reads the file of an example's picture, as it is. Errors are as Row's.
func (r *Reader) File(ctx context.Context, e Example) ([]byte, error) {
	if e.Source < 0 || e.Source >= len(r.openers) {
		return nil, &SourceError{
			fmt.Errorf("example %s: names source %d of %d", e.ID, e.Source, len(r.openers)),
		}
	}
	raw, err := r.openers[e.Source].Open(ctx, e.Image)
	if err == nil {
		return raw, nil
	}
	var source *SourceError
	var unread *readError
	if errors.As(err, &source) || errors.As(err, &unread) || ctx.Err() != nil {
		return nil, err
	}
	return nil, &Bad{e.ID, e.Split, err.Error()}
}

// read reads one example. Only what is not the example's fault is an error.
func (r *Reader) read(ctx context.Context, e Example) (outcome, error) {
	bad := func(reason string) (outcome, error) { return outcome{bad: &Bad{e.ID, e.Split, reason}}, nil }
	raw, err := r.File(ctx, e)
	var b *Bad
	if errors.As(err, &b) {
		return outcome{bad: b}, nil
	}
	if err != nil {
		return outcome{}, err
	}
	rgb, turned, err := r.processor.Pixels(raw)
	if err != nil {
		return bad(err.Error())
	}
	if len(e.Captions) == 0 {
		return bad("no caption")
	}
	row := Row{ID: e.ID, Group: e.Group, Captions: e.Captions, Pixels: rgb}
	return outcome{row: row, turned: turned, jpeg: pixels.IsJPEG(raw)}, nil
}

// Rows yields the rows of examples in order, packed for WriteShard, and counts in t what
// becomes of each: a bad one is left out. It reads a few examples ahead, on all
// processors, and tells done, unless that is nil, how many it is through with.
func (r *Reader) Rows(
	ctx context.Context, examples []Example, t *Tally, done func(n int),
) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		through := 0
		for part := range slices.Chunk(examples, 2*runtime.GOMAXPROCS(0)) {
			outcomes, err := r.readAll(ctx, part)
			if err != nil {
				yield(Row{}, err)
				return
			}
			for _, o := range outcomes {
				if t.count(o) && !yield(o.row, nil) {
					return
				}
			}
			if through += len(part); done != nil {
				done(through)
			}
		}
	}
}

// readAll reads and packs some examples on all processors.
func (r *Reader) readAll(ctx context.Context, examples []Example) ([]outcome, error) {
	outcomes := make([]outcome, len(examples))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, e := range examples {
		g.Go(func() (err error) {
			o := &outcomes[i]
			if *o, err = r.read(gctx, e); err != nil || o.bad != nil {
				return err
			}
			return o.row.Pack(r.processor.Width, r.processor.Height)
		})
	}
	return outcomes, g.Wait()
}

// count says whether the example became a row.
func (t *Tally) count(o outcome) bool {
	if o.bad != nil {
		t.Bad = append(t.Bad, *o.bad)
		return false
	}
	t.Rows++
	if o.turned {
		t.Turned++
	}
	if o.jpeg {
		t.JPEGs++
	}
	return true
}

// sourceReader reads a source's file and marks the errors of reading: they are the
// store's or the disk's, not the fault of the picture that was to be read.
type sourceReader struct{ io.ReaderAt }

// readError is an error of reading.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// ReadAt reads len(p) bytes at off. Errors are a *readError but for io.EOF: a picture
// that is said to lie behind the file's end is a broken one.
func (r sourceReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &readError{err}
	}
	return n, err
}
