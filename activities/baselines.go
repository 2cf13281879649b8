package activities

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/metrics"
	"distilvit/pipeline"
)

// What baselines look at, at most: some seconds of CPU time.
const (
	baselineTrained = 10_000 // training pictures, in shards spread evenly over all
	baselineAsked   = 1_000  // pictures of the evaluated ones, spread evenly
)

// trained is what baselines know of the training pictures.
type trained struct {
	thumbnails []dataset.Thumbnail
	captions   []string // the first of each
	commonest  string   // of all captions, the first of equally frequent ones
	pixels     int      // bytes of a picture
}

// baselines scores what needs no model, on the words that the model is scored on.
func (a *Activities) baselines(
	ctx context.Context, in pipeline.EvaluateInput, predictions []metrics.Prediction, rule metrics.WordRule,
) (*record.Baselines, error) {
	m, err := artifact.ReadDataset(ctx, a.Store, in.Work.Dataset.Manifest)
	if err != nil {
		return nil, err
	}
	known, err := a.trained(ctx, spreadShards(ofSplit(m.Shards, dataset.Train), baselineTrained))
	if err != nil {
		return nil, err
	}
	n := min(len(predictions), baselineAsked)
	nearest, commonest := make([]metrics.Prediction, n), make([]metrics.Prediction, n)
	rows := make([]int, n)
	for i := range n {
		rows[i] = i * len(predictions) / n
		nearest[i] = predictions[rows[i]]
		nearest[i].TokenIDs = nil
		commonest[i] = nearest[i]
		commonest[i].Caption = known.commonest
	}
	if err := a.fillNearest(ctx, ofSplit(m.Shards, in.Split), rows, known, nearest); err != nil {
		return nil, err
	}
	return &record.Baselines{
		Trained:   len(known.captions),
		Caption:   known.commonest,
		Commonest: artifact.Evaluation(commonest, rule).Scores,
		Nearest:   artifact.Evaluation(nearest, rule).Scores,
	}, nil
}

func ofSplit(shards []record.Shard, split string) []record.Shard {
	return slices.DeleteFunc(slices.Clone(shards), func(s record.Shard) bool { return s.Split != split })
}

// spreadShards are as many shards, spread evenly, as have at most rows together; one at least.
func spreadShards(all []record.Shard, rows int) []record.Shard {
	least := rows
	for _, s := range all {
		least = min(least, max(1, s.Rows))
	}
	for n := min(len(all), rows/max(1, least)); n > 1; n-- { // more have more rows, whichever they are
		some, sum := make([]record.Shard, n), 0
		for i := range some {
			some[i] = all[i*len(all)/n]
			sum += some[i].Rows
		}
		if sum <= rows {
			return some
		}
	}
	return all[:min(1, len(all))]
}

// trained reads training shards.
func (a *Activities) trained(ctx context.Context, shards []record.Shard) (trained, error) {
	type part struct {
		trained
		all []string
	}
	parts := make([]part, len(shards))
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i, s := range shards {
		work.Go(func() error {
			shard, done, err := a.openShard(ctx, s)
			if err != nil {
				return err
			}
			defer done()
			p := &parts[i]
			for row, err := range shard.Rows() {
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					return err
				}
				p.thumbnails = append(p.thumbnails, dataset.NewThumbnail(row.Pixels))
				p.captions = append(p.captions, row.Captions[0])
				p.all = append(p.all, row.Captions...)
				p.pixels = len(row.Pixels)
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return trained{}, err
	}
	var out trained
	counts := map[string]int{}
	for _, p := range parts {
		out.thumbnails = append(out.thumbnails, p.thumbnails...)
		out.captions = append(out.captions, p.captions...)
		out.pixels = max(out.pixels, p.pixels)
		for _, c := range p.all {
			counts[c]++
		}
	}
	for _, p := range parts {
		for _, c := range p.all {
			if counts[c] > counts[out.commonest] {
				out.commonest = c
			}
		}
	}
	return out, nil
}

// fillNearest gives the predictions of some rows of a split, which are counted over its shards in their order, the
// caption of the training picture that looks most alike.
func (a *Activities) fillNearest(
	ctx context.Context, shards []record.Shard, rows []int, known trained, predictions []metrics.Prediction,
) error {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	start, next := 0, 0
	for _, s := range shards {
		from := next
		for next < len(rows) && rows[next] < start+s.Rows {
			next++
		}
		mine, into, first := rows[from:next], predictions[from:next], start
		start += s.Rows
		if len(mine) == 0 {
			continue
		}
		work.Go(func() error {
			shard, done, err := a.openShard(ctx, s)
			if err != nil {
				return err
			}
			defer done()
			pixels := make([]byte, known.pixels)
			for i, row := range mine {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := shard.ReadPixels(row-first, pixels); err != nil {
					return err
				}
				t := dataset.NewThumbnail(pixels)
				into[i].Caption = known.captions[t.Nearest(known.thumbnails)]
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return err
	}
	if next < len(rows) {
		return fmt.Errorf("baselines: the shards have %d pictures, number %d was captioned", start, rows[next]+1)
	}
	return nil
}
