package activities

import (
	"context"
	"io"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/pipeline"
	"distilvit/pipeline/sources"
)

// sources are a run's sources as package dataset reads them: verified and in ranges
// from the object store.
func (a *Activities) sources(
	ctx context.Context, list []pipeline.DownloadResult, p pipeline.PrepareConfig,
) ([]dataset.Source, error) {
	out := make([]dataset.Source, len(list))
	for i, s := range list {
		if s.FilesPage != nil {
			var err error
			if s.Files, err = artifact.ReadPage[pipeline.SourceFile](ctx, a.Store, *s.FilesPage); err != nil {
				return nil, err
			}
		}
		out[i].Spec = sources.Spec(s.Source, p)
		for _, f := range s.Files {
			out[i].Files = append(out[i].Files, a.file(f))
		}
	}
	return out, nil
}

func (a *Activities) file(f pipeline.SourceFile) dataset.File {
	return dataset.File{Role: f.Role, Name: f.Name,
		Open: func(ctx context.Context) (io.ReaderAt, int64, io.Closer, error) {
			r, err := a.Store.VerifiedReaderAt(ctx, f.Object)
			if err != nil {
				return nil, 0, nil, err
			}
			return r, r.Size(), r, nil
		}}
}

// weighted says that sources have weights.
func weighted(sources []pipeline.DownloadResult) bool {
	var c pipeline.Config
	for _, s := range sources {
		c.Dataset = append(c.Dataset, s.Source)
	}
	return c.Weights() != nil
}

// weight is that of a training shard; 0 stands for 1, as in datasets without weights.
func weight(weights []float64, s record.Shard) float64 {
	if s.Split != pipeline.SplitTrain || s.Source >= len(weights) {
		return 0
	}
	return weights[s.Source]
}

// seen is how many training pictures an epoch shows of the shards; 0 without weights.
func seen(weights []float64, shards []record.Shard) int {
	if len(weights) == 0 {
		return 0
	}
	total := 0
	for _, s := range shards {
		if s.Split == pipeline.SplitTrain {
			total += dataset.Shown(s.Rows, weight(weights, s))
		}
	}
	return total
}
