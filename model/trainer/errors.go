package trainer

import (
	"fmt"
	"strings"
)

// Kind is what a failure of a trainer calls for. The names are those on the
// wire and those people see.
type Kind string

const (
	// DeviceLost: the backend failed or the process died; a fresh process may work.
	DeviceLost Kind = "DeviceLost"
	// OutOfService: DeviceLost or Stalled once too often; nothing is started on
	// the device until a person puts it back.
	OutOfService Kind = "OutOfService"
	// Stalled: the watchdog killed it.
	Stalled Kind = "Stalled"
	// OutOfMemory: the device's or the host's memory is exhausted.
	OutOfMemory Kind = "OutOfMemory"
	// Diverged: loss or gradient is not finite.
	Diverged Kind = "Diverged"
	// InvalidInput can never work.
	InvalidInput Kind = "InvalidInput"
	// Corrupt: stored data does not read back.
	Corrupt Kind = "Corrupt"
	// StorageFull: no space on the local disk.
	StorageFull Kind = "StorageFull"
)

// Error is a failed command or a dead child.
type Error struct {
	Kind    Kind
	Message string
	Stderr  []string // last lines the child wrote
	Log     string   // file with all of them; empty: none
}

func (e *Error) Error() string {
	s := e.Message
	if len(e.Stderr) > 0 {
		s += "; last of its log: " + strings.Join(e.Stderr, " | ")
	}
	return s
}

func errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}
