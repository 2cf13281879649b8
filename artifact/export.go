package artifact

import (
	"context"

	"distilvit/artifact/record"
	"distilvit/storage"
)

// FindExport is the export under this key if all its files are still there; nil
// where it has to be made.
func FindExport(ctx context.Context, s *storage.Store, key string) (*record.Export, error) {
	var e record.Export
	err := s.GetJSON(ctx, key, &e)
	if NotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ok, err := Complete(ctx, s, e.Files)
	if err != nil || !ok {
		return nil, err
	}
	return &e, nil
}
