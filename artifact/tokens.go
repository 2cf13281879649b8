package artifact

import (
	"bytes"
	"context"
	"fmt"

	"distilvit/dataset"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// CountTokens is how often each token id stands in the captions of the training shards, by the manifest of
// their tokens, and that of what a teacher says, "" where there is none: its own captions count, too. Each caption counts
// once, the end token included.
func CountTokens(ctx context.Context, s *storage.Store, manifest, teacher string) (map[int32]int64, error) {
	m, err := ReadTokens(ctx, s, manifest)
	if err != nil {
		return nil, err
	}
	said := map[int]layout.Object{}
	if teacher != "" {
		t, err := ReadTeacher(ctx, s, teacher)
		if err != nil {
			return nil, err
		}
		for _, shard := range t.Shards {
			if shard.Tokens.Key != "" {
				said[shard.Index] = shard.Tokens
			}
		}
	}
	counts := map[int32]int64{}
	for _, shard := range m.Shards {
		if shard.Split != dataset.Train {
			continue
		}
		o := shard.Object
		if more, ok := said[shard.Index]; ok {
			o = more
		}
		raw, err := s.GetBytes(ctx, o)
		if err != nil {
			return nil, err
		}
		tokens, err := dataset.OpenTokens(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Key, err)
		}
		for row, err := range tokens.Rows() {
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o.Key, err)
			}
			for _, caption := range row.IDs {
				for _, id := range caption {
					counts[id]++
				}
			}
		}
	}
	return counts, nil
}

// Groups are those of an area, such as layout.Datasets, that a run refers to; with area "" those of all areas.
func Groups(ctx context.Context, s *storage.Store, run layout.Run, area string) (groups []string, err error) {
	for o, err := range s.List(ctx, run.Folder(layout.Refs)) {
		if err != nil {
			return nil, err
		}
		if group, ok := layout.RefOf(o.Key); ok && (area == "" || layout.AreaOf(group) == area) {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

// RunTokens is the manifest of the tokens that a run trained on; an error where it refers to none, or to several.
func RunTokens(ctx context.Context, s *storage.Store, run layout.Run) (string, error) {
	groups, err := Groups(ctx, s, run, layout.Tokens)
	if err != nil {
		return "", err
	}
	if len(groups) != 1 {
		return "", fmt.Errorf("run %s refers to %d sets of token ids, not to one", run, len(groups))
	}
	return layout.Manifest(groups[0]), nil
}

// RunTeacher is the manifest of what a run's teacher says, "" where it has none; an error where it refers to several.
func RunTeacher(ctx context.Context, s *storage.Store, run layout.Run) (string, error) {
	groups, err := Groups(ctx, s, run, layout.Teacher)
	switch {
	case err != nil || len(groups) == 0:
		return "", err
	case len(groups) > 1:
		return "", fmt.Errorf("run %s refers to what %d teachers say, not one", run, len(groups))
	}
	return layout.Manifest(groups[0]), nil
}
