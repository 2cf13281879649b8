package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/pipeline"
)

// PrepareShard reads, resizes and stores one shard's pictures. One that cannot
// be used is left out and listed with its reason.
func (a *Activities) PrepareShard(
	ctx context.Context, in pipeline.PrepareShardInput,
) (pipeline.PrepareShardResult, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.PrepareShardResult, error) {
		out := pipeline.PrepareShardResult{
			Shard: record.Shard{Index: in.Task.Index, Split: in.Task.Split, Source: in.Task.Source},
		}
		proc, err := a.processor(ctx, in.Model, in.Image, in.Prepare)
		if err != nil {
			return out, err
		}
		proc.JPEG = in.Task.JPEG
		if in.Sources, err = a.shardSources(ctx, in); err != nil {
			return out, err
		}
		if err := pixels.CheckJPEGDecoder(proc.JPEG); err != nil {
			err = fmt.Errorf("%s prepares this dataset's JPEG files (so planned by a worker that has "+
				"it), this worker cannot: %w; install it here too (Debian's libturbojpeg0) or on no worker",
				proc.JPEG, err)
			return out, a.elsewhere(ctx, pipeline.TaskQueue, err)
		}
		raw, err := a.Store.GetBytes(ctx, in.Task.Work)
		if err != nil {
			return out, err
		}
		var work []dataset.Example
		if err := json.Unmarshal(raw, &work); err != nil {
			return out, fmt.Errorf("work list %s: %w", in.Task.Work.Key, err)
		}
		dir, done, err := a.scratch("shard")
		if err != nil {
			return out, err
		}
		defer done()
		path := filepath.Join(dir, "shard.parquet")
		tally, err := a.writeShard(ctx, path, in, proc, work, p)
		if err != nil {
			return out, err
		}
		o, err := a.Store.PutBlob(ctx, in.Dataset, ".parquet", path)
		if err != nil {
			return out, err
		}
		out.Shard.Object, out.Shard.Rows = o, tally.Rows
		out.Turned, out.JPEGs, out.Bad = tally.Turned, tally.JPEGs, len(tally.Bad)
		if out.Bad > 0 {
			list, err := json.Marshal(tally.Bad)
			if err != nil {
				return out, err
			}
			out.BadList, err = artifact.PutBlob(ctx, a.Store, in.Dataset, ".json", list)
			return out, err
		}
		return out, nil
	})
}

// writeShard makes the shard's file of the examples.
func (a *Activities) writeShard(
	ctx context.Context, path string, in pipeline.PrepareShardInput, proc pixels.Processor,
	examples []dataset.Example, p *pulse,
) (tally dataset.Tally, err error) {
	sources, err := a.sources(ctx, in.Sources, in.Prepare)
	if err != nil {
		return tally, err
	}
	reader, err := dataset.NewReader(sources, proc)
	if err != nil {
		return tally, orInvalid(ctx, err)
	}
	defer reader.Close()
	f, err := os.Create(path)
	if err != nil {
		return tally, err
	}
	defer f.Close()
	rows := reader.Rows(ctx, examples, &tally, func(done int) {
		p.progress("prepare", int64(done), int64(len(examples)), "")
	})
	if _, err := dataset.WriteShard(f, proc.Width, proc.Height, rows); err != nil {
		var source *dataset.SourceError
		if errors.As(err, &source) {
			err = orInvalid(ctx, err)
		}
		return tally, err
	}
	return tally, f.Close()
}
