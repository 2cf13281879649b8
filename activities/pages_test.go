package activities

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// inPages prepares a dataset as the run's children do, page by page.
func (b *bench) inPages(plan pipeline.Plan, input pipeline.PrepareShardInput) pipeline.FinishPrepareInput {
	b.Helper()
	finish := pipeline.FinishPrepareInput{Run: input.Run, Dataset: plan.Dataset, Prepare: input.Prepare}
	input.Dataset, input.Sources, input.SourcesPage = plan.Dataset, nil, plan.Sources
	for _, page := range plan.Pages {
		var made []pipeline.PrepareShardResult
		tasks := do[pipeline.ShardTasks](b, b.ReadTasks, pipeline.ReadTasksInput{Tasks: page})
		if len(tasks.Shards) == 0 || len(tasks.Shards) > b.PageShards {
			b.Fatalf("a page has %d shards", len(tasks.Shards))
		}
		for _, task := range tasks.Shards {
			input.Task = task
			made = append(made, do[pipeline.PrepareShardResult](b, b.PrepareShard, input))
		}
		finish.Pages = append(finish.Pages, do[record.Page](b, b.StorePage, pipeline.StorePageInput{
			Group: plan.Dataset, Prepared: made,
		}))
	}
	return finish
}

func TestDatasetInPagesHasTheShardsOfOneDocument(t *testing.T) {
	c := tinyConfig()
	whole, b := newBench(t), newBench(t)
	w, sources := whole.work("run", c)
	b.PageShards = 2
	in := pipeline.PlanInput{Run: "run", Sources: sources, Image: c.Model.ImageSize, Prepare: c.Prepare, Seed: c.Seed}
	input := pipeline.PrepareShardInput{Run: "run", Image: c.Model.ImageSize, Prepare: c.Prepare}
	plan := do[pipeline.Plan](b, b.PlanPrepare, in)
	if len(plan.Shards) > 0 || len(plan.Pages) != 3 || record.Entries(plan.Pages) != 5 {
		t.Fatalf("planned %+v", plan)
	}
	d := do[pipeline.Dataset](b, b.FinishPrepare, b.inPages(plan, input))
	if d.Manifest != w.Dataset.Manifest || d.Shards != 5 || d.PageShards != 2 || w.Dataset.PageShards != 0 {
		t.Errorf("%+v, in one document %+v", d, w.Dataset)
	}
	want, err := artifact.ReadDataset(t.Context(), whole.Store, d.Manifest)
	check(t, err)
	got, err := artifact.ReadDataset(t.Context(), b.Store, d.Manifest)
	check(t, err)
	pages := got.ShardPages
	if got.ShardPages = nil; len(pages) != 3 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d pages: %+v, want %+v", len(pages), got, want)
	}
	var stored record.DatasetManifest
	check(t, b.Store.GetJSON(t.Context(), d.Manifest, &stored))
	if len(stored.Shards) > 0 {
		t.Errorf("the document has the %d shards of its pages, too", len(stored.Shards))
	}

	// A page that is lost is said to be, and made again with the same bytes.
	lost := pages[1].Object.Key
	check(t, b.Store.Remove(t.Context(), lost))
	finish := pipeline.FinishPrepareInput{Run: "run", Dataset: plan.Dataset, Prepare: c.Prepare}
	_, err = try[pipeline.Dataset](b, b.FinishPrepare, finish)
	if err == nil || !strings.Contains(err.Error(), lost) {
		t.Errorf("without a page: %v", err)
	}
	again := do[pipeline.Plan](b, b.PlanPrepare, in)
	if again.Reused || !slices.Equal(again.Pages, plan.Pages) {
		t.Errorf("planned again %+v", again)
	}
	do[pipeline.Dataset](b, b.FinishPrepare, b.inPages(again, input))
	if _, err := b.Store.Stat(t.Context(), lost); err != nil {
		t.Errorf("the page is not made again: %v", err)
	}
	if planned := do[pipeline.Plan](b, b.PlanPrepare, in); !planned.Reused {
		t.Errorf("what is there in pages is planned again: %+v", planned)
	}
	wantTokens(t, b, d)
}

// wantTokens makes token shards in pages, beside those that a program without pages published.
func wantTokens(t *testing.T, b *bench, d pipeline.Dataset) {
	t.Helper()
	results := []pipeline.TokenizeResult{{Cut: 1}, {Cut: 2}}
	for i := range d.Shards {
		results[i/3].Shards = append(results[i/3].Shards, record.Shard{Index: i})
	}
	finish := pipeline.FinishTokensInput{Run: "run", Tokens: layout.TokenShards("t")}
	finish.Pages = append(finish.Pages, do[record.Page](b, b.StorePage, pipeline.StorePageInput{
		Group: finish.Tokens, Tokenized: results,
	}))
	if got := do[pipeline.Tokens](b, b.FinishTokens, finish); got.Cut != 3 {
		t.Errorf("%d captions were cut, want 3", got.Cut)
	}
	m, err := artifact.ReadTokens(t.Context(), b.Store, layout.Manifest(finish.Tokens))
	if check(t, err); len(m.ShardPages) != 3 || len(m.Shards) != d.Shards || m.Cut != 3 {
		t.Errorf("%+v", m)
	}
	older := m
	older.ShardPages = nil
	finish.Tokens = layout.TokenShards("older")
	check(t, b.Store.Publish(t.Context(), layout.Manifest(finish.Tokens), older))
	do[pipeline.Tokens](b, b.FinishTokens, finish)
	older.Cut = 7
	finish.Tokens = layout.TokenShards("other")
	check(t, b.Store.Publish(t.Context(), layout.Manifest(finish.Tokens), older))
	if _, err := try[pipeline.Tokens](b, b.FinishTokens, finish); err == nil {
		t.Error("other tokens are taken for these")
	}
}

func TestManySourceFilesAreNotRepeatedForEachShard(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		name          string
		shards, files int
		paged         bool
	}{{"few files", 900, 3, false}, {"few shards", 10, 900, false}, {"hundreds of both", 500, 300, true}} {
		tasks := pagerOf[pipeline.ShardTask](b.Activities, "datasets/d")
		for i := range c.shards {
			check(t, tasks.Add(t.Context(), pipeline.ShardTask{Index: i}))
		}
		sources := []pipeline.DownloadResult{{Files: make([]pipeline.SourceFile, c.files)}}
		for i := range sources[0].Files {
			sources[0].Files[i] = pipeline.SourceFile{Role: "files", Name: "00000.tar", Object: layout.Object{
				Key: layout.SourceFile(strings.Repeat("0", 64), "00000.tar"), SHA256: strings.Repeat("0", 64),
			}}
		}
		plan := pipeline.Plan{Dataset: "datasets/d"}
		check(t, b.listTasks(t.Context(), &plan, tasks, sources))
		if (len(plan.Pages) > 0) != c.paged || len(plan.Shards)+record.Entries(plan.Pages) != c.shards {
			t.Errorf("%s: %d shards in the plan, %d pages", c.name, len(plan.Shards), len(plan.Pages))
		}
	}
}

func TestManyFilesOfASourceAreListedInTheStore(t *testing.T) {
	b := newBench(t)
	b.PageShards = 2
	group := layout.Source("digest-of-the-list")
	source := pipeline.DownloadResult{Digest: "digest-of-the-list", Files: []pipeline.SourceFile{
		{Role: "files", Name: "0.tar"}, {Role: "files", Name: "1.tar"}, {Role: "files", Name: "2.tar"},
	}}
	few := pipeline.DownloadResult{Files: source.Files[:2]}
	check(t, b.listFiles(t.Context(), "run", &few))
	check(t, b.listFiles(t.Context(), "run", &source))
	if few.FilesPage != nil || source.FilesPage == nil || len(source.Files) > 0 {
		t.Fatalf("%+v, %+v", few, source)
	}
	if _, err := b.Store.Stat(t.Context(), layout.Run("run").Ref(group)); err != nil {
		t.Errorf("the run does not refer to %s: %v", group, err)
	}
	read, err := b.sources(t.Context(), []pipeline.DownloadResult{few, source}, pipeline.PrepareConfig{})
	if err != nil || len(read[0].Files) != 2 || len(read[1].Files) != 3 || read[1].Files[2].Name != "2.tar" {
		t.Errorf("%+v, %v", read, err)
	}
}

func TestFeaturesOfMoreShardsThanAHistoryHoldsAreRefused(t *testing.T) {
	b := newBench(t)
	m := record.DatasetManifest{Shards: make([]record.Shard, mostDerivedShards+1)}
	for i := range m.Shards {
		m.Shards[i] = record.Shard{Index: i, Split: pipeline.SplitTrain, Rows: 1}
	}
	check(t, artifact.PublishDataset(t.Context(), b.Store, layout.Dataset("d"), &m, 1000))
	w := pipeline.Work{Dataset: pipeline.Dataset{Manifest: layout.Manifest(layout.Dataset("d"))}}
	plan := pipeline.DerivedPlan{Group: layout.FeatureShards("f")}
	err := b.derivedNeeded(t.Context(), w, derivation{name: "features"}, ofTraining, &plan)
	if kindOf(err) != pipeline.InvalidInput || !strings.Contains(err.Error(), "2001 features shards") {
		t.Errorf("%v", err)
	}
	m.Shards = m.Shards[1:]
	check(t, artifact.PublishDataset(t.Context(), b.Store, layout.Dataset("e"), &m, 1000))
	w.Dataset.Manifest = layout.Manifest(layout.Dataset("e"))
	plan.Shards = nil
	check(t, b.derivedNeeded(t.Context(), w, derivation{name: "features"}, ofTraining, &plan))
}
