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
// their tokens. Each caption counts once, the end token included.
func CountTokens(ctx context.Context, s *storage.Store, manifest string) (map[int32]int64, error) {
	m, err := ReadTokens(ctx, s, manifest)
	if err != nil {
		return nil, err
	}
	counts := map[int32]int64{}
	for _, shard := range m.Shards {
		if shard.Split != dataset.Train {
			continue
		}
		raw, err := s.GetBytes(ctx, shard.Object)
		if err != nil {
			return nil, err
		}
		tokens, err := dataset.OpenTokens(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", shard.Object.Key, err)
		}
		for row, err := range tokens.Rows() {
			if err != nil {
				return nil, fmt.Errorf("%s: %w", shard.Object.Key, err)
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
