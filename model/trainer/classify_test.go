package trainer

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"distilvit/model/train"
)

func exited(code int) syscall.WaitStatus           { return syscall.WaitStatus(code << 8) }
func signaled(s syscall.Signal) syscall.WaitStatus { return syscall.WaitStatus(s) }

// The texts are those XLA's plugins, glibc and the Go runtime really wrote.
func TestDeathIsClassified(t *testing.T) {
	for _, c := range []struct {
		name   string
		status syscall.WaitStatus
		stderr string
		oom    bool
		want   Kind
		shows  string
	}{
		{"kill -9", signaled(syscall.SIGKILL), "", false, DeviceLost, "signal killed"},
		{"kernel's OOM killer", signaled(syscall.SIGKILL), "", true, OutOfMemory, "for memory"},
		{"SIGTERM", signaled(syscall.SIGTERM), "", false, DeviceLost, "signal terminated"},
		{"SIGABRT with GOTRACEBACK=crash", signaled(syscall.SIGABRT), "SIGABRT: abort\nPC=0x1 m=0", false,
			DeviceLost, "SIGABRT: abort"},
		{
			"plugin CHECK", exited(2),
			"F0000 00:00:1 x.cc:12] Check failed: a == b\nSIGABRT: abort\nsignal arrived during cgo execution\n\ngoroutine 1\nrax 0x0",
			false, DeviceLost, "Check failed: a == b",
		},
		{
			"segmentation fault", exited(2),
			"SIGSEGV: segmentation violation\nPC=0x1\nsignal arrived during cgo execution", false, DeviceLost,
			"SIGSEGV",
		},
		{"Go panic", exited(2), "panic: runtime error: index out of range\n\ngoroutine 5 [running]:", false,
			DeviceLost, "index out of range"},
		{"device memory", exited(1), "PJRT error (code=8): Out of memory allocating 4398046511104 bytes.",
			false, OutOfMemory, "4398046511104"},
		{"matrix product too big", exited(1), "PJRT error (code=13): YNNPACK operation failed: error", false,
			OutOfMemory, "YNNPACK"},
		{"thread-local data", exited(127), "cannot allocate memory for thread-local data: ABORT", false,
			OutOfMemory, "thread-local"},
		{
			"no more threads", exited(2),
			"F0000 Check failed: ret == 0 Thread tf_xla creation via pthread_create() failed.\nSIGABRT: abort",
			false, OutOfMemory, "pthread_create",
		},
		{"Go heap", exited(2), "fatal error: runtime: out of memory", false, OutOfMemory, "out of memory"},
		{"CUDA memory", exited(2), "RESOURCE_EXHAUSTED: CUDA_ERROR_OUT_OF_MEMORY", false,
			OutOfMemory, "CUDA"},
		{"an allocator that does without, and a crash", exited(2), "W0518 21:59:55.086788 7 bfc_allocator.cc:310] " +
			"Allocator (GPU_0_bfc) ran out of memory trying to allocate 3.37GiB with freed_by_count=0. The caller " +
			"indicates that this is not a failure, but this may mean that there could be performance gains if more " +
			"memory were available.\nSIGSEGV: segmentation violation", false, DeviceLost, "SIGSEGV"},
		{"XLA's own watchdog", exited(42), "Termination timeout of 30 seconds exceeded. Exiting to ensure a " +
			"consistent program state.", false, Stalled, "exit status 42"},
		{"no GPU", exited(1), "PJRT error (code=9): No visible GPU devices.", false, DeviceLost,
			"No visible GPU"},
		{"bad flag", exited(1), "F0000 00:00:00 Unknown flag in XLA_FLAGS: --xla_nonsense", false,
			InvalidInput, "--xla_nonsense"},
		{"disk full", exited(1), "write /x: no space left on device", false, StorageFull, "no space"},
		{"says nothing", exited(3), "", false, DeviceLost, "exit status 3"},
	} {
		e := death(c.status, strings.Split(c.stderr, "\n"), c.oom)
		if e.Kind != c.want {
			t.Errorf("%s: %s, want %s (%v)", c.name, e.Kind, c.want, e)
		}
		if !strings.Contains(e.Error(), c.shows) {
			t.Errorf("%s: %q does not show %q", c.name, e, c.shows)
		}
	}
}

func TestErrorsOfTheChildAreClassified(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{&train.DivergedError{}, Diverged},
		{fmt.Errorf("step 3: %w", &train.DivergedError{}), Diverged},
		{errors.New("PJRT error (code=8): Out of memory allocating 12 bytes."), OutOfMemory},
		{fmt.Errorf("write: %w", syscall.ENOSPC), StorageFull},
		{fmt.Errorf("open shard: %w", fs.ErrNotExist), Corrupt},
		{fmt.Errorf("read config: %w", errorf(InvalidInput, "hidden_size 0")), InvalidInput},
		{errors.New("PJRT error (code=13): internal"), DeviceLost},
		{unreadable("load", errors.New("safetensors: header of 7 bytes")), Corrupt},
		{unreadable("load", fmt.Errorf("open: %w", fs.ErrNotExist)), Corrupt},
		{unreadable("load", errors.New("upload: PJRT error (code=13): CUDA_ERROR_UNKNOWN: unknown error")), DeviceLost},
		{unreadable("load", errors.New("upload: PJRT error (code=8): Out of memory")), OutOfMemory},
		{unreadable("load", fmt.Errorf("read: %w", syscall.ENOMEM)), OutOfMemory},
	} {
		if got := failure(c.err).Kind; got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

func TestAMessageOfPagesIsOneShortLine(t *testing.T) {
	pages := "PJRT error (code=8): Out of memory while trying to allocate 4.44GiB.\n" + strings.Repeat("\tBuffer é\n", 999)
	e := failure(errors.New(pages))
	const want = "PJRT error (code=8): Out of memory while trying to allocate 4.44GiB. | Buffer é | Buffer é | Buffer é …"
	if e.Kind != OutOfMemory || e.Message != want {
		t.Errorf("%s, %q", e.Kind, e.Message)
	}
	if got := brief(strings.Repeat("é", 999)); len(got) > 610 || !utf8.ValidString(got) || !strings.HasSuffix(got, "é …") {
		t.Errorf("%q", got)
	}
	if got := brief("as it is"); got != "as it is" {
		t.Errorf("%q", got)
	}
}

func TestExcerptStartsAtTheReasonAndStaysShort(t *testing.T) {
	lines := []string{
		"loading", "panic: boom", "", "goroutine 1 gp=0x1 m=3", "runtime.throw({0x1, 0x2})",
		"\t/usr/local/go/src/runtime/panic.go:1 +0x4", "a", "b", "c", "d", "e", "rax 0",
	}
	got := excerpt(lines)
	if got[0] != "panic: boom" || len(got) != 6 {
		t.Fatalf("excerpt %q", got)
	}
	if got := excerpt([]string{"1", "2", "3", "4", "5", "6", "7", "8"}); got[0] != "3" || len(got) != 6 {
		t.Fatalf("excerpt without a reason %q", got)
	}
}
