package activities

import (
	"context"
	"io"
	"strconv"

	"distilvit/dataset"
	"distilvit/pipeline"
)

// example is an entry of a shard's work list: an example and its source.
type example struct {
	Source int `json:"source"`
	dataset.Example
}

// files are a source's stored files, verified and read in ranges from the object store.
func (a *Activities) files(s pipeline.DownloadResult) []dataset.File {
	out := make([]dataset.File, len(s.Files))
	for i, f := range s.Files {
		out[i] = dataset.File{Role: f.Role, Name: f.Name, Open: func(ctx context.Context) (io.ReaderAt, int64, io.Closer, error) {
			r, err := a.Store.VerifiedReaderAt(ctx, stored(f.Object))
			if err != nil {
				return nil, 0, nil, err
			}
			return r, r.Size(), r, nil
		}}
	}
	return out
}

// list answers all examples of all sources by split, those of several sources
// interleaved, and the sources' warnings.
func (a *Activities) list(ctx context.Context, in pipeline.PlanInput) (map[string][]example, []string, error) {
	lists := map[string][][]example{}
	var warnings []string
	for i, s := range in.Sources {
		found, warned, err := dataset.List(ctx, Spec(s.Source, in.Prepare), a.files(s), in.Seed)
		if err != nil {
			return nil, nil, orInvalid(ctx, err)
		}
		warnings = append(warnings, warned...)
		bySplit := map[string][]example{}
		for _, e := range found {
			if len(in.Sources) > 1 {
				e.ID = strconv.Itoa(i) + "/" + e.ID // the same id may occur in several sources
			}
			bySplit[e.Split] = append(bySplit[e.Split], example{i, e})
		}
		for split, l := range bySplit {
			lists[split] = append(lists[split], l)
		}
	}
	out := map[string][]example{}
	for split, l := range lists {
		out[split] = interleave(l)
	}
	return out, warnings, nil
}

// interleave merges lists so that each is spread evenly over the result and
// keeps its order: a batch should not be all of one source.
func interleave(lists [][]example) []example {
	if len(lists) == 1 {
		return lists[0]
	}
	total := 0
	for _, l := range lists {
		total += len(l)
	}
	out, next := make([]example, 0, total), make([]int, len(lists))
	for range total {
		best, at := -1, 0.0
		for i, l := range lists {
			if next[i] == len(l) {
				continue
			}
			if due := (float64(next[i]) + 0.5) / float64(len(l)); best < 0 || due < at {
				best, at = i, due
			}
		}
		out = append(out, lists[best][next[best]])
		next[best]++
	}
	return out
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
func weight(weights []float64, s pipeline.Shard) float64 {
	if s.Split != pipeline.SplitTrain || s.Source >= len(weights) {
		return 0
	}
	return weights[s.Source]
}

// seen is how many training pictures an epoch shows of the shards; 0 without weights.
func seen(weights []float64, shards []pipeline.Shard) int {
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

// bySource takes interleaved examples apart again.
func bySource(examples []example) [][]example {
	var out [][]example
	for _, e := range examples {
		for len(out) <= e.Source {
			out = append(out, nil)
		}
		out[e.Source] = append(out[e.Source], e)
	}
	return out
}
