package trainer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"distilvit/model/train"
)

// What the backend, the Go runtime and the C library say when memory ends. A
// thread that cannot be made is memory too; YNNPACK's "operation failed" is how
// XLA's CPU plugin reports a matrix product too big for the host, "resource
// allocation failed" how cuBLAS does with the device's.
var outOfMemory = regexp.MustCompile(`(?i)out of memory|RESOURCE_EXHAUSTED|CUDA_ERROR_OUT_OF_MEMORY` +
	`|OUT_OF_MEMORY|cannot allocate memory|failed to allocate|bad_alloc|PJRT error \(code=8\)` +
	`|YNNPACK operation failed|pthread_create|newosproc|resource allocation failed`)

// doesWithout is XLA's allocator where it had no memory for what is only faster.
var doesWithout = regexp.MustCompile(`(?i)out of memory .*The caller indicates that this is not a failure`)

var diskFull = regexp.MustCompile(`(?i)no space left on device|disk quota exceeded`)

// badSetup is what no other process and no other time changes.
var badSetup = regexp.MustCompile(`Unknown flags? in XLA_FLAGS`)

// gaveUp is XLA's own watchdog: one of the devices of a run did not come to what
// they do together, and the process ended itself.
var gaveUp = regexp.MustCompile(`Termination timeout .*exceeded`)

// crashLine starts the part of a log worth showing of a crash; the lines after
// it are the reason's details, the ones at the very end only registers.
var crashLine = regexp.MustCompile(
	`^(panic:|fatal error:|runtime:|SIG[A-Z]+:|unexpected fault|F\d{4} )|Check failed|PJRT error|ABORT` +
		`|terminate called`,
)

// death tells what the end of a child means: its exit status, what it wrote,
// and whether the kernel killed a process of this machine for memory meanwhile.
func death(ws syscall.WaitStatus, stderr []string, oomKilled bool) *Error {
	how := fmt.Sprintf("exit status %d", ws.ExitStatus())
	if ws.Signaled() {
		how = "signal " + ws.Signal().String()
	}
	text := doesWithout.ReplaceAllString(strings.Join(stderr, "\n"), "")
	e := &Error{Kind: DeviceLost, Message: "trainer died: " + how, Stderr: excerpt(stderr)}
	switch {
	case badSetup.MatchString(text):
		e.Kind = InvalidInput
	case outOfMemory.MatchString(text):
		e.Kind = OutOfMemory
	case diskFull.MatchString(text):
		e.Kind = StorageFull
	case gaveUp.MatchString(text):
		e.Kind = Stalled
	case ws.Signaled() && ws.Signal() == syscall.SIGKILL && oomKilled:
		e.Kind = OutOfMemory
		e.Message += ", for memory by the kernel"
	}
	return e
}

// failure classifies an error met in the child.
func failure(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var diverged *train.DivergedError
	text := err.Error()
	kind := DeviceLost
	switch {
	case errors.As(err, &diverged):
		kind = Diverged
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), diskFull.MatchString(text):
		kind = StorageFull
	case errors.Is(err, syscall.ENOMEM), outOfMemory.MatchString(text):
		kind = OutOfMemory
	case errors.Is(err, fs.ErrNotExist):
		kind = Corrupt
	}
	return &Error{Kind: kind, Message: brief(text)}
}

// ofPlugin is what go-xla makes of every error that XLA's plugin returns.
var ofPlugin = regexp.MustCompile(`PJRT error \(code=\d+\)`)

// unreadable is the error of bringing stored data to the device: the data's fault
// unless device or memory failed meanwhile, which says nothing of the data.
func unreadable(what string, err error) error {
	err = fmt.Errorf("%s: %w", what, err)
	if kind := failure(err).Kind; ofPlugin.MatchString(err.Error()) || kind == OutOfMemory || kind == StorageFull {
		return err
	}
	return &Error{Kind: Corrupt, Message: brief(err.Error())}
}

// brief is the beginning of a message in one line: with an allocation that fails
// XLA sends pages about buffers, which the log has.
func brief(message string) string {
	const most, longest = 4, 600
	lines := strings.Split(strings.TrimSpace(message), "\n")
	more := len(lines) > most
	if more {
		lines = lines[:most]
	}
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	one := strings.Join(lines, " | ")
	if len(one) > longest {
		one, more = strings.ToValidUTF8(one[:longest], ""), true
	}
	if more {
		one += " …"
	}
	return one
}

// runtimeFrame is a line of a Go trace that every trace has.
var runtimeFrame = regexp.MustCompile(`^(runtime\.|/\S*/src/runtime/|goroutine \d+ gp=|PC=0x)`)

// excerpt is the few lines of a log that say why it ends.
func excerpt(lines []string) []string {
	const most = 6
	from := max(0, len(lines)-most)
	for i, l := range lines {
		if crashLine.MatchString(l) {
			from = i
			break
		}
	}
	var out []string
	for _, l := range lines[from:] {
		if l = strings.TrimSpace(l); l == "" || runtimeFrame.MatchString(l) {
			continue
		}
		if len(l) > 300 {
			l = l[:300] + "…"
		}
		if out = append(out, l); len(out) == most {
			break
		}
	}
	return out
}

// oomKills counts the processes this machine's kernel has killed for memory;
// -1 where it does not say.
func oomKills() int64 {
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			v, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
			if err == nil {
				return v
			}
		}
	}
	return -1
}
