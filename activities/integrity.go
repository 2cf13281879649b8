package activities

import (
	"context"
	"errors"
	"fmt"

	"distilvit/artifact"
	"distilvit/pipeline"
	"distilvit/storage"
	"distilvit/storage/layout"
)

// DropBroken reads objects that were found broken once more and removes those
// that are. Objects of other runs and of published models are never touched.
func (a *Activities) DropBroken(
	ctx context.Context, in pipeline.DropBrokenInput,
) (pipeline.DropBrokenResult, error) {
	return run(ctx, func(ctx context.Context, p *pulse) (pipeline.DropBrokenResult, error) {
		var out pipeline.DropBrokenResult
		for i, key := range in.Keys {
			p.progress("verify", int64(i), int64(len(in.Keys)), key)
			group, ok := layout.GroupOf(key)
			own := group == layout.Run(in.Run).Group()
			if !ok || !own && !layout.Shared(key) {
				return out, &typed{
					pipeline.Corrupt,
					fmt.Errorf("%s is broken and cannot be made again by run %s", key, in.Run),
				}
			}
			err := artifact.DropBroken(ctx, a.Store, key)
			switch {
			case err == nil:
				out.Sound = append(out.Sound, key)
				continue
			case artifact.NotFound(err):
				out.Missing = append(out.Missing, key)
			case errors.Is(err, storage.ErrCorrupt):
				out.Dropped = append(out.Dropped, key)
			default:
				return out, err
			}
		}
		var err error
		out.Checkpoints, err = a.checkpoints(in.Run).Without(ctx, append(out.Dropped, out.Missing...))
		return out, err
	})
}

// dropUnreadable removes what is broken of a checkpoint that cannot be read, so
// that it can be stored again, and says so in one line.
func (a *Activities) dropUnreadable(ctx context.Context, key string, reason error) (string, error) {
	for _, broken := range artifact.BrokenKeys(reason) {
		if err := artifact.DropBroken(ctx, a.Store, broken); err != nil && !artifact.Unreadable(err) {
			return "", err
		}
	}
	return fmt.Sprintf("%s cannot be read (%v)", key, reason), nil
}
