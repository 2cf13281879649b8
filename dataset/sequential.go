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
// pictures at most (0: all). The last batch is padded.
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
			if len(rows) > 0 && len(row.Pixels) != len(rows[0].Pixels) {
				yield(nil, fmt.Errorf("sequential: %s has %d bytes of pixels, %s has %d", row.Row.ID,
					len(row.Pixels), rows[0].Row.ID, len(rows[0].Pixels)))
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

// evalRow is a row of both shards.
type evalRow struct {
	Row
	tokens [][]int32
	number uint64
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
					for row, err := range zipRows(s, t) {
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

// zipRows joins rows and their tokens, which must be aligned.
func zipRows(s *Shard, t *Tokens) iter.Seq2[evalRow, error] {
	return func(yield func(evalRow, error) bool) {
		if s.NumRows() != t.NumRows() {
			yield(evalRow{}, fmt.Errorf("%d rows, its tokens %d", s.NumRows(), t.NumRows()))
			return
		}
		next, stop := iter.Pull2(t.Rows())
		defer stop()
		for row, err := range s.Rows() {
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
	size := len(rows[0].Pixels)
	b := &EvalBatch{Batch: Batch{
		Step: step, N: len(rows), K: 1,
		Pixels: make([]uint8, batch*size), Rows: make([]uint64, batch),
	}}
	for i, r := range rows {
		b.IDs = append(b.IDs, r.ID)
		b.Groups = append(b.Groups, r.Group)
		b.Captions = append(b.Captions, r.Captions)
		b.Tokens = append(b.Tokens, r.tokens)
		b.Rows[i] = r.number
		b.K = max(b.K, len(r.tokens))
		copy(b.Pixels[i*size:], r.Pixels)
	}
	b.label(b.Tokens, batch)
	return b
}
