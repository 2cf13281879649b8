package artifact

import (
	"context"
	"slices"

	"distilvit/artifact/record"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// NewestProgress is a run's newest record that can be read, since what an older one
// does not know is done again; zero where there is none. passedOver, if not nil, is
// told the keys of those that cannot be read.
func NewestProgress(
	ctx context.Context, s *storage.Store, run layout.Run, passedOver func(key string),
) (record.Progress, error) {
	var keys []string
	for o, err := range s.List(ctx, run.Folder(layout.Progress)) {
		if err != nil {
			return record.Progress{}, err
		}
		keys = append(keys, o.Key)
	}
	slices.Sort(keys)
	for _, key := range slices.Backward(keys) {
		var p record.Progress
		if err := s.GetJSON(ctx, key, &p); !Unreadable(err) {
			return p, err
		}
		if passedOver != nil {
			passedOver(key)
		}
	}
	return record.Progress{}, nil
}

// PutProgress records what a new execution of the run goes on from. The newest
// checkpoint, which is looked for each time, is not recorded.
func PutProgress(ctx context.Context, s *storage.Store, run layout.Run, p record.Progress) error {
	p.Newest = nil
	_, err := s.PutJSON(ctx, run.Progress(p.Branch, len(p.Epochs)), p)
	return err
}
