package activities

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"distilvit/artifact"
	"distilvit/artifact/record"
	"distilvit/dataset"
	"distilvit/model/tokenizer"
	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// PlanTokenize names the token shards, and tells whether they are there.
func (a *Activities) PlanTokenize(ctx context.Context, in pipeline.TokenizeInput) (pipeline.TokenizePlan, error) {
	return run(ctx, func(ctx context.Context, _ *pulse) (pipeline.TokenizePlan, error) {
		t, err := a.tokenizer(ctx, in.Model)
		if err != nil {
			return pipeline.TokenizePlan{}, err
		}
		plan := pipeline.TokenizePlan{}
		if plan.Tokens, err = tokensPrefix(in, t); err != nil {
			return plan, err
		}
		if err := a.adopt(ctx, in.Run, plan.Tokens); err != nil {
			return plan, err
		}
		m, err := artifact.ReadTokens(ctx, a.Store, layout.Manifest(plan.Tokens))
		if artifact.NotFound(err) {
			return plan, nil
		}
		if err != nil {
			return plan, err
		}
		missing, err := artifact.Missing(ctx, a.Store, plan.Tokens, m.Objects())
		plan.Reused, plan.Cut = len(missing) == 0, m.Cut
		plan.Warnings = madeAgain("token", plan.Tokens, len(missing))
		return plan, err
	})
}

// tokensPrefix names token shards by all that determines them.
func tokensPrefix(in pipeline.TokenizeInput, t *tokenizer.Tokenizer) (string, error) {
	key, err := artifact.Digest(struct {
		Stage, Dataset, Tokenizer string
		MaxLength, Version        int
		Compat                    string `json:",omitempty"`
	}{"tokenize", in.Dataset.Manifest, t.Digest(), in.MaxLength, tokenizeVersion, in.Compat})
	return layout.TokenShards(key), err
}

func (a *Activities) tokenizer(ctx context.Context, ref record.ModelRef) (*tokenizer.Tokenizer, error) {
	dir, err := a.modelDir(ctx, ref, false)
	if err != nil {
		return nil, err
	}
	t, err := tokenizer.Load(dir)
	return t, orInvalid(ctx, err)
}

// TokenizeShards makes labels of the captions of shards First to Last-1 and stores
// them row by row as the pictures are.
func (a *Activities) TokenizeShards(
	ctx context.Context, in pipeline.TokenizeInput,
) (pipeline.TokenizeResult, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.TokenizeResult, error) {
		var out pipeline.TokenizeResult
		t, err := a.tokenizer(ctx, in.Model)
		if err != nil {
			return out, err
		}
		prefix, err := tokensPrefix(in, t)
		if err != nil {
			return out, err
		}
		shards, err := artifact.DatasetShards(ctx, a.Store, in.Dataset.Manifest, in.First, in.Last)
		if err != nil {
			return out, err
		}
		dir, done, err := a.scratch("tokens")
		if err != nil {
			return out, err
		}
		defer done()
		for i, s := range shards {
			path := filepath.Join(dir, "tokens.parquet")
			rows, cut, err := a.writeTokens(ctx, path, s, t, labels(t, in))
			if err != nil {
				return out, err
			}
			if rows != s.Rows {
				return out, &typed{
					pipeline.Corrupt,
					fmt.Errorf("shard %s has %d rows, its manifest says %d", s.Object.Key, rows, s.Rows),
				}
			}
			o, err := a.Store.PutBlob(ctx, prefix, ".parquet", path)
			if err != nil {
				return out, err
			}
			out.Shards = append(out.Shards, record.Shard{Index: s.Index, Split: s.Split, Rows: rows, Object: o})
			out.Cut += cut
			p.progress("tokenize", int64(i+1), int64(in.Last-in.First), "")
		}
		return out, nil
	})
}

// writeTokens encodes one shard's captions to a local file.
func (a *Activities) writeTokens(
	ctx context.Context, path string, s record.Shard, t *tokenizer.Tokenizer, l dataset.Labels,
) (rows, cut int, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	encode := iter.Seq2[dataset.TokenRow, error](func(yield func(dataset.TokenRow, error) bool) {
		for row, err := range a.captionRows(ctx, s) {
			if err != nil {
				yield(dataset.TokenRow{}, err)
				return
			}
			out := dataset.TokenRow{ID: row.ID}
			for _, c := range row.Captions {
				ids, short := l.Of(t.Encode(c))
				out.IDs = append(out.IDs, ids)
				if short {
					cut++
				}
			}
			if !yield(out, nil) {
				return
			}
		}
	})
	if rows, err = dataset.WriteTokens(f, encode); err != nil {
		return rows, cut, err
	}
	return rows, cut, f.Close()
}

func labels(t *tokenizer.Tokenizer, in pipeline.TokenizeInput) dataset.Labels {
	return dataset.Labels{End: t.EOS(), MaxLength: in.MaxLength, Pad: in.Compat == pipeline.CompatSeed}
}

// FinishTokens publishes the token shards; without shards it answers what is
// published.
func (a *Activities) FinishTokens(ctx context.Context, in pipeline.FinishTokensInput) (pipeline.Tokens, error) {
	return run(ctx, func(ctx context.Context, _ *pulse) (pipeline.Tokens, error) {
		key := layout.Manifest(in.Tokens)
		if len(in.Shards)+len(in.Pages) == 0 {
			_, err := a.Store.Stat(ctx, key)
			return pipeline.Tokens{Manifest: key}, err
		}
		m := record.TokensManifest{Version: tokenizeVersion, Shards: slices.Clone(in.Shards), Cut: in.Cut}
		for part, err := range artifact.ReadPages[pipeline.TokenizeResult](ctx, a.Store, in.Pages) {
			if err != nil {
				return pipeline.Tokens{}, err
			}
			m.Shards, m.Cut = append(m.Shards, part.Shards...), m.Cut+part.Cut
		}
		slices.SortFunc(m.Shards, func(x, y record.Shard) int { return x.Index - y.Index })
		out := pipeline.Tokens{Manifest: key}
		if len(in.Pages) > 0 {
			out.Cut = m.Cut
		}
		return out, a.publishTokens(ctx, in.Tokens, m)
	})
}

// publishTokens publishes a manifest, unless it is there, in the form of today or in those of programs that did not
// count what was cut, or knew no pages.
func (a *Activities) publishTokens(ctx context.Context, group string, m record.TokensManifest) (err error) {
	counted := m.Cut
	for _, entries := range []int{a.pageShards(), len(m.Shards)} {
		for _, cut := range []int{counted, 0} {
			m.Cut = cut
			if err = artifact.PublishTokens(ctx, a.Store, group, m, entries); !errors.Is(err, storage.ErrConflict) {
				return err
			}
		}
	}
	return err
}
