package trainer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func nothing(Event) {}

func wantKind(t *testing.T, err error, kind Kind, text string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind || !strings.Contains(e.Error(), text) {
		t.Fatalf("error %v, want %s with %q", err, kind, text)
	}
}

func TestDeathOfAChildIsTold(t *testing.T) {
	for _, c := range []struct {
		how  string
		kind Kind
		text string
		log  bool // it wrote one
	}{
		{"aborts", DeviceLost, "Check failed: everything", true},
		{"kills itself", DeviceLost, "signal killed", false},
		{"reports", Diverged, "loss is NaN at step 3", false},
	} {
		p := startFake(t, c.how, Limits{})
		_, err := p.Do(t.Context(), Command{Do: DoTrain, Train: &TrainArgs{}}, nothing)
		wantKind(t, err, c.kind, c.text)
		if p.Alive() {
			t.Errorf("%s: child lives", c.how)
		}
		var e *Error
		errors.As(err, &e)
		if _, err := os.Stat(e.Log); (err == nil) != c.log {
			t.Errorf("%s: log %q: %v", c.how, e.Log, err)
		}
	}
}

func TestSilentChildIsKilledAsStalled(t *testing.T) {
	p := startFake(t, "hangs", Limits{Step: 50 * time.Millisecond})
	_, err := p.Do(t.Context(), Command{Do: DoTrain, Train: &TrainArgs{}}, nothing)
	wantKind(t, err, Stalled, "in phase train")
	if p.Alive() {
		t.Error("child lives")
	}
}

func TestCancelledTrainingIsSavedFirst(t *testing.T) {
	p := startFake(t, "obeys", Limits{})
	why := errors.New("worker stops")
	ctx, cancel := context.WithCancelCause(t.Context())
	saved := ""
	e, err := p.Do(ctx, Command{Do: DoTrain, Train: &TrainArgs{Branch: 3}}, func(e Event) {
		switch e.Event {
		case EventStep:
			cancel(why)
		case EventCheckpoint:
			saved = e.Saved.Dir
		}
	})
	if !errors.Is(err, why) || e.Trained == nil || !e.Trained.Stopped || saved != "here" {
		t.Fatalf("%v, %v, saved %q", e, err, saved)
	}
	if !p.Alive() || !p.Holds(3, 8) || p.Holds(2, 8) || p.Holds(3, 7) {
		t.Error("the child should live and hold step 8 of branch 3")
	}
}

func TestDeafChildIsKilledAfterItsTimeToStop(t *testing.T) {
	p := startFake(t, "is deaf", Limits{Stop: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := p.Do(ctx, Command{Do: DoTrain, Train: &TrainArgs{}}, func(Event) { cancel() })
	if !errors.Is(err, context.Canceled) || p.Alive() {
		t.Fatalf("%v, alive %v", err, p.Alive())
	}
}

func TestCancelledEvaluationIsKilled(t *testing.T) {
	p := startFake(t, "hangs", Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := p.Do(ctx, Command{Do: DoEvaluate, Evaluate: &EvaluateArgs{}}, func(Event) { cancel() })
	if !errors.Is(err, context.Canceled) || p.Alive() {
		t.Fatalf("%v, alive %v", err, p.Alive())
	}
}

// A terminal's Ctrl-C and a supervisor's SIGTERM are the parent's business.
func TestChildSurvivesTheTerminalsSignals(t *testing.T) {
	p, err := start(testExe(t), []string{"trainer"}, os.Environ(), t.TempDir()+"/trainer.log", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if pgid, err := unix.Getpgid(p.PID()); err != nil || pgid != p.PID() {
		t.Fatalf("process group %d, %v: not its own", pgid, err)
	}
	for !ignoresInterrupt(t, p.PID()) { // it has not got to Main yet
		runtime.Gosched()
	}
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		syscall.Kill(p.PID(), s)
	}
	_, err = p.Do(t.Context(), Command{Do: "dance"}, nothing)
	wantKind(t, err, InvalidInput, `unknown command "dance"`)
}

func ignoresInterrupt(t *testing.T, pid int) bool {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "SigIgn:\t")
	mask, err := strconv.ParseUint(strings.SplitN(rest, "\n", 2)[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	// nohup's children ignore the last by themselves
	const all = 1<<(syscall.SIGINT-1) | 1<<(syscall.SIGTERM-1) | 1<<(syscall.SIGHUP-1)
	return mask&all == all
}

func TestChildDiesWithItsParent(t *testing.T) {
	lock := t.TempDir() + "/child"
	cmd := exec.Command(testExe(t), "parent", lock)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(line, &pid); err != nil {
		t.Fatalf("parent says %q", line)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	cmd.Process.Kill()
	cmd.Wait()
	// A pidfd is readable once its process has ended.
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20_000)
	if err != nil || n != 1 {
		t.Fatalf("child %d outlives its parent: %d, %v", pid, n, err)
	}
}

func TestClosedChildEndsByItself(t *testing.T) {
	p := startFake(t, "obeys", Limits{})
	if _, err := p.Do(t.Context(), Command{Do: DoOpen, Open: &OpenArgs{}}, nothing); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if !p.cmd.ProcessState.Success() {
		t.Errorf("the child ended with %v; it could not have written what it had to", p.cmd.ProcessState)
	}
}
