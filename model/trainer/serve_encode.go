package trainer

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"distilvit/dataset"
	"distilvit/model/train"
	"distilvit/storage/layout"
)

// encodeBatch is how many pictures are encoded at once. A picture's numbers may depend on it in their last bits.
const encodeBatch = 8

// encode writes the frozen encoder's vectors of a shard's pictures.
func (s *server) encode(ctx context.Context, a EncodeArgs) error {
	begun := time.Now()
	if s.trainer == nil {
		return errorf(InvalidInput, "command before open")
	}
	if err := train.CheckFeatures(s.config, s.args.Train); err != nil {
		return &Error{Kind: InvalidInput, Message: err.Error()}
	}
	f, err := os.Open(a.Pixels)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	shard, err := dataset.OpenShard(f, info.Size())
	var ids []string
	if err == nil {
		ids, err = shard.IDs()
	}
	if err != nil {
		return &Error{Kind: Corrupt, Message: fmt.Sprintf("shard %s: %v", a.Pixels, err)}
	}
	e := &encoding{server: s, ctx: ctx, a: a, shard: shard, rows: len(ids)}
	file, err := train.WriteFile(a.Out, func(w io.Writer) error {
		return dataset.WriteFeatures(w, a.Format, ids, e.pictures)
	})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("encode %s: %w", a.Pixels, err)
	}
	s.send(Event{Event: EventDone, Encoded: &Encoded{
		File: file, Rows: len(ids), Seconds: time.Since(begun).Seconds(),
	}})
	return nil
}

// encoding is the run of one encode command.
type encoding struct {
	*server
	ctx   context.Context
	a     EncodeArgs
	shard *dataset.Shard
	rows  int
}

// pictures yields the numbers of each row's views.
func (e *encoding) pictures(yield func([]float32, error) bool) {
	c := dataset.LoaderConfig{Seed: e.a.Seed, Augment: e.a.Augment, Width: e.pixels.Width, Height: e.pixels.Height}
	size, row := e.a.Format.Tokens*e.a.Format.Width, make([]float32, 0, e.a.Format.Views*e.a.Format.Tokens*e.a.Format.Width)
	done, report := 0, throttle{}
	var batch []uint8
	n := 0
	// flush encodes the n pictures of the batch, always as many at once: the rest is padding
	flush := func() bool {
		if n == 0 {
			return true
		}
		x, err := e.vectors(batch, n)
		if err == nil && len(x) < n*size {
			err = fmt.Errorf("%d numbers of %d pictures, not %d each", len(x), n, size)
		}
		if err != nil {
			yield(nil, err)
			return false
		}
		for i := range n {
			row = append(row, x[i*size:(i+1)*size]...)
			if len(row) < cap(row) {
				continue
			}
			if !yield(row, nil) {
				return false
			}
			row, done = row[:0], done+1
		}
		if report.due() || done == e.rows {
			e.send(Event{Event: EventProgress, Phase: PhaseEncode, Done: int64(done), Total: int64(e.rows)})
		}
		batch, n = batch[:0], 0
		return true
	}
	for picture, err := range e.shard.Views(c, e.a.Format.Views, e.a.First) {
		if err == nil {
			err = e.ctx.Err()
		}
		if err != nil {
			yield(nil, err)
			return
		}
		batch = append(batch, picture...)
		if n++; n == encodeBatch && !flush() {
			return
		}
	}
	flush()
}

// vectors encodes n pictures.
func (e *encoding) vectors(pixels []uint8, n int) ([]float32, error) {
	if e.compiling("encoder", fmt.Sprintf("for %d pictures", encodeBatch)) {
		defer func() { e.phase(PhaseEncode, "") }()
	}
	whole := append(pixels, make([]uint8, (encodeBatch-n)*len(pixels)/n)...)
	return e.trainer.Encode(whole, encodeBatch)
}

// EncodeArgs are a shard of pictures whose features are asked for. It needs an open child that trains no encoder.
type EncodeArgs struct {
	Pixels string                 `json:"pixels"` // path of the shard
	First  int                    `json:"first"`  // number of its first row, counted through all training shards
	Format dataset.FeaturesFormat `json:"format"`
	Out    string                 `json:"out"` // path of what dataset.WriteFeatures writes

	// of the views, as a Loader changes pictures; zero: they are not changed
	Seed    uint64          `json:"seed,omitempty"`
	Augment dataset.Augment `json:"augment,omitzero"`
}

// Encoded is what became of an encode command.
type Encoded struct {
	File    layout.Object `json:"file"` // as it was written, without key
	Rows    int           `json:"rows"`
	Seconds float64       `json:"seconds"`
}
