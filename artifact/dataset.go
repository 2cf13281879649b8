package artifact

import (
	"context"
	"errors"
	"fmt"

	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// ReadDataset reads a prepared dataset's manifest, with the lists that lie in pages: a few hundred bytes of memory a
// shard.
func ReadDataset(ctx context.Context, s *storage.Store, key string) (m record.DatasetManifest, err error) {
	if err = s.GetJSON(ctx, key, &m); err != nil {
		return m, err
	}
	if m.Shards, err = appendPages(ctx, s, m.Shards, m.ShardPages); err != nil {
		return m, err
	}
	m.BadLists, err = appendPages(ctx, s, m.BadLists, m.BadPages)
	return m, err
}

// DatasetShards reads shards first to last-1 of a dataset's manifest, by their place in it.
func DatasetShards(ctx context.Context, s *storage.Store, key string, first, last int) ([]record.Shard, error) {
	var m record.DatasetManifest
	if err := s.GetJSON(ctx, key, &m); err != nil {
		return nil, err
	}
	if all := len(m.Shards) + record.Entries(m.ShardPages); first < 0 || first > last || last > all {
		return nil, fmt.Errorf("shards %d to %d %w the %d of %s", first, last, ErrUnfit, all, key)
	}
	if len(m.ShardPages) == 0 {
		return m.Shards[first:last], nil
	}
	begin := 0 // place of the first shard of those that are read
	for begin+m.ShardPages[0].Entries <= first && len(m.ShardPages) > 1 {
		begin += m.ShardPages[0].Entries
		m.ShardPages = m.ShardPages[1:]
	}
	needed := 0
	for needed < len(m.ShardPages) && begin+record.Entries(m.ShardPages[:needed]) < last {
		needed++
	}
	shards, err := appendPages(ctx, s, m.Shards, m.ShardPages[:needed])
	if err != nil {
		return nil, err
	}
	return shards[first-begin : last-begin], nil
}

// PublishDataset publishes a dataset's manifest, with pages of those lists that have more entries than so many.
func PublishDataset(
	ctx context.Context, s *storage.Store, group string, m *record.DatasetManifest, entries int,
) (err error) {
	stored := *m
	if stored.Shards, m.ShardPages, err = inPages(ctx, s, group, m.Shards, entries); err != nil {
		return err
	}
	if stored.BadLists, m.BadPages, err = inPages(ctx, s, group, m.BadLists, entries); err != nil {
		return err
	}
	stored.ShardPages, stored.BadPages = m.ShardPages, m.BadPages
	return s.Publish(ctx, layout.Manifest(group), stored)
}

// PublishTokens publishes the manifest of token shards, in the same way.
func PublishTokens(
	ctx context.Context, s *storage.Store, group string, m record.TokensManifest, entries int,
) (err error) {
	if m.Shards, m.ShardPages, err = inPages(ctx, s, group, m.Shards, entries); err != nil {
		return err
	}
	return s.Publish(ctx, layout.Manifest(group), m)
}

// ReadTokens reads the manifest of token shards, with those that lie in pages.
func ReadTokens(ctx context.Context, s *storage.Store, key string) (m record.TokensManifest, err error) {
	if err = s.GetJSON(ctx, key, &m); err != nil {
		return m, err
	}
	m.Shards, err = appendPages(ctx, s, m.Shards, m.ShardPages)
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
	var bad []dataset.Bad
	return bad, readList(ctx, s, o, &bad)
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
