package activities

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"distilvit/artifact"
	"distilvit/hub"
	"distilvit/internal/transformersjs"
	"distilvit/model/trainer"
	"distilvit/pipeline"
	"distilvit/storage"
)

// paused is the type of the error of an attempt that a person paused or reset:
// Temporal starts another in its time.
const paused = "Paused"

// typed is an error that knows its type already.
type typed struct {
	kind string
	err  error
}

func (e *typed) Error() string { return e.err.Error() }
func (e *typed) Unwrap() error { return e.err }

// invalid is a mistake in the input: one line that says what to change.
func invalid(format string, args ...any) error {
	return &typed{pipeline.InvalidInput, fmt.Errorf(format, args...)}
}

// orInvalid makes an error the input's fault unless storage, the disk or the
// context's end explain it.
func orInvalid(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || kindOf(err) != "" {
		return err
	}
	return &typed{pipeline.InvalidInput, err}
}

// kindOf is the type of an error, or empty.
func kindOf(err error) string {
	var t *typed
	var e *trainer.Error
	var missing *transformersjs.MissingError
	switch {
	case errors.As(err, &t):
		return t.kind
	case errors.As(err, &e):
		return string(e.Kind)
	case errors.As(err, &missing):
		return pipeline.InvalidInput
	case errors.Is(err, storage.ErrConflict), errors.Is(err, artifact.ErrOther):
		return pipeline.Nondeterministic
	case errors.Is(err, storage.ErrCorrupt), errors.Is(err, artifact.ErrUnfit):
		return pipeline.Corrupt
	case errors.Is(err, storage.ErrNotFound):
		return pipeline.Corrupt // what a manifest names has to be there
	case errors.Is(err, storage.ErrDenied), errors.Is(err, artifact.ErrFileName):
		return pipeline.InvalidInput
	case errors.Is(err, storage.ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return pipeline.StorageFull
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, hub.ErrUnavailable):
		return pipeline.StorageUnavailable
	case errors.Is(err, fs.ErrPermission):
		return pipeline.InvalidInput
	}
	return ""
}

// permanent types are never mended by another attempt of the same activity.
var permanent = map[string]bool{pipeline.InvalidInput: true, pipeline.Nondeterministic: true}

// applicationError is what Temporal gets: a cancellation as such, the end of
// the worker or a pause as a benign failure, everything else with its type.
func applicationError(ctx context.Context, err error) error {
	if ctx.Err() != nil && kindOf(err) == "" {
		cause := context.Cause(ctx)
		var canceled *temporal.CanceledError
		if errors.As(cause, &canceled) {
			return canceled
		}
		kind := pipeline.Interrupted
		if errors.Is(cause, activity.ErrActivityPaused) || errors.Is(cause, activity.ErrActivityReset) {
			kind = paused
		}
		return temporal.NewApplicationErrorWithOptions(cause.Error(), kind, temporal.ApplicationErrorOptions{
			Category: temporal.ApplicationErrorCategoryBenign, Cause: err,
		})
	}
	kind := kindOf(err)
	options := temporal.ApplicationErrorOptions{NonRetryable: permanent[kind]}
	if keys := artifact.BrokenKeys(err); kind == pipeline.Corrupt && len(keys) > 0 {
		options.Details = []any{pipeline.Broken{Keys: keys}}
	}
	text := err.Error()
	if kind == pipeline.StorageFull {
		text += "; free some space and start the run again, it goes on from its checkpoints"
	}
	return temporal.NewApplicationErrorWithOptions(text, kind, options)
}
