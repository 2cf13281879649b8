package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"distilvit/storage"
	"distilvit/storage/layout"
	"distilvit/storage/retention"
)

// RunObjects are all objects that a run has, published or refers to, in an order in which they can be stored
// elsewhere: all documents (see layout.IsDocument) after everything else, manifests after other documents, and the
// run's config, by which others know the run, last.
func RunObjects(ctx context.Context, s *storage.Store, run layout.Run) ([]layout.Object, error) {
	used, err := Groups(ctx, s, run, "")
	if err != nil {
		return nil, err
	}
	models, err := retention.Published(ctx, s, string(run))
	if err != nil {
		return nil, err
	}
	var all []layout.Object
	for _, group := range slices.Concat([]string{run.Group()}, used, models) {
		for o, err := range s.List(ctx, group+"/") {
			if err != nil {
				return nil, err
			}
			all = append(all, o)
		}
	}
	order := func(o layout.Object) int {
		_, manifest := layout.ManifestOf(o.Key)
		switch {
		case o.Key == run.Config():
			return 3
		case manifest:
			return 2
		case layout.IsDocument(o.Key):
			return 1
		}
		return 0
	}
	slices.SortFunc(all, func(a, b layout.Object) int {
		return cmp.Or(order(a)-order(b), cmp.Compare(a.Key, b.Key))
	})
	return slices.CompactFunc(all, func(a, b layout.Object) bool { return a.Key == b.Key }), nil
}

// CopyObject brings an object into another store under its key, verified, unless it is there already, which it
// tells. One that is there with other bytes is replaced if it belongs to a run alone, or to a sweep, and an error if it is shared or
// published, where the same key always means the same bytes.
func CopyObject(ctx context.Context, from, to *storage.Store, o layout.Object) (there bool, err error) {
	stored, err := from.Stat(ctx, o.Key)
	if err != nil {
		return false, err
	}
	known, err := to.Stat(ctx, o.Key)
	switch {
	case err == nil && known.Size == stored.Size && known.SHA256 == stored.SHA256:
		return true, nil
	case err == nil && layout.AreaOf(o.Key) != layout.Runs && !layout.OfSweep(o.Key):
		return false, fmt.Errorf("%s: %w: sha256 %s is there already, and %s is to be copied", o.Key, storage.ErrConflict,
			known.SHA256, stored.SHA256)
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return false, err
	}
	body, object, err := from.Get(ctx, o.Key)
	if err != nil {
		return false, err
	}
	defer body.Close()
	_, err = to.PutReader(ctx, o.Key, body, object.Size)
	return false, err
}
