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
// XLA's CPU plugin reports a matrix product too big for the host.
var outOfMemory = regexp.MustCompile(`(?i)out of memory|RESOURCE_EXHAUSTED|CUDA_ERROR_OUT_OF_MEMORY|OUT_OF_MEMORY` +
	`|cannot allocate memory|failed to allocate|bad_alloc|PJRT error \(code=8\)|YNNPACK operation failed|pthread_create|newosproc`)

var diskFull = regexp.MustCompile(`(?i)no space left on device|disk quota exceeded`)

// badSetup is what no other process and no other time changes.
var badSetup = regexp.MustCompile(`Unknown flags? in XLA_FLAGS`)

// crashLine starts the part of a log worth showing of a crash; the lines after
// it are the reason's details, the ones at the very end only registers.
var crashLine = regexp.MustCompile(`^(panic:|fatal error:|runtime:|SIG[A-Z]+:|unexpected fault|F\d{4} )|Check failed|PJRT error|ABORT|terminate called`)

// death tells what the end of a child means: its exit status, what it wrote,
// and whether the kernel killed a process of this machine for memory meanwhile.
func death(ws syscall.WaitStatus, stderr []string, oomKilled bool) *Error {
	how := fmt.Sprintf("exit status %d", ws.ExitStatus())
	if ws.Signaled() {
		how = "signal " + ws.Signal().String()
	}
	text := strings.Join(stderr, "\n")
	e := &Error{Kind: DeviceLost, Message: "trainer died: " + how, Stderr: excerpt(stderr)}
	switch {
	case badSetup.MatchString(text):
		e.Kind = InvalidInput
	case outOfMemory.MatchString(text):
		e.Kind = OutOfMemory
	case diskFull.MatchString(text):
		e.Kind = StorageFull
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
	return &Error{Kind: kind, Message: text}
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
