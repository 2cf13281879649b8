package activities

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.temporal.io/sdk/temporal"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// flip changes a bit of a stored object on the server's disk.
func (b *bench) flip(key string) {
	b.Helper()
	b.s3.FlipBit(b.T, b.Store.Config().Bucket, key)
}

// elsewhere is another worker, which has nothing in its cache.
func (b *bench) elsewhere() *bench {
	other := &bench{T: b.T, s3: b.s3, Activities: newWorker(b.T, b.s3)}
	other.register()
	return other
}

// wantBroken makes sure that an error names exactly these objects, and has them
// dropped.
func (b *bench) wantBroken(err error, run string, keys ...string) pipeline.DropBrokenResult {
	b.Helper()
	var e *temporal.ApplicationError
	var broken pipeline.Broken
	if !errors.As(err, &e) || e.Type() != pipeline.Corrupt || !e.HasDetails() || e.Details(&broken) != nil ||
		!slices.Equal(broken.Keys, keys) {
		b.Fatalf("error %v names %v, want %v", err, broken.Keys, keys)
	}
	out := do[pipeline.DropBrokenResult](b, b.DropBroken, pipeline.DropBrokenInput{Run: run, Keys: keys})
	if !slices.Equal(out.Dropped, keys) {
		b.Fatalf("dropped %+v", out)
	}
	return out
}

func TestFlippedBitInPreparedDataIsFoundAndPreparedAgain(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	w, sources := b.work("run", c)
	want := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	var d record.DatasetManifest
	check(t, b.Store.GetJSON(t.Context(), w.Dataset.Manifest, &d))
	var tokens record.TokensManifest
	check(t, b.Store.GetJSON(t.Context(), w.Tokens.Manifest, &tokens))
	plan := pipeline.PlanInput{
		Run: "run", Sources: sources, Image: c.Model.ImageSize, Prepare: c.Prepare, Seed: c.Seed,
	}
	shards := b.keys("datasets/")

	other := b.elsewhere()
	broken := d.Shards[1].Object.Key
	b.flip(broken)
	_, err := try[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{Work: w, Epoch: 0})
	if err != nil { // the epoch's end is there, nothing is read
		t.Fatal(err)
	}
	w.Branch = 2
	_, err = try[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{Work: w})
	other.wantBroken(err, "run", broken)
	p := do[pipeline.Plan](other, other.PlanPrepare, plan)
	if p.Reused || len(p.Shards) != 1 || p.Shards[0].Index != d.Shards[1].Index ||
		len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "made again: 1 picture shards of "+p.Dataset) {
		t.Fatalf("planned %+v", p)
	}
	finish := pipeline.FinishPrepareInput{Run: "run", Dataset: p.Dataset, Prepare: c.Prepare}
	if _, err := try[pipeline.Dataset](other, other.FinishPrepare, finish); err == nil {
		t.Error("a dataset that lacks a shard is taken as complete")
	}
	shard := do[pipeline.PrepareShardResult](other, other.PrepareShard, pipeline.PrepareShardInput{
		Run: "run", Dataset: p.Dataset, Task: p.Shards[0], Sources: sources, Image: c.Model.ImageSize,
		Prepare: c.Prepare,
	})
	finish.Shards = []pipeline.PrepareShardResult{shard}
	again := do[pipeline.Dataset](other, other.FinishPrepare, finish)
	if again.Manifest != w.Dataset.Manifest || !slices.Equal(b.keys("datasets/"), shards) {
		t.Errorf("prepared again: %+v", again)
	}

	other = b.elsewhere() // the one before may have fetched it already
	broken = tokens.Shards[0].Object.Key
	b.flip(broken)
	_, err = try[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{Work: w})
	other.wantBroken(err, "run", broken)
	in := pipeline.TokenizeInput{
		Run: "run", Dataset: w.Dataset, Model: w.Model, MaxLength: c.Train.MaxLength, Last: w.Dataset.Shards,
	}
	named := do[pipeline.TokenizePlan](other, other.PlanTokenize, in)
	if named.Reused || len(named.Warnings) != 1 ||
		!strings.Contains(named.Warnings[0], "made again: 1 token shards of "+named.Tokens) {
		t.Errorf("token shards of which one is missing: %+v", named)
	}
	made := do[pipeline.TokenizeResult](other, other.TokenizeShards, in)
	tokenized := pipeline.FinishTokensInput{Run: "run", Tokens: named.Tokens, Shards: made.Shards}
	if got := do[pipeline.Tokens](other, other.FinishTokens, tokenized); got != w.Tokens {
		t.Errorf("tokenized again: %+v", got)
	}
	end := do[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{Work: w})
	if !maps.Equal(other.end(end.Checkpoint), b.end(want.Checkpoint)) {
		t.Error("with data that was made again training ends with other weights")
	}
}

// A shard of the second block of 16 is broken: the first is trained on, and the
// error names the shard all the same.
func TestBrokenShardOfALaterBlockIsNamed(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	c.Prepare.ShardRows = 2
	w, _ := b.work("run", c)
	shards, err := b.shards(t.Context(), w, pipeline.SplitTrain)
	check(t, err)
	pairs := make([]dataset.ShardPair, len(shards))
	for i, s := range shards {
		pairs[i] = s.pair
	}
	order := dataset.ShardOrder(pairs, w.Seed, w.Train.BatchSize, 0, 0)
	if len(order) != 20 {
		t.Fatalf("order %v", order)
	}
	broken := shards[order[19]].pixels.Key
	b.flip(broken)
	other := b.elsewhere()
	_, err = try[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{Work: w})
	other.wantBroken(err, "run", broken)
}

func TestBrokenLocalCopiesAreFetchedAgainAndNotBlamedOnTheStore(t *testing.T) {
	b := newBench(t)
	w, _ := b.work("run", tinyConfig())
	want := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	check(t, b.CloseTrainer(t.Context(), w))
	stored := b.keys("")
	n := 0
	for _, pattern := range []string{"cache/????????????????????????????????????????????????????????????????", "models/*/*"} {
		files, err := filepath.Glob(filepath.Join(b.Dir, pattern))
		check(t, err)
		for _, path := range files {
			content, err := os.ReadFile(path)
			check(t, err)
			content[len(content)/2] ^= 1
			check(t, os.WriteFile(path, content, 0o644))
			n++
		}
	}
	if n < 8 {
		t.Fatalf("only %d local files", n)
	}
	w.Run = "again"
	end := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	if !maps.Equal(b.end(end.Checkpoint), b.end(want.Checkpoint)) {
		t.Error("training ends with other weights")
	}
	for _, key := range stored {
		if _, err := b.Store.Stat(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
}

func TestFlippedBitInACheckpointIsPassedOverAndTheCheckpointMadeAgain(t *testing.T) {
	b := newBench(t)
	c := tinyConfig()
	c.Train.Epochs = 2
	w, _ := b.work("run", c)
	first := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w})
	end := b.end(first.Checkpoint)
	second := do[pipeline.EpochResult](b, b.TrainEpoch, pipeline.EpochInput{Work: w, Epoch: 1})
	m, err := artifact.ReadCheckpoint(t.Context(), b.Store, first.Checkpoint.Manifest)
	check(t, err)

	// In the middle of an epoch: an older checkpoint of it is there.
	other := b.elsewhere()
	check(t, b.Store.Remove(t.Context(), second.Checkpoint.Manifest, layout.Run("run").Checkpoint(1, 8)))
	newest, err := b.checkpoints("run").Newest(t.Context(), 1)
	check(t, err)
	middle, err := artifact.ReadCheckpoint(t.Context(), b.Store, newest.Manifest)
	check(t, err)
	if middle.Step != 7 && middle.Step != 6 || middle.EpochStep == 0 {
		t.Fatalf("the newest checkpoint is that of step %d", middle.Step)
	}
	b.flip(middle.Files["model.safetensors"].Key)
	again := do[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{Work: w, Epoch: 1})
	if !maps.Equal(b.end(again.Checkpoint), b.end(second.Checkpoint)) || len(again.Warnings) != 1 ||
		!strings.Contains(again.Warnings[0], newest.Manifest+" cannot be read") {
		t.Errorf("ends with %v, warnings %q", b.end(again.Checkpoint), again.Warnings)
	}
	check(t, artifact.Verify(t.Context(), b.Store, middle.Files["model.safetensors"].Key))

	// The end of the epoch before: there is nothing to begin the second with.
	other = b.elsewhere()
	w.Run = "copy"
	m.Run = "copy" // as if its other checkpoints were pruned
	check(t, b.Store.Publish(t.Context(), layout.Run("copy").Checkpoint(1, m.Step), m))
	b.flip(m.Files["model.safetensors"].Key)
	_, err = try[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{Work: w, Epoch: 1})
	wantType(t, err, pipeline.Corrupt, m.Files["model.safetensors"].Key)
	if _, err := b.Store.Stat(t.Context(), m.Files["model.safetensors"].Key); !artifact.NotFound(err) {
		t.Errorf("the broken bytes are still there: %v", err)
	}
	w.Run = "run"
	remade := do[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{Work: w})
	if remade.Checkpoint != first.Checkpoint || !maps.Equal(b.end(remade.Checkpoint), end) {
		t.Errorf("made again: %+v", remade)
	}
	check(t, artifact.Verify(t.Context(), b.Store, m.Files["model.safetensors"].Key))

	// A manifest of a checkpoint, and a record of progress.
	b.flip(first.Checkpoint.Manifest)
	_, err = try[pipeline.EvaluateResult](other, other.Evaluate, pipeline.EvaluateInput{
		Work: w, Split: pipeline.SplitValidation, Checkpoint: first.Checkpoint, Evaluate: c.Evaluate,
	})
	out := other.wantBroken(err, "run", first.Checkpoint.Manifest)
	if !slices.Equal(out.Checkpoints, []string{first.Checkpoint.Manifest}) {
		t.Errorf("incomplete: %v", out.Checkpoints)
	}
	for n := range 2 {
		check(t, b.recordProgress("run", n+1))
	}
	b.flip("runs/run/progress/0001-000002.json")
	if p := do[record.Progress](b, b.FindProgress, pipeline.FindProgressInput{Run: "run"}); len(p.Epochs) != 1 {
		t.Errorf("progress %+v", p)
	}
}

// recordProgress stores one of so many epochs.
func (b *bench) recordProgress(run string, epochs int) error {
	p := record.Progress{Branch: 1, Epochs: make([]record.EpochRecord, epochs)}
	_, err := b.env.ExecuteActivity(b.RecordProgress, pipeline.RecordProgressInput{Run: run, Progress: p})
	return err
}

func TestFlippedBitInASourceAndInWeightsIsFoundAndStoredAgain(t *testing.T) {
	b := newBench(t)
	c := folderConfig(pictures(t, 40))
	w, sources := b.work("run", c)
	archive := sources[0].Files[1].Object
	in := pipeline.PlanInput{Run: "run", Sources: sources, Image: 64, Prepare: c.Prepare, Seed: c.Seed}
	p := do[pipeline.Plan](b, b.PlanPrepare, in)
	b.flip(archive.Key)
	other := b.elsewhere() // this worker has verified it already
	task := pipeline.PrepareShardInput{
		Run: "run", Dataset: p.Dataset, Task: p.Shards[0], Sources: sources, Image: 64, Prepare: c.Prepare,
	}
	_, err := try[pipeline.PrepareShardResult](other, other.PrepareShard, task)
	other.wantBroken(err, "run", archive.Key)
	again := do[pipeline.DownloadResult](
		other, other.Download, pipeline.DownloadInput{Run: "run", Source: c.Dataset[0]},
	)
	if again.Digest != sources[0].Digest {
		t.Error("the same folder gives other archives")
	}
	do[pipeline.PrepareShardResult](other, other.PrepareShard, task)

	key := w.Model.Files["tokenizer.json"].Key
	b.flip(key)
	_, err = try[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{Work: w})
	other.wantBroken(err, "run", key)
	ref := do[record.ModelRef](other, other.BuildModel, pipeline.BuildModelInput{
		Run: "run", Model: c.Model, Dataset: w.Dataset, Train: c.Train, MaxLength: c.Evaluate.MaxLength,
	})
	if ref.Digest != w.Model.Digest {
		t.Error("the same model has another digest")
	}
	do[pipeline.EpochResult](other, other.TrainEpoch, pipeline.EpochInput{Work: w})
}

func TestDropBrokenTouchesNothingThatIsSoundOrOfOthers(t *testing.T) {
	b := newBench(t)
	for _, key := range []string{"datasets/d/x.parquet", "runs/other/blobs/b", "models/m/run-b1/config.json"} {
		_, err := b.Store.PutBytes(t.Context(), key, []byte(strings.Repeat(key, 10)))
		check(t, err)
		if strings.HasPrefix(key, "datasets/") {
			out := do[pipeline.DropBrokenResult](b, b.DropBroken, pipeline.DropBrokenInput{
				Run: "run", Keys: []string{key, "datasets/d/gone"},
			})
			if !slices.Equal(out.Sound, []string{key}) ||
				!slices.Equal(out.Missing, []string{"datasets/d/gone"}) || len(out.Dropped) > 0 {
				t.Errorf("%+v", out)
			}
			continue
		}
		b.flip(key)
		_, err = try[pipeline.DropBrokenResult](
			b, b.DropBroken, pipeline.DropBrokenInput{Run: "run", Keys: []string{key}},
		)
		wantType(t, err, pipeline.Corrupt, "cannot be made again by run run")
		if _, err := b.Store.Stat(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
}
