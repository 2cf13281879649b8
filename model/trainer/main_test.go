package trainer

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"testing"

	"distilvit/artifact/record"
)

// The test binary is the children too: the real one and some that behave badly.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "trainer":
		os.Exit(Main())
	case len(os.Args) > 2 && os.Args[1] == "fake":
		fake(os.Args[2])
	case len(os.Args) > 2 && os.Args[1] == "parent":
		parent(os.Args[2])
	}
	os.Exit(m.Run())
}

// fake answers commands as the named kind of bad child does.
func fake(how string) {
	in, out := json.NewDecoder(os.NewFile(CommandFD, "in")), json.NewEncoder(os.NewFile(EventFD, "out"))
	var c Command
	for in.Decode(&c) == nil {
		switch how {
		case "aborts":
			fmt.Fprintln(os.Stderr, "x.cc:1] Check failed: everything\nSIGABRT: abort\nsignal arrived "+
				"during cgo execution\nrax 0x0")
			os.Exit(2)
		case "kills itself":
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "hangs":
			out.Encode(Event{Event: EventPhase, Phase: PhaseTrain})
			select {}
		case "obeys", "is deaf":
			switch c.Do {
			case DoTrain:
				out.Encode(Event{Event: EventStep, Step: &StepEvent{Step: 7, Seconds: 0.1}})
			case DoStop:
				if how == "is deaf" {
					continue
				}
				out.Encode(Event{
					Event: EventCheckpoint, Saved: &Checkpoint{Dir: "here", State: record.State{Step: 8}},
				})
				out.Encode(Event{Event: EventDone, Trained: &Trained{Stopped: true, Step: 8}})
			default:
				out.Encode(Event{Event: EventReady, Fingerprint: map[string]string{"backend": "fake"}})
				out.Encode(Event{Event: EventDone})
			}
		case "reports":
			out.Encode(Event{
				Event: EventError, Error: &Failure{Type: string(Diverged), Message: "loss is NaN at step 3"},
			})
			os.Exit(1)
		}
	}
	os.Exit(0)
}

// parent starts a child that holds a lock, tells so, and waits to be killed.
func parent(lock string) {
	exe, _ := os.Executable()
	p, err := start(exe, []string{"trainer"}, os.Environ(), lock+".log", Limits{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	select {}
}

func startFake(t *testing.T, how string, limits Limits) *Process {
	t.Helper()
	p, err := start(testExe(t), []string{"fake", how}, os.Environ(), t.TempDir()+"/trainer.log", limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func testExe(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}
