package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/dataset/pixels"
	"distilvit/pipeline"
	"distilvit/pipeline/sources"
	"distilvit/storage/layout"
)

// shardBytes bounds the pixels of a shard.
const shardBytes = 64 << 20

func pixelsOf(p pixels.Processor) record.Pixels {
	jpeg := p.JPEG
	if jpeg == pixels.JPEGStandard {
		jpeg = ""
	}
	return record.Pixels{
		Width: p.Width, Height: p.Height, Resample: p.Resample, ExifOrientation: p.ExifOrientation, JPEG: jpeg,
		MaxPixels:    p.MaxPixels,
		ShortestEdge: p.Resized.ShortestEdge, ResizedWidth: p.Resized.Width, ResizedHeight: p.Resized.Height,
	}
}

// PlanPrepare lists every example and cuts the lists into shards, unless the
// same dataset is prepared already.
func (a *Activities) PlanPrepare(ctx context.Context, in pipeline.PlanInput) (pipeline.Plan, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.Plan, error) {
		proc, err := a.processor(ctx, in.Model, in.Image, in.Prepare)
		if err != nil {
			return pipeline.Plan{}, err
		}
		var key string
		key, proc.JPEG, err = chooseDecoder(in, proc)
		if err != nil {
			return pipeline.Plan{}, err
		}
		plan := pipeline.Plan{Dataset: layout.Dataset(key)}
		if err := a.adopt(ctx, in.Run, plan.Dataset); err != nil {
			return plan, err
		}
		needed, err := artifact.Unprepared(ctx, a.Store, plan.Dataset)
		if err != nil {
			return plan, err
		}
		if needed != nil && len(needed) == 0 {
			plan.Reused = true
			return plan, nil
		}
		plan.Warnings = madeAgain("picture", plan.Dataset, len(needed))
		p.progress("list", 0, 0, "")
		dir, done, err := a.scratch("plan")
		if err != nil {
			return plan, err
		}
		defer done()
		from, err := a.sources(ctx, in.Sources, in.Prepare)
		if err != nil {
			return plan, err
		}
		list, err := dataset.Catalog(ctx, dir, from, in.Seed)
		if err != nil {
			return plan, orInvalid(ctx, err)
		}
		defer list.Close()
		if err := enough(list); err != nil {
			return plan, err
		}
		rows := max(1, min(in.Prepare.ShardRows, shardBytes/(3*proc.Width*proc.Height)))
		index, tasks := 0, pagerOf[pipeline.ShardTask](a, plan.Dataset)
		for task, part := range shardTasks(list, rows, weighted(in.Sources)) {
			task.Index, task.JPEG = index, proc.JPEG
			index++
			plan.Examples += len(part)
			if needed != nil && !needed[task.Index] {
				continue
			}
			if task.Work, err = a.putWork(ctx, plan.Dataset, list, part); err != nil {
				return plan, err
			}
			if err := tasks.Add(ctx, task); err != nil {
				return plan, err
			}
			p.progress("plan", int64(plan.Examples), 0, task.Split)
		}
		if err := a.listTasks(ctx, &plan, tasks, in.Sources); err != nil {
			return plan, err
		}
		_, err = a.Store.PutJSON(ctx, layout.Plan(plan.Dataset), record.PreparePlan{
			Pixels: pixelsOf(proc), Examples: plan.Examples, Warnings: list.Warnings,
		})
		return plan, err
	})
}

// madeAgain warns of shards that a manifest names and that are not in the store.
func madeAgain(kind, group string, missing int) []string {
	if missing == 0 {
		return nil
	}
	return []string{fmt.Sprintf("missing in the object store and made again: %d %s shards of %s", missing, kind, group)}
}

// putWork stores a shard's list of examples.
func (a *Activities) putWork(
	ctx context.Context, key string, list *dataset.Catalogue, part []int32,
) (layout.Object, error) {
	examples, err := list.Examples(part)
	if err != nil {
		return layout.Object{}, err
	}
	work, err := json.Marshal(examples)
	if err != nil {
		return layout.Object{}, err
	}
	return artifact.PutBlob(ctx, a.Store, key, ".json", work)
}

// chooseDecoder answers the dataset's key and the decoder of all its JPEGs, whichever
// workers prepare them: the one that the run has had, or the better one of this
// worker. Generated pictures need none.
func chooseDecoder(in pipeline.PlanInput, proc pixels.Processor) (key, decoder string, err error) {
	generated := !slices.ContainsFunc(
		in.Sources, func(s pipeline.DownloadResult) bool { return s.Source.Kind != pipeline.KindShapes },
	)
	choices := []string{pixels.JPEGDecoder()}
	if generated {
		choices = []string{pixels.JPEGStandard}
	} else if in.Dataset != "" {
		choices = append(choices, pixels.JPEGTurbo, pixels.JPEGStandard)
	}
	for _, decoder := range choices {
		proc.JPEG = decoder
		if key, err = prepareKey(in, proc); err != nil || in.Dataset == layout.Dataset(key) {
			return key, decoder, err
		}
	}
	proc.JPEG = choices[0]
	key, err = prepareKey(in, proc)
	return key, proc.JPEG, err
}

// shardTasks cuts the examples into shards, split by split. Training pictures of
// sources with weights are not mixed: a weight is a shard's. Validation pictures stay
// mixed, since an evaluation may stop early.
func shardTasks(list *dataset.Catalogue, rows int, apart bool) iter.Seq2[pipeline.ShardTask, []int32] {
	return func(yield func(pipeline.ShardTask, []int32) bool) {
		for _, split := range []string{dataset.Train, dataset.Validation, dataset.Test} {
			lists := [][]int32{list.Split(split)}
			if apart && split == dataset.Train {
				lists = list.Apart(split)
			}
			for source, numbers := range lists {
				for part := range slices.Chunk(numbers, rows) {
					if !yield(pipeline.ShardTask{Split: split, Source: source, Rows: len(part)}, part) {
						return
					}
				}
			}
		}
	}
}

// prepareKey names the dataset by all that determines its bytes.
func prepareKey(in pipeline.PlanInput, proc pixels.Processor) (string, error) {
	type source struct {
		Digest string
		Spec   dataset.Spec
	}
	k := struct {
		Stage     string
		Version   int
		Sources   []source
		Pixels    record.Pixels
		ShardRows int
		Seed      uint64
		Apart     bool `json:",omitempty"` // not the weights themselves: they choose among stored pictures
	}{
		Stage: "prepare", Version: prepareVersion, Pixels: pixelsOf(proc), ShardRows: in.Prepare.ShardRows,
		Apart: weighted(in.Sources),
	}
	for _, s := range in.Sources {
		k.Sources = append(k.Sources, source{s.Digest, sources.Spec(s.Source, in.Prepare)})
		if s.Source.Kind == pipeline.KindShapes {
			k.Seed = in.Seed // scenes are drawn by it, files do not depend on it
		}
	}
	return artifact.Digest(k)
}

// enough makes sure that there is something to train on and to choose by.
func enough(list *dataset.Catalogue) error {
	for _, split := range []string{dataset.Train, dataset.Validation} {
		if len(list.Split(split)) == 0 {
			return invalid("dataset: no %s pictures; give a source with split %s, or one without a split "+
				"and a larger prepare.validation_fraction or more pictures", split, split)
		}
	}
	return nil
}

// processor is the given model's, or the usual one for side.
func (a *Activities) processor(
	ctx context.Context, ref record.ModelRef, side int, o pipeline.PrepareConfig,
) (pixels.Processor, error) {
	proc := pixels.NewProcessor(side)
	if _, ok := ref.Files["preprocessor_config.json"]; ok {
		dir, err := a.modelDir(ctx, ref, false)
		if err != nil {
			return proc, err
		}
		if proc, err = pixels.ReadProcessor(dir); err != nil {
			return proc, orInvalid(ctx, err)
		}
	}
	proc.ExifOrientation, proc.MaxPixels = o.ExifOrientation, o.MaxPixels
	if o.MaxPixels == pixels.DefaultMaxPixels {
		proc.MaxPixels = 0 // the same dataset as without a word
	}
	return proc, nil
}

// FinishPrepare publishes the dataset, unless too much of it was bad. Without
// shards it answers from what is published.
func (a *Activities) FinishPrepare(
	ctx context.Context, in pipeline.FinishPrepareInput,
) (pipeline.Dataset, error) {
	return run(ctx, func(ctx context.Context, _ *pulse) (pipeline.Dataset, error) {
		key := layout.Manifest(in.Dataset)
		m, err := artifact.ReadDataset(ctx, a.Store, key)
		if len(in.Shards)+len(in.Pages) > 0 && artifact.NotFound(err) {
			if m, err = a.datasetManifest(ctx, in); err == nil {
				err = artifact.PublishDataset(ctx, a.Store, in.Dataset, &m, a.pageShards())
			}
		}
		if err != nil {
			return pipeline.Dataset{}, err
		}
		missing, err := artifact.Missing(ctx, a.Store, in.Dataset, m.Objects())
		if err != nil {
			return pipeline.Dataset{}, err
		}
		for lacking := range missing {
			return pipeline.Dataset{}, &typed{
				pipeline.Nondeterministic,
				fmt.Errorf("%s names %s, which was prepared again with other bytes", key, lacking),
			}
		}
		if err := tooBad(m, in.Prepare.MaxBadFraction, func() string { return a.firstBad(ctx, m) }); err != nil {
			return pipeline.Dataset{}, err
		}
		d := pipeline.Dataset{
			Manifest: key, Rows: m.Rows, Shards: len(m.Shards), Bytes: m.Bytes, Bad: m.Bad,
			Warnings: m.Warnings, Weights: in.Weights, Seen: seen(in.Weights, m.Shards),
		}
		if d.Shards > a.pageShards() {
			d.PageShards = a.pageShards()
		}
		return d, nil
	})
}

func (a *Activities) datasetManifest(
	ctx context.Context, in pipeline.FinishPrepareInput,
) (record.DatasetManifest, error) {
	var plan record.PreparePlan
	if err := a.Store.GetJSON(ctx, layout.Plan(in.Dataset), &plan); err != nil {
		return record.DatasetManifest{}, err
	}
	m := record.DatasetManifest{
		Version: prepareVersion, Pixels: plan.Pixels, Rows: map[string]int{}, Warnings: plan.Warnings,
	}
	shards := slices.Clone(in.Shards)
	slices.SortFunc(shards, func(x, y pipeline.PrepareShardResult) int { return x.Shard.Index - y.Shard.Index })
	for s, err := range results(ctx, a, shards, in.Pages) {
		if err != nil {
			return m, err
		}
		m.Bad += s.Bad
		m.Turned += s.Turned
		m.JPEGs += s.JPEGs
		if s.Bad > 0 {
			m.BadLists = append(m.BadLists, s.BadList)
		}
		if s.Shard.Rows == 0 {
			continue
		}
		m.Shards = append(m.Shards, s.Shard)
		m.Rows[s.Shard.Split] += s.Shard.Rows
		m.Bytes += s.Shard.Object.Size
	}
	if m.Bad > 0 {
		m.Warnings = append(m.Warnings, fmt.Sprintf(
			"%d of %d pictures were left out; the reasons stand in %s", m.Bad, plan.Examples,
			layout.Manifest(in.Dataset),
		))
	}
	if m.JPEGs > 0 && plan.Pixels.JPEG == "" {
		m.Warnings = append(m.Warnings, fmt.Sprintf("%d JPEG pictures were decoded by Go's image/jpeg, "+
			"whose pixels differ from Pillow's by up to 3 levels; with libjpeg-turbo (Debian's "+
			"libturbojpeg0) on the worker they are equal, and prepared several times as fast", m.JPEGs))
	}
	if m.Turned > 0 {
		what := "were not turned (prepare.exif_orientation is off, as in Hugging Face)"
		if plan.Pixels.ExifOrientation {
			what = "were turned"
		}
		m.Warnings = append(
			m.Warnings, fmt.Sprintf("%d pictures carry an EXIF orientation and %s", m.Turned, what),
		)
	}
	return m, nil
}

// tooBad fails a dataset of which more than the limit could not be used.
func tooBad(m record.DatasetManifest, limit float64, first func() string) error {
	total := m.Bad
	for _, n := range m.Rows {
		total += n
	}
	if total == 0 || float64(m.Bad) <= limit*float64(total) {
		for _, split := range []string{dataset.Train, dataset.Validation} {
			if m.Rows[split] == 0 {
				return invalid("dataset: no usable %s pictures are left", split)
			}
		}
		return nil
	}
	return invalid("%d of %d pictures cannot be used (%.1f %%), prepare.max_bad_fraction allows %.1f %%; for example %s",
		m.Bad, total, 100*float64(m.Bad)/float64(total), 100*limit, first())
}

// firstBad shows one left-out picture for a message.
func (a *Activities) firstBad(ctx context.Context, m record.DatasetManifest) string {
	for _, o := range m.BadLists {
		if bad, err := artifact.ReadBad(ctx, a.Store, o); err == nil && len(bad) > 0 {
			return fmt.Sprintf("%s: %s", bad[0].ID, bad[0].Reason)
		}
	}
	return "none is listed"
}
