package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// EvalBatch is a batch of stored order, with all that evaluation needs. K is the
// most captions of one of its pictures: Labels hold them all. With B = batch:
type EvalBatch struct {
	Batch
	Groups   []string    // N
	Captions [][]string  // N
	Tokens   [][][]int32 // N: ids of each caption, end token included
}

// Sequential yields the rows in stored order, batch pictures a time and limit
// pictures at most (0: all). The last batch is padded. Pairs with Features give these in the place of pixels.
func Sequential(ctx context.Context, shards []ShardPair, batch, limit int) iter.Seq2[*EvalBatch, error] {
	return func(yield func(*EvalBatch, error) bool) {
		if batch < 1 {
			yield(nil, fmt.Errorf("sequential: batch of %d pictures", batch))
			return
		}
		var rows []evalRow
		var step int64
		done := 0
		flush := func() bool {
			b := newEvalBatch(rows, batch, step)
			rows, step = rows[:0], step+1
			return yield(b, nil)
		}
		for row, err := range evalRows(shards) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if len(rows) > 0 && (len(row.Pixels) != len(rows[0].Pixels) || row.format != rows[0].format) {
				yield(nil, fmt.Errorf("sequential: %s has %d bytes of pixels and features %+v, %s has %d and %+v", row.ID,
					len(row.Pixels), row.format, rows[0].ID, len(rows[0].Pixels), rows[0].format))
				return
			}
			rows = append(rows, row)
			done++
			if len(rows) == batch && !flush() {
				return
			}
			if done == limit {
				break
			}
		}
		if len(rows) > 0 {
			flush()
		}
	}
}

// evalRow is a row of a pair's shards.
type evalRow struct {
	Row
	tokens [][]int32
	number uint64

	features []byte // in the place of Pixels, as format says; nil: there are pixels
	format   FeaturesFormat
}

func evalRows(shards []ShardPair) iter.Seq2[evalRow, error] {
	return func(yield func(evalRow, error) bool) {
		var number uint64
		for _, pair := range shards {
			err := withFile(pair.Pixels, func(pixels io.ReaderAt, pixelSize int64) error {
				return withFile(pair.Tokens, func(tokens io.ReaderAt, tokenSize int64) error {
					s, err := OpenShard(pixels, pixelSize)
					if err != nil {
						return err
					}
					t, err := OpenTokens(tokens, tokenSize)
					if err != nil {
						return err
					}
					rows := zipRows(s, s.Rows(), t)
					show := func(rows iter.Seq2[evalRow, error]) error {
						for row, err := range rows {
							row.number = number
							number++
							if err != nil {
								return err
							}
							if !yield(row, nil) {
								return errStopped
							}
						}
						return nil
					}
					if pair.Features == "" {
						return show(rows)
					}
					return withFile(pair.Features, func(r io.ReaderAt, size int64) error {
						rows, err := encodedRows(r, size, s, t)
						if err != nil {
							return fmt.Errorf("%s: %w", pair.Features, err)
						}
						return show(rows)
					})
				})
			})
			if errors.Is(err, errStopped) {
				return
			}
			if err != nil {
				yield(evalRow{}, fmt.Errorf("shard %s: %w", pair.Pixels, err))
				return
			}
		}
	}
}

// errStopped ends reading because nobody wants more.
var errStopped = errors.New("stopped")

// encodedRows are the rows with their first view of an open file of features in the place of pixels, which are not read.
func encodedRows(r io.ReaderAt, size int64, s *Shard, t *Tokens) (iter.Seq2[evalRow, error], error) {
	f, err := OpenFeatures(r, size)
	if err != nil {
		return nil, err
	}
	ids, err := s.IDs()
	if err != nil {
		return nil, err
	}
	if err := f.Of(ids); err != nil {
		return nil, err
	}
	return func(yield func(evalRow, error) bool) {
		n := 0
		for row, err := range zipRows(s, s.Captions(), t) {
			if err == nil {
				row.features, row.format = make([]byte, f.ViewBytes()), f.FeaturesFormat
				err = f.Read(n, 0, row.features)
			}
			n++
			if !yield(row, err) || err != nil {
				return
			}
		}
	}, nil
}

// zipRows joins rows of s and their tokens, which must be aligned.
func zipRows(s *Shard, rows iter.Seq2[Row, error], t *Tokens) iter.Seq2[evalRow, error] {
	return func(yield func(evalRow, error) bool) {
		if s.NumRows() != t.NumRows() {
			yield(evalRow{}, fmt.Errorf("%d rows, its tokens %d", s.NumRows(), t.NumRows()))
			return
		}
		next, stop := iter.Pull2(t.Rows())
		defer stop()
		for row, err := range rows {
			if err != nil {
				yield(evalRow{}, err)
				return
			}
			tokens, err, ok := next()
			switch {
			case !ok:
				err = errors.New("tokens end early")
			case err == nil && tokens.ID != row.ID:
				err = fmt.Errorf("a row is %s, its tokens are of %s", row.ID, tokens.ID)
			}
			if !yield(evalRow{Row: row, tokens: tokens.IDs}, err) || err != nil {
				return
			}
		}
	}
}

func newEvalBatch(rows []evalRow, batch int, step int64) *EvalBatch {
	size, encoded := len(rows[0].Pixels), rows[0].format.ViewBytes()
	b := &EvalBatch{Batch: Batch{Step: step, N: len(rows), K: 1, Rows: make([]uint64, batch), Format: rows[0].format}}
	if rows[0].features == nil {
		b.Pixels = make([]uint8, batch*size)
	} else {
		b.Features = make([]byte, batch*encoded)
	}
	for i, r := range rows {
		b.IDs = append(b.IDs, r.ID)
		b.Groups = append(b.Groups, r.Group)
		b.Captions = append(b.Captions, r.Captions)
		b.Tokens = append(b.Tokens, r.tokens)
		b.Rows[i] = r.number
		b.K = max(b.K, len(r.tokens))
		if b.Features == nil {
			copy(b.Pixels[i*size:], r.Pixels)
		} else {
			copy(b.Features[i*encoded:], r.features)
		}
	}
	b.label(b.Tokens, batch)
	return b
}
