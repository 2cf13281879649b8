package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"distilvit/dataset"
	"distilvit/pipeline"
)

// PrepareShard reads, resizes and stores one shard's pictures. One that cannot
// be used is left out and listed with its reason.
func (a *Activities) PrepareShard(ctx context.Context, in pipeline.PrepareShardInput) (pipeline.PrepareShardResult, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.PrepareShardResult, error) {
		out := pipeline.PrepareShardResult{Shard: pipeline.Shard{Index: in.Task.Index, Split: in.Task.Split, Source: in.Task.Source}}
		proc, err := a.processor(ctx, in.Model, in.Image, in.Prepare)
		if err != nil {
			return out, err
		}
		if proc.JPEG = in.Task.JPEG; proc.JPEG == "" {
			proc.JPEG = dataset.JPEGStandard
		}
		if err := dataset.CheckJPEGDecoder(proc.JPEG); err != nil {
			return out, fmt.Errorf("%s prepares this dataset's JPEG files (so planned by a worker that has it), this worker cannot: %w; install it here too (Debian's libturbojpeg0) or on no worker", proc.JPEG, err)
		}
		raw, err := a.Store.GetBytes(ctx, stored(in.Task.Work))
		if err != nil {
			return out, err
		}
		var work []example
		if err := json.Unmarshal(raw, &work); err != nil {
			return out, fmt.Errorf("work list %s: %w", in.Task.Work.Key, err)
		}
		openers, err := a.openers(ctx, in)
		defer func() {
			for _, o := range openers {
				o.Close()
			}
		}()
		if err != nil {
			return out, err
		}
		s := &shardWork{openers: openers, proc: proc, examples: work, pulse: p}
		dir, done, err := a.scratch("shard")
		if err != nil {
			return out, err
		}
		defer done()
		path := filepath.Join(dir, "shard.parquet")
		if out.Shard.Rows, err = s.write(ctx, path); err != nil {
			return out, err
		}
		o, err := a.Store.PutBlob(ctx, in.Dataset, ".parquet", path)
		if err != nil {
			return out, err
		}
		out.Shard.Object, out.Turned, out.JPEGs, out.Bad = object(o), s.turned, s.jpegs, len(s.bad)
		if out.Bad > 0 {
			list, err := json.Marshal(s.bad)
			if err != nil {
				return out, err
			}
			out.BadList, err = a.putBlob(ctx, in.Dataset, ".json", list)
			return out, err
		}
		return out, nil
	})
}

func (a *Activities) openers(ctx context.Context, in pipeline.PrepareShardInput) ([]*dataset.Opener, error) {
	var out []*dataset.Opener
	for _, s := range in.Sources {
		o, err := dataset.NewOpener(Spec(s.Source, in.Prepare), a.files(s))
		if err != nil {
			return out, orInvalid(ctx, err)
		}
		out = append(out, o)
	}
	return out, nil
}

// shardWork is a shard in the making.
type shardWork struct {
	openers  []*dataset.Opener
	proc     dataset.Processor
	examples []example
	pulse    *pulse

	bad    []badExample
	turned int
	jpegs  int
}

// prepared is what became of one example.
type prepared struct {
	row    dataset.Row
	turned bool
	jpeg   bool
	reason string // why it is left out
}

// write makes the shard's file and answers its rows.
func (s *shardWork) write(ctx context.Context, path string) (int, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := dataset.WriteShard(f, s.proc.Width, s.proc.Height, s.rows(ctx))
	if err != nil {
		return n, err
	}
	return n, f.Close()
}

// rows decodes and packs on all processors, a few pictures ahead, and yields in order.
func (s *shardWork) rows(ctx context.Context) iter.Seq2[dataset.Row, error] {
	return func(yield func(dataset.Row, error) bool) {
		ahead := 2 * runtime.GOMAXPROCS(0)
		done := 0
		for part := range slices.Chunk(s.examples, ahead) {
			results := make([]prepared, len(part))
			g, gctx := errgroup.WithContext(ctx)
			g.SetLimit(runtime.GOMAXPROCS(0))
			for i, e := range part {
				g.Go(func() (err error) {
					results[i], err = s.prepare(gctx, e)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				yield(dataset.Row{}, err)
				return
			}
			for i, r := range results {
				done++
				if r.reason != "" {
					s.bad = append(s.bad, badExample{part[i].ID, part[i].Split, r.reason})
					continue
				}
				if r.turned {
					s.turned++
				}
				if r.jpeg {
					s.jpegs++
				}
				if !yield(r.row, nil) {
					return
				}
			}
			s.pulse.progress("prepare", int64(done), int64(len(s.examples)), "")
		}
	}
}

// prepare reads one picture. Only storage's failures are errors.
func (s *shardWork) prepare(ctx context.Context, e example) (prepared, error) {
	if e.Source >= len(s.openers) {
		return prepared{}, invalid("example %s names source %d of %d", e.ID, e.Source, len(s.openers))
	}
	raw, err := s.openers[e.Source].Open(ctx, e.Image)
	if err != nil {
		var archive *dataset.ArchiveError
		switch {
		case errors.As(err, &archive):
			return prepared{}, orInvalid(ctx, err)
		case ctx.Err() != nil || kindOf(err) != "":
			return prepared{}, err
		}
		return prepared{reason: err.Error()}, nil
	}
	rgb, turned, err := s.proc.Pixels(raw)
	if err != nil {
		return prepared{reason: err.Error()}, nil
	}
	if len(e.Captions) == 0 {
		return prepared{reason: "no caption"}, nil
	}
	row := dataset.Row{ID: e.ID, Group: e.Group, Captions: e.Captions, Pixels: rgb}
	if err := row.Pack(s.proc.Width, s.proc.Height); err != nil {
		return prepared{}, err
	}
	return prepared{row: row, turned: turned, jpeg: dataset.IsJPEG(raw)}, nil
}
