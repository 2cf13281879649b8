package trainer

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fail trains in a child that dies.
func fail(t *testing.T, p *Pool) error {
	t.Helper()
	_, err := p.Open(t.Context(), "run", OpenArgs{}, nothing)
	if err == nil {
		t.Fatal("a child that aborts was opened")
	}
	return err
}

func TestThirdFailureInARowTakesTheDeviceOutOfService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "devices.json")
	h := NewHealth(path)
	p := fakePool(t, "aborts", h, 1, 4)
	wantKind(t, fail(t, p), DeviceLost, "trainer died")
	wantKind(t, fail(t, p), DeviceLost, "trainer died")
	wantKind(t, fail(t, p), OutOfService, "devices 1 and 4 out of service after 3 failures in a "+
		"row (`distilvit doctor --reinstate 1` and `distilvit doctor --reinstate 4`")
	wantKind(t, fail(t, p), OutOfService, "device 1 is out of service since")

	restarted := fakePool(t, "obeys", NewHealth(path), 4)
	_, err := restarted.Open(t.Context(), "run", OpenArgs{}, nothing)
	wantKind(t, err, OutOfService, "`distilvit doctor --reinstate 4` on that machine puts it back")
	healthy := fakePool(t, "obeys", NewHealth(path), 0)
	l, err := healthy.Open(t.Context(), "run", OpenArgs{}, nothing)
	check(t, err)
	l.Release()

	out, err := Outages(path)
	check(t, err)
	if len(out) != 2 || out[0].Device != 1 || out[1].Device != 4 || len(out[0].Reasons) != 3 ||
		!strings.Contains(out[0].Reasons[2], "Check failed: everything") {
		t.Errorf("outages %+v", out)
	}
	was, err := Reinstate(path, 4)
	check(t, err)
	if again, err := Reinstate(path, 4); !was || again || err != nil {
		t.Errorf("reinstated %v, then %v, %v", was, again, err)
	}
	l, err = restarted.Open(t.Context(), "run", OpenArgs{}, nothing)
	check(t, err)
	l.Release()
	wantKind(t, fail(t, p), OutOfService, "device 1 is out of service")
}

func TestACheckpointForgivesAndADeathThatSomeoneAskedForDoesNotCount(t *testing.T) {
	h := NewHealth(filepath.Join(t.TempDir(), "devices.json"))
	failing, obeying := fakePool(t, "aborts", h, 0), fakePool(t, "obeys", h, 0)
	for range 3 {
		wantKind(t, fail(t, failing), DeviceLost, "trainer died")
		wantKind(t, fail(t, failing), DeviceLost, "trainer died")
		l, err := obeying.Open(t.Context(), "run", OpenArgs{}, nothing)
		check(t, err)
		ctx, stop := context.WithCancel(t.Context())
		// the fake saves a checkpoint when it is asked to stop
		if _, err := l.Do(ctx, Command{Do: DoTrain, Train: &TrainArgs{}}, func(e Event) {
			if e.Event == EventStep {
				stop()
			}
		}); err != context.Canceled {
			t.Fatal(err)
		}
		l.Release()
	}
	wantKind(t, fail(t, failing), DeviceLost, "trainer died")
	wantKind(t, fail(t, failing), DeviceLost, "trainer died")
	for range 4 { // an older attempt's child is killed by a newer one's opening
		l, err := obeying.Open(t.Context(), "run", OpenArgs{Seed: 1}, nothing)
		check(t, err)
		ended := make(chan error)
		begun := make(chan struct{})
		go func() {
			_, err := l.Do(
				t.Context(), Command{Do: DoTrain, Train: &TrainArgs{}}, func(Event) { close(begun) },
			)
			ended <- err
		}()
		<-begun
		newer, err := obeying.Open(t.Context(), "run", OpenArgs{Seed: 2}, nothing)
		check(t, err)
		wantKind(t, <-ended, DeviceLost, "signal killed")
		newer.Release()
	}
	if out, err := h.Outages(); err != nil || len(out) != 0 {
		t.Errorf("out of service: %v, %v", out, err)
	}
}

func TestAnUnreadableListOfOutagesIsNoDeviceInGoodOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "devices.json")
	for _, text := range []string{"[{", `[{"device": 0}]`} {
		check(t, os.WriteFile(path, []byte(text), 0o644))
		_, err := fakePool(t, "obeys", NewHealth(path), 0).Open(t.Context(), "run", OpenArgs{}, nothing)
		wantKind(t, err, OutOfService, path)
		if _, err := Reinstate(path, 0); err == nil {
			t.Errorf("%s: reinstated", text)
		}
	}
}
