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

// listing is all examples of all sources, which lie in files: see dataset.Catalog.
type listing struct {
	sources  []*dataset.Catalogue
	splits   map[string][]listedAt // those of several sources interleaved
	warnings []string
}

// listedAt is an example's place.
type listedAt struct{ source, number int32 }

// list lists all sources, with files in dir.
func (a *Activities) list(ctx context.Context, dir string, in pipeline.PlanInput) (l *listing, err error) {
	l = &listing{splits: map[string][]listedAt{}}
	lists := map[string][][]listedAt{}
	for i, s := range in.Sources {
		c, err := dataset.Catalog(ctx, dir, Spec(s.Source, in.Prepare), a.files(s), in.Seed)
		if err != nil {
			l.close()
			return nil, orInvalid(ctx, err)
		}
		l.sources, l.warnings = append(l.sources, c), append(l.warnings, c.Warnings...)
		bySplit := map[string][]listedAt{}
		for n := range c.Len() {
			bySplit[c.Split(n)] = append(bySplit[c.Split(n)], listedAt{int32(i), int32(n)})
		}
		for split, list := range bySplit {
			lists[split] = append(lists[split], list)
		}
	}
	for split, list := range lists {
		l.splits[split] = interleave(list)
	}
	return l, nil
}

// read answers the examples at these places.
func (l *listing) read(at []listedAt) ([]example, error) {
	out := make([]example, len(at))
	for i, p := range at {
		e, err := l.sources[p.source].Example(int(p.number))
		if err != nil {
			return nil, err
		}
		if len(l.sources) > 1 {
			e.ID = strconv.Itoa(int(p.source)) + "/" + e.ID // the same id may occur in several sources
		}
		out[i] = example{int(p.source), e}
	}
	return out, nil
}

func (l *listing) close() {
	for _, c := range l.sources {
		c.Close()
	}
}

// interleave merges lists so that each is spread evenly over the result and
// keeps its order: a batch should not be all of one source.
func interleave(lists [][]listedAt) []listedAt {
	if len(lists) == 1 {
		return lists[0]
	}
	total := 0
	for _, l := range lists {
		total += len(l)
	}
	out, next := make([]listedAt, 0, total), make([]int, len(lists))
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
func bySource(examples []listedAt) [][]listedAt {
	var out [][]listedAt
	for _, e := range examples {
		for len(out) <= int(e.source) {
			out = append(out, nil)
		}
		out[e.source] = append(out[e.source], e)
	}
	return out
}
