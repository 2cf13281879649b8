package storage

import "errors"

// What went wrong, for errors.Is. Every error of a Store that is not one of
// these is a context's end or a mistake of the caller.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("different bytes are stored already")
	ErrCorrupt     = errors.New("bytes do not match their digest")
	ErrUnavailable = errors.New("unavailable")
	ErrFull        = errors.New("no space left")
	ErrDenied      = errors.New("denied")
)
