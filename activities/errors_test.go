package activities

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"distilvit/hub"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage"
)

func TestErrorsGetTheTypesWorkflowsActOn(t *testing.T) {
	for _, c := range []struct {
		err   error
		kind  string
		final bool
	}{
		{invalid("no"), pipeline.InvalidInput, true},
		{fmt.Errorf("more: %w", invalid("no")), pipeline.InvalidInput, true},
		{&trainer.Error{Kind: trainer.DeviceLost}, pipeline.DeviceLost, false},
		{&trainer.Error{Kind: trainer.Stalled}, pipeline.Stalled, false},
		{&trainer.Error{Kind: trainer.OutOfMemory}, pipeline.OutOfMemory, false},
		{&trainer.Error{Kind: trainer.Diverged}, pipeline.Diverged, false},
		{&trainer.Error{Kind: trainer.Corrupt}, pipeline.Corrupt, false},
		{&trainer.Error{Kind: trainer.InvalidInput}, pipeline.InvalidInput, true},
		{&trainer.Error{Kind: trainer.StorageFull}, pipeline.StorageFull, false},
		{fmt.Errorf("x: %w", storage.ErrConflict), pipeline.Nondeterministic, true},
		{fmt.Errorf("x: %w", storage.ErrCorrupt), pipeline.Corrupt, false},
		{fmt.Errorf("x: %w", storage.ErrNotFound), pipeline.Corrupt, false},
		{fmt.Errorf("x: %w", storage.ErrUnavailable), pipeline.StorageUnavailable, false},
		{fmt.Errorf("x: %w", hub.ErrUnavailable), pipeline.StorageUnavailable, false},
		{fmt.Errorf("x: %w", storage.ErrFull), pipeline.StorageFull, false},
		{fmt.Errorf("x: %w", storage.ErrDenied), pipeline.InvalidInput, true},
		{&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, pipeline.StorageFull, false},
		{errors.New("something else"), "", false},
	} {
		var e *temporal.ApplicationError
		if !errors.As(applicationError(t.Context(), c.err), &e) || e.Type() != c.kind ||
			e.NonRetryable() != c.final {
			t.Errorf("%v: type %q, final %v; want %q, %v", c.err, e.Type(), e.NonRetryable(), c.kind, c.final)
		}
	}
}

func TestEndOfTheContextIsNoFailure(t *testing.T) {
	for _, c := range []struct {
		cause error
		kind  string
	}{
		{errStopping, pipeline.Interrupted},
		{activity.ErrActivityPaused, paused},
		{activity.ErrActivityReset, paused},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(c.cause)
		var e *temporal.ApplicationError
		if !errors.As(applicationError(ctx, ctx.Err()), &e) || e.Type() != c.kind || e.NonRetryable() ||
			e.Category() != temporal.ApplicationErrorCategoryBenign {
			t.Errorf("%v: %v", c.cause, e)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(temporal.NewCanceledError())
	if err := applicationError(ctx, ctx.Err()); !temporal.IsCanceledError(err) {
		t.Errorf("cancelled: %v", err)
	}
	// What fails for a reason of its own keeps it, also while the worker stops.
	ctx, cancel = context.WithCancelCause(t.Context())
	cancel(errStopping)
	var e *temporal.ApplicationError
	if !errors.As(applicationError(ctx, &trainer.Error{Kind: trainer.Diverged}), &e) ||
		e.Type() != pipeline.Diverged {
		t.Errorf("diverged while stopping: %v", e)
	}
}
