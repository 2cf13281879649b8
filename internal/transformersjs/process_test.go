package transformersjs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"distilvit/artifact/record"
	"distilvit/internal/testenv"
)

// program writes a shell script that stands for Node or Chromium. It has a child of its own, whose id it writes to
// the file that is returned, too.
func program(t *testing.T, then string) (path, child string) {
	t.Helper()
	dir := t.TempDir()
	path, child = filepath.Join(dir, "program"), filepath.Join(dir, "child")
	script := "#!/bin/sh\nsleep 1000 &\necho $! > " + child + ".new; mv " + child + ".new " + child + "\n" + then + "\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, child
}

// gone waits for the end of a program's child, which may still be a zombie of init's.
func gone(t *testing.T, child string) {
	t.Helper()
	raw, err := os.ReadFile(child)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	testenv.Await(t, "the end of the program's child", func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ") || syscall.Kill(pid, 0) != nil
	})
}

var work = []Work{{Dtype: "q8", Images: []string{"/a.png"}}}

func TestASilentProgramIsKilledWithItsChildren(t *testing.T) {
	for _, device := range []string{record.DeviceNode, record.DeviceWasm} {
		path, child := program(t, "echo it hangs >&2; wait")
		r := Runner{Node: path, Chromium: path, Silence: time.Second}
		err := r.Captions(t.Context(), device, []string{"/model"}, work, func(Line) {})
		var silent *SilentError
		if !errors.As(err, &silent) || !strings.Contains(err.Error(), "it hangs") {
			t.Errorf("%s: %v", device, err)
		}
		gone(t, child)
	}
}

func TestCancellingKillsTheProgramWithItsChildren(t *testing.T) {
	for _, device := range []string{record.DeviceNode, record.DeviceWasm, record.DeviceWebGPU} {
		path, child := program(t, "wait")
		ctx, cancel := context.WithCancel(t.Context())
		r := Runner{Node: path, Chromium: path}
		ended := make(chan error, 1)
		go func() { ended <- r.Captions(ctx, device, []string{"/model"}, work, func(Line) {}) }()
		testenv.Await(t, "the program's child", func() bool { _, err := os.Stat(child); return err == nil })
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", device, err)
		}
		gone(t, child)
	}
}

func TestADeadProgramSaysWhy(t *testing.T) {
	for _, device := range []string{record.DeviceNode, record.DeviceWasm} {
		path, child := program(t, "echo no such module >&2; kill $!; exit 3")
		r := Runner{Node: path, Chromium: path}
		err := r.Captions(t.Context(), device, []string{"/model"}, work, func(Line) {})
		if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no such module") {
			t.Errorf("%s: %v", device, err)
		}
		gone(t, child)
	}
	path, _ := program(t, "echo bye >&2; kill $!; exit 0")
	r := Runner{Chromium: path}
	err := r.Captions(t.Context(), record.DeviceWasm, []string{"/model"}, work, func(Line) {})
	if !errors.Is(err, errEarly) || !strings.Contains(err.Error(), "bye") {
		t.Errorf("a browser that closes by itself: %v", err)
	}
	path, _ = program(t, "exec >&-; echo it lingers >&2; wait")
	r = Runner{Node: path, Silence: time.Second}
	err = r.Captions(t.Context(), record.DeviceNode, []string{"/model"}, work, func(Line) {})
	if silent := (*SilentError)(nil); !errors.As(err, &silent) || !strings.Contains(err.Error(), "it lingers") {
		t.Errorf("a program that closes its output and does not end: %v", err)
	}
	r = Runner{Node: "/no/such/node"}
	if err := r.Captions(t.Context(), record.DeviceNode, nil, work, func(Line) {}); err == nil {
		t.Error("a program that is not there is no error")
	}
}

// What one dtype does to a program is no reason to leave the others unchecked.
func TestADtypeThatCrashesIsSaidAndTheOthersAreChecked(t *testing.T) {
	const script = `
job=$(cat)
kill $!
case "$job" in
*fp32*) echo '{"dtype":"fp32","image":"/a.png","token_ids":[1,2]}'; echo 'out of memory' >&2; exit 134;;
*q4*) echo '{"dtype":"q4","image":"/a.png","token_ids":[3]}'; echo '{"dtype":"fp16","error":"no float16"}';;
esac`
	path, _ := program(t, script)
	r := Runner{Node: path, Library: Library{Version: "4.3.1", Module: "any"}}
	checks, err := r.Check(t.Context(), "/model", []Line{
		{Dtype: "fp32", Image: "/a.png", TokenIDs: []int32{1, 2}}, {Dtype: "q8", Image: "/a.png", TokenIDs: []int32{1, 2}},
		{Dtype: "q4", Image: "/a.png", TokenIDs: []int32{1, 2}}, {Dtype: "fp16", Image: "/a.png", TokenIDs: []int32{1}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for dtype, want := range map[string]string{
		"fp32": "ok (1 of 1)", "q8": "out of memory", "q4": "wrong (0 of 1 captions)", "fp16": "does not run: no float16",
	} {
		if len(checks[dtype]) != 1 || !strings.Contains(checks[dtype][0].String(), want) {
			t.Errorf("%s: %v, want %s", dtype, checks[dtype], want)
		}
	}
	all := []record.ExportCheck{{Dtype: "fp32", Devices: checks["fp32"]}, {Dtype: "q4", Devices: checks["q4"]}, {Dtype: "int8"}}
	var lacking *MissingError
	if err := missing(all, []string{record.DeviceNode}); !errors.As(err, &lacking) || len(lacking.Exports) != 2 {
		t.Errorf("%v", err)
	}
	if err := missing(all[:1], []string{record.DeviceNode}); err != nil {
		t.Error(err)
	}
}
