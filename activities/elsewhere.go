package activities

import (
	"context"
	"fmt"
	"os"

	"distilvit/pipeline"
)

// elsewhere is the error of a worker that lacks what the work was planned for: its backend, its JPEG
// decoder, its hardware. Where other workers may serve the queue the run waits for one that has it;
// where this is the only one, the error stands as it is.
func (a *Activities) elsewhere(ctx context.Context, queue string, err error) error {
	if a.Others == nil {
		return err
	}
	others, lookErr := a.Others(ctx, queue)
	if lookErr != nil {
		return fmt.Errorf("%w (are there other workers? %w)", err, lookErr)
	}
	if !others {
		return err
	}
	host, _ := os.Hostname()
	return &typed{pipeline.WrongWorker, fmt.Errorf("not on the worker on %s: %w", host, err)}
}
