package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"distilvit/dataset"
	"distilvit/pipeline"
	"distilvit/storage"
)

// shardBytes bounds the pixels of a shard.
const shardBytes = 64 << 20

// datasetManifest is datasets/<key>/manifest.json: what makes a prepared
// dataset complete.
type datasetManifest struct {
	Version  int               `json:"version"`
	Pixels   pixels            `json:"pixels"`
	Shards   []pipeline.Shard  `json:"shards"` // by split, in order
	Rows     map[string]int    `json:"rows"`   // by split
	Bytes    int64             `json:"bytes"`
	Bad      int               `json:"bad"`
	BadLists []pipeline.Object `json:"bad_lists"` // JSON arrays of badExample
	Turned   int               `json:"turned"`    // pictures with an EXIF orientation
	JPEGs    int               `json:"jpegs"`     // pictures that were JPEG files
	Warnings []string          `json:"warnings"`
}

// preparePlan is datasets/<key>/plan.json: what FinishPrepare needs of the plan.
type preparePlan struct {
	Pixels   pixels   `json:"pixels"`
	Examples int      `json:"examples"`
	Warnings []string `json:"warnings"`
}

// pixels is what is done to the stored pictures: all of a processor but
// normalising, which is the model's.
type pixels struct {
	Width           int    `json:"width"`
	Height          int    `json:"height"`
	Resample        int    `json:"resample"` // Pillow's number of the filter
	ExifOrientation bool   `json:"exif_orientation"`
	JPEG            string `json:"jpeg,omitempty"` // decoder of JPEG files; empty: image/jpeg, as keys had it before there was another
}

func pixelsOf(p dataset.Processor) pixels {
	jpeg := p.JPEG
	if jpeg == dataset.JPEGStandard {
		jpeg = ""
	}
	return pixels{p.Width, p.Height, p.Resample, p.ExifOrientation, jpeg}
}

// badExample was left out of a shard.
type badExample struct {
	ID     string `json:"id"`
	Split  string `json:"split"`
	Reason string `json:"reason"`
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
		plan := pipeline.Plan{Dataset: "datasets/" + key}
		if err := a.adopt(ctx, in.Run, plan.Dataset); err != nil {
			return plan, err
		}
		needed, err := a.unprepared(ctx, plan.Dataset)
		if err != nil {
			return plan, err
		}
		if needed != nil && len(needed) == 0 {
			plan.Reused = true
			return plan, nil
		}
		p.progress("list", 0, 0, "")
		dir, done, err := a.scratch("plan")
		if err != nil {
			return plan, err
		}
		defer done()
		l, err := a.list(ctx, dir, in)
		if err != nil {
			return plan, err
		}
		defer l.close()
		if err := enough(l.splits); err != nil {
			return plan, err
		}
		rows := max(1, min(in.Prepare.ShardRows, shardBytes/(3*proc.Width*proc.Height)))
		index := 0
		for task, part := range shardTasks(l.splits, rows, weighted(in.Sources)) {
			task.Index, task.JPEG = index, proc.JPEG
			index++
			plan.Examples += len(part)
			if needed != nil && !needed[task.Index] {
				continue
			}
			if task.Work, err = a.putWork(ctx, plan.Dataset, l, part); err != nil {
				return plan, err
			}
			plan.Shards = append(plan.Shards, task)
			p.progress("plan", int64(plan.Examples), 0, task.Split)
		}
		_, err = a.Store.PutJSON(ctx, plan.Dataset+"/plan.json", preparePlan{pixelsOf(proc), plan.Examples, l.warnings})
		return plan, err
	})
}

// putWork stores a shard's list of examples.
func (a *Activities) putWork(ctx context.Context, dataset string, l *listing, part []listedAt) (pipeline.Object, error) {
	examples, err := l.read(part)
	if err != nil {
		return pipeline.Object{}, err
	}
	work, err := json.Marshal(examples)
	if err != nil {
		return pipeline.Object{}, err
	}
	return a.putBlob(ctx, dataset, ".json", work)
}

// unprepared are the indexes of the shards that a published dataset lacks, since
// they were lost or found broken and removed; nil where no dataset is published.
// With a list of bad examples lacking, every shard has to be prepared again.
func (a *Activities) unprepared(ctx context.Context, dataset string) (map[int]bool, error) {
	var m datasetManifest
	err := a.Store.GetJSON(ctx, dataset+"/manifest.json", &m)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	missing, err := a.missingOf(ctx, dataset, m.objects())
	if err != nil {
		return nil, err
	}
	for _, o := range m.BadLists {
		if missing[o.Key] {
			return nil, nil
		}
	}
	needed := map[int]bool{}
	for _, s := range m.Shards {
		if missing[s.Object.Key] {
			needed[s.Index] = true
		}
	}
	return needed, nil
}

func (m datasetManifest) objects() []pipeline.Object {
	objects := slices.Clone(m.BadLists)
	for _, s := range m.Shards {
		objects = append(objects, s.Object)
	}
	return objects
}

// chooseDecoder answers the dataset's key and the decoder of all its JPEGs, whichever
// workers prepare them: the one that the run has had, or the better one of this
// worker. Generated pictures need none.
func chooseDecoder(in pipeline.PlanInput, proc dataset.Processor) (key, decoder string, err error) {
	generated := !slices.ContainsFunc(in.Sources, func(s pipeline.DownloadResult) bool { return s.Source.Kind != pipeline.KindShapes })
	choices := []string{dataset.JPEGDecoder()}
	if generated {
		choices = []string{dataset.JPEGStandard}
	} else if in.Dataset != "" {
		choices = append(choices, dataset.JPEGTurbo, dataset.JPEGStandard)
	}
	for _, decoder := range choices {
		proc.JPEG = decoder
		if key, err = prepareKey(in, proc); err != nil || in.Dataset == "datasets/"+key {
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
func shardTasks(examples map[string][]listedAt, rows int, apart bool) iter.Seq2[pipeline.ShardTask, []listedAt] {
	return func(yield func(pipeline.ShardTask, []listedAt) bool) {
		for _, split := range []string{dataset.Train, dataset.Validation, dataset.Test} {
			lists := [][]listedAt{examples[split]}
			if apart && split == dataset.Train {
				lists = bySource(examples[split])
			}
			for source, list := range lists {
				for part := range slices.Chunk(list, rows) {
					if !yield(pipeline.ShardTask{Split: split, Source: source, Rows: len(part)}, part) {
						return
					}
				}
			}
		}
	}
}

// prepareKey names the dataset by all that determines its bytes.
func prepareKey(in pipeline.PlanInput, proc dataset.Processor) (string, error) {
	type source struct {
		Digest string
		Spec   dataset.Spec
	}
	k := struct {
		Stage     string
		Version   int
		Sources   []source
		Pixels    pixels
		ShardRows int
		Seed      uint64
		Apart     bool `json:",omitempty"` // not the weights themselves: they choose among stored pictures
	}{Stage: "prepare", Version: prepareVersion, Pixels: pixelsOf(proc), ShardRows: in.Prepare.ShardRows, Apart: weighted(in.Sources)}
	for _, s := range in.Sources {
		k.Sources = append(k.Sources, source{s.Digest, Spec(s.Source, in.Prepare)})
		if s.Source.Kind == pipeline.KindShapes {
			k.Seed = in.Seed // scenes are drawn by it, files do not depend on it
		}
	}
	return digestOf(k)
}

// enough makes sure that there is something to train on and to choose by.
func enough(examples map[string][]listedAt) error {
	for _, split := range []string{dataset.Train, dataset.Validation} {
		if len(examples[split]) == 0 {
			return invalid("dataset: no %s pictures; give a source with split %s, or one without a split and a larger prepare.validation_fraction or more pictures", split, split)
		}
	}
	return nil
}

// processor is the given model's, or the usual one for side.
func (a *Activities) processor(ctx context.Context, ref pipeline.ModelRef, side int, o pipeline.PrepareConfig) (dataset.Processor, error) {
	proc := dataset.NewProcessor(side)
	if _, ok := ref.Files["preprocessor_config.json"]; ok {
		dir, err := a.modelDir(ctx, ref, false)
		if err != nil {
			return proc, err
		}
		if proc, err = dataset.ReadProcessor(dir); err != nil {
			return proc, orInvalid(ctx, err)
		}
	}
	proc.ExifOrientation = o.ExifOrientation
	return proc, nil
}

// FinishPrepare publishes the dataset, unless too much of it was bad. Without
// shards it answers from what is published.
func (a *Activities) FinishPrepare(ctx context.Context, in pipeline.FinishPrepareInput) (pipeline.Dataset, error) {
	return run(ctx, func(ctx context.Context, _ *pulse) (pipeline.Dataset, error) {
		key := in.Dataset + "/manifest.json"
		var m datasetManifest
		err := a.Store.GetJSON(ctx, key, &m)
		if len(in.Shards) > 0 && isNotFound(err) {
			if m, err = a.datasetManifest(ctx, in); err == nil {
				err = a.Store.Publish(ctx, key, m)
			}
		}
		if err != nil {
			return pipeline.Dataset{}, err
		}
		missing, err := a.missingOf(ctx, in.Dataset, m.objects())
		if err != nil {
			return pipeline.Dataset{}, err
		}
		for lacking := range missing {
			return pipeline.Dataset{}, &typed{pipeline.Nondeterministic, fmt.Errorf("%s names %s, which was prepared again with other bytes", key, lacking)}
		}
		if err := tooBad(m, in.Prepare.MaxBadFraction, func() string { return a.firstBad(ctx, m) }); err != nil {
			return pipeline.Dataset{}, err
		}
		return pipeline.Dataset{
			Manifest: key, Rows: m.Rows, Shards: len(m.Shards), Bytes: m.Bytes, Bad: m.Bad, Warnings: m.Warnings,
			Weights: in.Weights, Seen: seen(in.Weights, m.Shards),
		}, nil
	})
}

func (a *Activities) datasetManifest(ctx context.Context, in pipeline.FinishPrepareInput) (datasetManifest, error) {
	var plan preparePlan
	if err := a.Store.GetJSON(ctx, in.Dataset+"/plan.json", &plan); err != nil {
		return datasetManifest{}, err
	}
	m := datasetManifest{Version: prepareVersion, Pixels: plan.Pixels, Rows: map[string]int{}, Warnings: plan.Warnings}
	shards := slices.Clone(in.Shards)
	slices.SortFunc(shards, func(x, y pipeline.PrepareShardResult) int { return x.Shard.Index - y.Shard.Index })
	for _, s := range shards {
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
		m.Warnings = append(m.Warnings, fmt.Sprintf("%d of %d pictures were left out; the reasons stand in %s", m.Bad, plan.Examples, in.Dataset+"/manifest.json"))
	}
	if m.JPEGs > 0 && plan.Pixels.JPEG == "" {
		m.Warnings = append(m.Warnings, fmt.Sprintf("%d JPEG pictures were decoded by Go's image/jpeg, whose pixels differ from Pillow's by up to 3 levels; with libjpeg-turbo (Debian's libturbojpeg0) on the worker they are equal, and prepared several times as fast", m.JPEGs))
	}
	if m.Turned > 0 {
		what := "were not turned (prepare.exif_orientation is off, as in Hugging Face)"
		if plan.Pixels.ExifOrientation {
			what = "were turned"
		}
		m.Warnings = append(m.Warnings, fmt.Sprintf("%d pictures carry an EXIF orientation and %s", m.Turned, what))
	}
	return m, nil
}

// tooBad fails a dataset of which more than the limit could not be used.
func tooBad(m datasetManifest, limit float64, first func() string) error {
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
func (a *Activities) firstBad(ctx context.Context, m datasetManifest) string {
	for _, o := range m.BadLists {
		raw, err := a.Store.GetBytes(ctx, stored(o))
		var bad []badExample
		if err == nil && json.Unmarshal(raw, &bad) == nil && len(bad) > 0 {
			return fmt.Sprintf("%s: %s", bad[0].ID, bad[0].Reason)
		}
	}
	return "none is listed"
}

func isNotFound(err error) bool { return errors.Is(err, storage.ErrNotFound) }
