package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// ReadDataset reads a prepared dataset's manifest.
func ReadDataset(ctx context.Context, s *storage.Store, key string) (record.DatasetManifest, error) {
	var m record.DatasetManifest
	err := s.GetJSON(ctx, key, &m)
	return m, err
}

// ReadTokens reads the manifest of token shards.
func ReadTokens(ctx context.Context, s *storage.Store, key string) (record.TokensManifest, error) {
	var m record.TokensManifest
	err := s.GetJSON(ctx, key, &m)
	return m, err
}

// ReadFeatures reads the manifest of feature shards.
func ReadFeatures(ctx context.Context, s *storage.Store, key string) (record.FeaturesManifest, error) {
	var m record.FeaturesManifest
	err := s.GetJSON(ctx, key, &m)
	return m, err
}

// ReadTeacher reads the manifest of what a teacher says.
func ReadTeacher(ctx context.Context, s *storage.Store, key string) (record.TeacherManifest, error) {
	var m record.TeacherManifest
	err := s.GetJSON(ctx, key, &m)
	return m, err
}

// Unprepared are the indexes of the shards that a published dataset lacks, since they
// were lost or found broken and removed; nil where no dataset is published. With a
// list of bad examples lacking, every shard has to be prepared again.
func Unprepared(ctx context.Context, s *storage.Store, dataset string) (map[int]bool, error) {
	m, err := ReadDataset(ctx, s, layout.Manifest(dataset))
	if NotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	missing, err := Missing(ctx, s, dataset, m.Objects())
	if err != nil {
		return nil, err
	}
	for _, o := range m.BadLists {
		if missing[o.Key] {
			return nil, nil
		}
	}
	needed := map[int]bool{}
	for _, shard := range m.Shards {
		if missing[shard.Object.Key] {
			needed[shard.Index] = true
		}
	}
	return needed, nil
}

// ReadBad reads a list of examples that were left out.
func ReadBad(ctx context.Context, s *storage.Store, o layout.Object) ([]dataset.Bad, error) {
	raw, err := s.GetBytes(ctx, o)
	if err != nil {
		return nil, err
	}
	var bad []dataset.Bad
	if err := json.Unmarshal(raw, &bad); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Key, err)
	}
	return bad, nil
}

// LeftOut is what a prepared dataset has not, by its group: the bad lists that its manifest names.
// Nil: there is no manifest, since its preparation has not ended.
func LeftOut(ctx context.Context, s *storage.Store, group string) (*[]dataset.Bad, error) {
	m, err := ReadDataset(ctx, s, layout.Manifest(group))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var left []dataset.Bad
	for _, o := range m.BadLists {
		bad, err := ReadBad(ctx, s, o)
		if err != nil {
			return nil, err
		}
		left = append(left, bad...)
	}
	return &left, nil
}

// ShardPair is a shard of pictures and the tokens of its captions.
type ShardPair struct{ Pictures, Tokens record.Shard }

// Pairs are the shards of a split, by the manifests of a dataset and of its tokens;
// ErrUnfit where the tokens are not of these pictures.
func Pairs(ctx context.Context, s *storage.Store, dataset, tokens, split string) ([]ShardPair, error) {
	d, err := ReadDataset(ctx, s, dataset)
	if err != nil {
		return nil, err
	}
	t, err := ReadTokens(ctx, s, tokens)
	if err != nil {
		return nil, err
	}
	byIndex := map[int]record.Shard{}
	for _, shard := range t.Shards {
		byIndex[shard.Index] = shard
	}
	var pairs []ShardPair
	for _, shard := range d.Shards {
		if shard.Split != split {
			continue
		}
		of, ok := byIndex[shard.Index]
		if !ok || of.Rows != shard.Rows {
			return nil, fmt.Errorf("tokens %s %w dataset %s: shard %d", tokens, ErrUnfit, dataset, shard.Index)
		}
		pairs = append(pairs, ShardPair{shard, of})
	}
	return pairs, nil
}
