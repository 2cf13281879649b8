package pixels

import "errors"

// What is wrong with a picture, for errors.Is; an error that is none of these means broken bytes.
var (
	ErrFormat   = errors.New("not a picture of a format that is read")
	ErrTooLarge = errors.New("the picture is too large")
)

// ofKind is an error with its own text that is also one of the above.
type ofKind struct {
	error
	kind error
}

func (e ofKind) Unwrap() []error { return []error{e.error, e.kind} }
