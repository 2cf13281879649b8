package activities

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/pipeline"
	"distilvit/storage/layout"
)

// pageShards is how many shards one history, one payload and one document bear. Longer lists lie in the store in
// pages of so many, and children of the run work on them.
const pageShards = 1000

// historyBytes is what preparing may take of a run's history: every activity of it is given the sources' files.
const historyBytes = 8 << 20

// shardBytesInHistory is what a shard takes of a history beside them; measured, docs/log.md.
const shardBytesInHistory = 4 << 10

func (a *Activities) pageShards() int { return cmp.Or(a.PageShards, pageShards) }

func pagerOf[T any](a *Activities, group string) *artifact.Pager[T] {
	return &artifact.Pager[T]{Store: a.Store, Group: group, Size: a.pageShards()}
}

// results are those that are given, or those of stored pages, in whose order they are.
func results[T any](ctx context.Context, a *Activities, given []T, pages []record.Page) iter.Seq2[T, error] {
	if len(pages) > 0 {
		return artifact.ReadPages[T](ctx, a.Store, pages)
	}
	return func(yield func(T, error) bool) {
		for _, r := range given {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// listTasks puts the tasks into a plan: as they are, or where the run's history would not bear them as pages, with a
// page of the sources.
func (a *Activities) listTasks(
	ctx context.Context, plan *pipeline.Plan, tasks *artifact.Pager[pipeline.ShardTask], sources []pipeline.DownloadResult,
) error {
	files, err := json.Marshal(sources)
	if err != nil {
		return err
	}
	if tasks.Fits() && len(tasks.Rest)*(len(files)+shardBytesInHistory) <= historyBytes {
		plan.Shards = tasks.Rest
		return nil
	}
	if plan.Pages, err = tasks.Pages(ctx); err != nil {
		return err
	}
	page, err := artifact.PutPage(ctx, a.Store, plan.Dataset, sources)
	plan.Sources = &page
	return err
}

// listFiles puts the many files of a source into a page, below the group of the list's digest.
func (a *Activities) listFiles(ctx context.Context, run string, source *pipeline.DownloadResult) error {
	if len(source.Files) <= a.pageShards() {
		return nil
	}
	group := layout.Source(source.Digest)
	if err := a.adopt(ctx, run, group); err != nil {
		return err
	}
	page, err := artifact.PutPage(ctx, a.Store, group, source.Files)
	source.Files, source.FilesPage = nil, &page
	return err
}

// shardSources are those that a shard is prepared from.
func (a *Activities) shardSources(ctx context.Context, in pipeline.PrepareShardInput) ([]pipeline.DownloadResult, error) {
	if in.SourcesPage == nil {
		return in.Sources, nil
	}
	return artifact.ReadPage[pipeline.DownloadResult](ctx, a.Store, *in.SourcesPage)
}

// ReadTasks reads a page of a plan.
func (a *Activities) ReadTasks(ctx context.Context, in pipeline.ReadTasksInput) (pipeline.ShardTasks, error) {
	return run(ctx, func(ctx context.Context, _ *pulse) (pipeline.ShardTasks, error) {
		shards, err := artifact.ReadPage[pipeline.ShardTask](ctx, a.Store, in.Tasks)
		return pipeline.ShardTasks{Shards: shards}, err
	})
}

// StorePage stores a page of results.
func (a *Activities) StorePage(ctx context.Context, in pipeline.StorePageInput) (record.Page, error) {
	return run(ctx, func(ctx context.Context, _ *pulse) (record.Page, error) {
		if in.Tokenized != nil {
			return artifact.PutPage(ctx, a.Store, in.Group, in.Tokenized)
		}
		return artifact.PutPage(ctx, a.Store, in.Group, in.Prepared)
	})
}
