package artifact

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"distilvit/artifact/record"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// Pager stores a list of any length below a group in pages of Size entries. A list that fits into one stays in
// memory, so that it can be kept in another way.
type Pager[T any] struct {
	Store *storage.Store
	Group string
	Size  int

	Rest  []T // entries behind those that are stored; Size at most
	pages []record.Page
}

// Add puts an entry at the list's end.
func (p *Pager[T]) Add(ctx context.Context, entry T) error {
	if len(p.Rest) == p.Size {
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	p.Rest = append(p.Rest, entry)
	return nil
}

// Fits says that nothing is stored yet: Rest is all of the list.
func (p *Pager[T]) Fits() bool { return len(p.pages) == 0 }

// Pages stores the rest and answers the pages of the whole list.
func (p *Pager[T]) Pages(ctx context.Context) ([]record.Page, error) {
	if len(p.Rest) > 0 {
		if err := p.flush(ctx); err != nil {
			return nil, err
		}
	}
	return p.pages, nil
}

func (p *Pager[T]) flush(ctx context.Context) error {
	page, err := PutPage(ctx, p.Store, p.Group, p.Rest)
	if err != nil {
		return err
	}
	p.pages, p.Rest = append(p.pages, page), p.Rest[:0]
	return nil
}

// PutPage stores a part of a list below a group, as canonical JSON under the digest of its bytes.
func PutPage[T any](ctx context.Context, s *storage.Store, group string, entries []T) (record.Page, error) {
	content, err := storage.Canonical(entries)
	if err != nil {
		return record.Page{}, err
	}
	o, err := PutBlob(ctx, s, group, ".json", content)
	return record.Page{Object: o, Entries: len(entries)}, err
}

// ReadPage reads a page's entries.
func ReadPage[T any](ctx context.Context, s *storage.Store, page record.Page) ([]T, error) {
	var entries []T
	if err := readList(ctx, s, page.Object, &entries); err != nil {
		return nil, err
	}
	if len(entries) != page.Entries {
		return nil, fmt.Errorf("page %s has %d entries, which %w the %d that it is said to have", page.Object.Key,
			len(entries), ErrUnfit, page.Entries)
	}
	return entries, nil
}

// ReadPages yields the entries of all pages, one page in memory. An error is the last.
func ReadPages[T any](ctx context.Context, s *storage.Store, pages []record.Page) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, page := range pages {
			entries, err := ReadPage[T](ctx, s, page)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// inPages answers a list as it is, or one of more entries than so many as stored pages.
func inPages[T any](
	ctx context.Context, s *storage.Store, group string, list []T, entries int,
) ([]T, []record.Page, error) {
	if len(list) <= entries {
		return list, nil, nil
	}
	p := &Pager[T]{Store: s, Group: group, Size: entries}
	for _, e := range list {
		if err := p.Add(ctx, e); err != nil {
			return nil, nil, err
		}
	}
	pages, err := p.Pages(ctx)
	return nil, pages, err
}

// appendPages reads all pages behind a list.
func appendPages[T any](ctx context.Context, s *storage.Store, list []T, pages []record.Page) ([]T, error) {
	for e, err := range ReadPages[T](ctx, s, pages) {
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// readList reads a stored JSON array, verified by its digest.
func readList(ctx context.Context, s *storage.Store, o layout.Object, into any) error {
	raw, err := s.GetBytes(ctx, o)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", o.Key, err)
	}
	return nil
}
